#!/bin/bash
# The demo: carob in the background, an image made here, manifests/hello.yaml,
# its page through the host port, and what to do next. hack/demo-down.sh ends it.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:/sbin
carob=bin/carob
data=/var/lib/carob
run=/run/carob
log=/var/log/carob-demo.log
mark=$data/made-by-demo
say() { printf '\n%s\n' "$*"; }
die() { printf '\ndemo: %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "run it as root: sudo make demo"

if ! $carob get --raw /readyz >/dev/null 2>&1; then
	say "1. What this machine has"
	$carob check || die "the lines marked FAIL say what to do"
	[ -e $data ] || { install -d -m 0700 $data && touch $mark; }
	say "2. carob up (in the background; its log is $log)"
	: >$log
	setsid $carob up >$log 2>&1 </dev/null &
	pid=$!
	# tail ends with carob, or when the line it waits for has come.
	timeout 60 tail -n +1 -f --pid=$pid $log | sed '/^carob is ready/q' || true
	$carob get --raw /readyz >/dev/null || { cat $log >&2; die "carob did not start; its log is above"; }
else
	say "1. carob is running already"
fi

say "3. An image from local files, and manifests/hello.yaml"
image=$(mktemp --suffix=.tar)
trap 'rm -f "$image"' EXIT
go run ./hack/demoimage -o "$image"
$carob image import "$image"
$carob apply -f manifests/hello.yaml
$carob wait --for=condition=Ready pod/hello --timeout=60s

say "4. Its page, through port 8080 of this machine"
# `page` writes its first page an instant after it was started.
curl -sS --fail --retry 20 --retry-delay 1 --retry-all-errors http://127.0.0.1:8080/

say "5. The pods"
$carob get pods -o wide

cat <<EOF

Look further:   $carob describe pod hello
                $carob logs hello --all-containers
                $carob apply -f manifests/      # more examples, each says what it shows
                kubectl --kubeconfig $data/admin.kubeconfig get pods -A
Stop:           make down
EOF
