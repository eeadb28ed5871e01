#!/bin/sh
# Says what the tests need and this machine lacks. Exit 1 where it lacks
# something: no test is skipped in silence.
set -u
bad=0
lack() { printf 'tests: %s\n       %s\n' "$1" "$2" >&2; bad=1; }
[ "$(id -u)" = 0 ] || lack "not root: they make namespaces, mounts and containers" "run them as root, e.g. sudo make test"
command -v containerd >/dev/null || lack "no containerd on PATH" "make setup (as root), or apt-get install containerd"
command -v runc >/dev/null || lack "no runc on PATH" "make setup (as root), or apt-get install runc"
command -v nft >/dev/null || lack "no nft on PATH" "make setup (as root), or apt-get install nftables"
found=
for d in /opt/cni/bin /usr/lib/cni /usr/libexec/cni; do [ -x $d/bridge ] && found=1; done
[ -n "$found" ] || lack "no CNI plugins" "make setup (as root), or apt-get install containernetworking-plugins"
[ -x /bin/busybox ] || lack "no /bin/busybox for the test image" "make setup (as root), or apt-get install busybox-static"
[ -x "$(dirname "$0")/../.cache/tools/runc/runc" ] || lack "the runc of hack/tools is not built" "make .cache/tools/runc/runc (it takes libseccomp-dev and gcc; make setup installs them)"
[ -x "$(dirname "$0")/../.cache/tools/kubectl-debian/usr/bin/kubectl" ] || lack "Debian's kubectl was not fetched" "make setup (as root)"
exit $bad
