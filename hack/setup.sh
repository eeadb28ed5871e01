#!/bin/sh
# Installs with apt what carob and its tests need and the machine lacks. It
# starts no service: a containerd that was not running before is not running
# afterwards.
set -eu
say() { printf 'setup: %s\n' "$*" >&2; }

want=""
need() { # need PACKAGE TEST...
	pkg=$1; shift
	"$@" >/dev/null 2>&1 || want="$want $pkg"
}
plugin() { for d in /opt/cni/bin /usr/lib/cni /usr/libexec/cni; do [ -x "$d/$1" ] && return 0; done; return 1; }
need containerd command -v containerd
need runc command -v runc
need containernetworking-plugins plugin bridge
need iptables command -v iptables
need nftables command -v nft
need busybox-static test -x /bin/busybox
need iproute2 command -v ip
need curl command -v curl
if [ "${CAROB_SETUP_TESTS:-1}" = 1 ]; then
	need kubernetes-client command -v kubectl
fi
# A runc newer than the system's is built for the tests; the demo has no use for
# it.
if [ "${CAROB_SETUP_TESTS:-1}${CAROB_SETUP_COMPILER:-1}" = 11 ]; then
	need gcc command -v gcc
	need libc6-dev test -e /usr/include/stdio.h
	need pkg-config command -v pkg-config
	need libseccomp-dev test -e /usr/include/seccomp.h
fi

# The tests also run the kubectl that Debian ships, whichever is on PATH.
old_kubectl() {
	dir=$(cd "$(dirname "$0")/.." && pwd)/.cache/tools/kubectl-debian
	[ "${CAROB_SETUP_TESTS:-1}" = 1 ] && [ ! -x "$dir/usr/bin/kubectl" ] || return 0
	command -v apt-get >/dev/null || { say "no apt-get: the tests lack Debian's kubectl"; return 0; }
	mkdir -p "$dir"
	(cd "$dir" && { apt-get download -qq kubernetes-client >/dev/null 2>&1 || { apt-get update -qq && apt-get download -qq kubernetes-client >/dev/null; }; } &&
		dpkg -x kubernetes-client_*.deb . && rm -f kubernetes-client_*.deb)
}
[ -z "$want" ] && { old_kubectl; exit 0; }

if [ "$(id -u)" != 0 ]; then
	say "missing:$want"
	say "run this as root, or install them: sudo apt-get install -y --no-install-recommends$want"
	exit 1
fi
command -v apt-get >/dev/null || { say "missing:$want, and there is no apt-get: install them by hand"; exit 1; }
say "installing$want"

# A package's install script must not start its service.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
	trap 'rm -f $policy' EXIT INT TERM
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of packages
apt-get install -y -qq --no-install-recommends $want >/dev/null 2>&1 ||
	{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $want >/dev/null; }
old_kubectl
