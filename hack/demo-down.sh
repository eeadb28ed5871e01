#!/bin/bash
# Ends what hack/demo.sh started. Data that was there before the demo is kept.
set -euo pipefail
cd "$(dirname "$0")/.."
data=/var/lib/carob
[ "$(id -u)" = 0 ] || { echo "run it as root: sudo make down" >&2; exit 1; }
[ -x bin/carob ] || { echo "nothing to stop: bin/carob was not built" >&2; exit 0; }
if [ -e $data/made-by-demo ]; then
	bin/carob reset --yes
	rm -f /var/log/carob-demo.log
else
	bin/carob down
fi
