#!/bin/sh
# Installs what the benchmark compares with, where it is missing, and runs it:
# hack/bench.sh -help lists the flags. It starts no service.
set -eu
cd "$(dirname "$0")/.."
hack/need.sh
install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null 2>&1; }
want=""
command -v podman >/dev/null && [ -x /usr/lib/podman/netavark ] || want="podman netavark catatonit conmon"
command -v dockerd >/dev/null || want="$want docker.io"
command -v docker-compose >/dev/null || docker compose version >/dev/null 2>&1 || want="$want docker-compose"
if [ -n "$want" ] && command -v apt-get >/dev/null; then
	# A package's install script must not start its service.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod 755 $policy
		ours=1
		trap 'rm -f $policy' EXIT
		trap 'exit 1' INT TERM
	fi
	# One by one: what there is no package of is not measured, and the page says so.
	for p in $want; do
		echo "bench: installing $p" >&2
		install "$p" || { apt-get update -qq && install "$p"; } || echo "bench: there is no package $p" >&2
	done
	[ "${ours:-}" != 1 ] || rm -f $policy
	trap - EXIT INT TERM
fi
[ -x bin/carob ] || { echo "bench: no bin/carob: run make build" >&2; exit 1; }
mkdir -p .cache/tools
# The variant of every dependency that the build has made.
export CGO_ENABLED="${CGO_ENABLED:-0}"
go build -o .cache/tools/bench ./hack/bench
exec .cache/tools/bench "$@"
