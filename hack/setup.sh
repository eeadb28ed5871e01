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
[ "${CAROB_SETUP_TESTS:-1}" = 1 ] && need kubernetes-client command -v kubectl
[ -z "$want" ] && exit 0

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
