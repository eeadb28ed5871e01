#!/bin/sh
# Installs what the benchmark compares with, and runs it.
set -eu
cd "$(dirname "$0")/.."
hack/need.sh
if ! command -v podman >/dev/null || [ ! -x /usr/lib/podman/netavark ]; then
	export DEBIAN_FRONTEND=noninteractive
	apt-get install -y -qq --no-install-recommends podman netavark catatonit conmon >/dev/null
fi
exec go run ./hack/bench "$@"
