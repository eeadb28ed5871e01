# Every target has its one-line help behind ##; `make` alone prints them.
GO        ?= go
VERSION   ?= 0.1.0
COMMIT    := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
DATE      := $(shell date -u +%Y-%m-%dT%H:%M:%SZ)
K8S       := v1.37.2+carob.$(VERSION)
V         := github.com/carob-project/carob/pkg/version
KV        := k8s.io/component-base/version
LDFLAGS   := -s -w -X $(V).carob=$(VERSION) -X $(V).commit=$(COMMIT) -X $(V).date=$(DATE) \
             -X $(KV).gitVersion=$(K8S) -X $(KV).gitMajor=1 -X $(KV).gitMinor=37 -X $(KV).gitCommit=$(COMMIT) -X $(KV).buildDate=$(DATE)
TOOLS     := .cache/tools
# One variant of every dependency is built, static, for the binary, the tools and the
# tests; only the race detector needs another.
export CGO_ENABLED ?= 0

.PHONY: help demo down build setup test test-unit test-e2e test-containerd2 test-vm lint bench bench-go generate verify
help: ## print this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: export CAROB_SETUP_COMPILER = 0
demo: setup build ## install what is missing, start carob, run manifests/hello.yaml, show it
	hack/demo.sh

down: ## stop what `make demo` started and leave the machine as it was
	hack/demo-down.sh

build: ## build bin/carob, and bin/carob-init which belongs beside it
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

setup: ## install with apt what carob and its tests need
	hack/setup.sh

test: setup verify lint test-unit test-e2e ## run every test: unit, property, integration, e2e

test-unit: $(TOOLS)/runc/runc ## unit, property and integration tests, with the race detector
	hack/need.sh
	CGO_ENABLED=1 $(GO) test -race -timeout 15m ./cmd/... ./internal/... ./pkg/... ./hack/...

test-e2e: build $(TOOLS)/runc/runc ## end-to-end tests with the built binary and real kubectl
	hack/need.sh
	$(GO) test -count=1 -timeout 20m -v ./e2e/...

test-containerd2: build $(TOOLS)/containerd2/containerd $(TOOLS)/runc/runc ## integration and e2e tests against containerd 2.x, built from source
	PATH=$(CURDIR)/$(TOOLS)/containerd2:$$PATH $(GO) test -count=1 -timeout 20m ./pkg/ctrd/... ./e2e/...

test-vm: build $(TOOLS)/runc/runc ## end-to-end tests in a virtual machine: cgroup v2, reboots, power cuts
	$(GO) test -tags vm -count=1 -timeout 60m -v ./e2e/vm

lint: $(TOOLS)/golangci-lint ## formatting, static checks and import directions
	$(TOOLS)/golangci-lint run ./...

bench: build $(TOOLS)/runc/runc ## measure carob beside podman kube play, docker compose and runc; writes docs/benchmarks.md
	hack/bench.sh

bench-go: ## Go benchmarks: decisions, scheduling, log writing, decoding
	$(GO) test -run '^$$' -bench . -benchmem ./pkg/pod ./pkg/scheduler ./pkg/podlog ./pkg/folder ./pkg/apiserver

generate: ## write generated code and docs
	hack/generate.sh

verify: ## check that generated code and docs are up to date
	hack/verify.sh

$(TOOLS)/golangci-lint: hack/tools/lint/go.mod
	$(GO) build -C hack/tools/lint -o $(CURDIR)/$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(TOOLS)/containerd2/containerd: hack/tools/containerd/go.mod
	$(GO) build -C hack/tools/containerd -trimpath -ldflags '-s -w' -o $(CURDIR)/$(TOOLS)/containerd2/ \
	  github.com/containerd/containerd/v2/cmd/containerd github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2

# It is C in part, and small.
$(TOOLS)/runc/runc: hack/tools/runc/go.mod
	CGO_ENABLED=1 $(GO) build -C hack/tools/runc -trimpath -tags seccomp -ldflags '-s -w' -o $(CURDIR)/$@ github.com/opencontainers/runc
