#!/bin/bash
# Fails where generated code or docs are not what hack/generate.sh would write.
set -euo pipefail
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
hack/generate.sh "$tmp"
stale=0
while IFS= read -r file; do
	diff -u "$file" "$tmp/$file" || stale=1
done < <(cd "$tmp" && find . -type f -printf '%P\n' | sort)
if [ $stale = 1 ]; then
	echo "verify: the files above are out of date; run make generate" >&2
	exit 1
fi
echo "verify: generated files are up to date"
