#!/bin/bash
# Writes all generated code and docs, into the tree or below the directory
# given. What it writes depends on the sources alone.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-.}")
export LC_ALL=C GOFLAGS=-buildvcs=false GOWORK=off
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# The OpenAPI definitions of the packages that the API server serves.
module=$(go list -m)
go -C hack/openapi build -o "$tmp/openapi-gen" k8s.io/kube-openapi/cmd/openapi-gen
: >"$tmp/header"
mkdir -p "$out/pkg/apiserver/openapi"
"$tmp/openapi-gen" --go-header-file "$tmp/header" --report-filename "$tmp/report" \
	--output-dir "$out/pkg/apiserver/openapi" --output-pkg "$module/pkg/apiserver/openapi" \
	--output-file zz_generated.openapi.go \
	k8s.io/api/core/v1 k8s.io/api/coordination/v1 k8s.io/api/events/v1 k8s.io/api/policy/v1 \
	k8s.io/api/scheduling/v1 k8s.io/api/scheduling/v1alpha3 k8s.io/api/node/v1 k8s.io/api/storage/v1 \
	k8s.io/api/certificates/v1 k8s.io/api/authentication/v1 k8s.io/api/authorization/v1 \
	k8s.io/api/apps/v1 k8s.io/api/autoscaling/v1 k8s.io/api/batch/v1 \
	k8s.io/apimachinery/pkg/apis/meta/v1 k8s.io/apimachinery/pkg/runtime k8s.io/apimachinery/pkg/version \
	k8s.io/apimachinery/pkg/api/resource k8s.io/apimachinery/pkg/util/intstr \
	k8s.io/metrics/pkg/apis/metrics/v1beta1

# The page of the fields of a Pod.
mkdir -p "$out/docs"
go run ./hack/fields >"$tmp/fields.md"
cat "$tmp/fields.md" >"$out/docs/fields.md"
