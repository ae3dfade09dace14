# What people do with this repository. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

ARGS ?=

.PHONY: help
help: ## list what there is
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## the gate and its tools: bin/commitgate
	@echo "building bin/commitgate (minutes the first time)"
	@go build -o bin/ ./cmd/commitgate

.PHONY: controlplane
controlplane: ## a real Kubernetes control plane for tests and the demo, into bin/ (minutes the first time)
	@test/controlplane/build.sh

.PHONY: sops
sops: ## the real sops, which tests compare with, into bin/ (minutes the first time)
	@test/sopstool/build/build.sh

.PHONY: fluxvalues
fluxvalues: # Flux's own code for values and variables, which tests compare with
	@test/fluxvalues/build.sh

.PHONY: helm
helm: # for the tests of a pipeline
	@test/helm/build.sh

.PHONY: agents
agents: ## sync agents themselves, for the tests that run them, into bin/ (many minutes the first time)
	@test/agents/build.sh

.PHONY: demo
demo: tools build controlplane ## the whole story in a terminal; make demo ARGS=--once ends by itself
	@go run ./test/demo $(ARGS)

# What fails is run once more and the report names it: a machine that stalls for a moment must not cost a day's work, and whoever reads the report
# mends the test that needed it.
GOTESTSUM := go run gotest.tools/gotestsum@v1.13.0 --format standard-quiet --rerun-fails=1 --rerun-fails-run-root-test --packages ./...

.PHONY: test
test: tools build controlplane sops fluxvalues helm ## every test, also those against the real control plane
	CI=1 $(GOTESTSUM) -- -timeout 30m $(ARGS)

.PHONY: reliability
reliability: tools build controlplane ## break an installation in every way, for minutes, and write docs/reliability.md
	go test -timeout 30m -run 'TestReliability$$' $(ARGS) ./test/chaos -update -v

.PHONY: bench
bench: build controlplane ## what a request costs, against a webhook that does nothing
	go test -run '^$$' -bench . -benchtime 2s -timeout 2h $(ARGS) ./...

.PHONY: requests
requests: build ## what a review costs and why: end to end, in process, its policies, what it may wait for
	go test -run '^$$' -bench 'Review|Handler|Deci|Refresh' -benchtime 2s $(ARGS) ./test/load ./test/corpus ./admit ./policy ./track

.PHONY: lint
lint: ## gofmt and go vet
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "gofmt these files" >&2; exit 1; }
	go vet ./...

CONTROLLER_GEN := go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.20.1

.PHONY: generate
generate: ## the custom resources and generated documents, from their Go source
	$(CONTROLLER_GEN) object paths=./api/v1alpha1
	$(CONTROLLER_GEN) crd paths=./api/v1alpha1 output:crd:dir=config/crd
	mkdir -p charts/commitgate/crds && cp config/crd/commitgate.dev_*.yaml charts/commitgate/crds/
	go test ./test ./cmd/commitgate -run Document -update

.PHONY: man
man: build ## manual pages of every command, into bin/man
	bin/commitgate man bin/man

# What is released is built without paths, times and build ids, so that it can be built again and compared (make reproduce).
VERSION ?=
PLATFORMS ?= linux/amd64 linux/arm64 darwin/arm64
RELEASE := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.release=$(VERSION)"

.PHONY: release
release: version ## programs with their bills of materials, checksums and krew manifest, into bin/release: make release VERSION=v1.2.3
	@rm -rf bin/release && mkdir -p bin/release
	@for p in $(PLATFORMS); do \
		os=$${p%/*}; arch=$${p#*/}; dir=bin/release/$$os-$$arch; mkdir -p $$dir; \
		echo "building $$p"; export GOOS=$$os GOARCH=$$arch; $(RELEASE) -o $$dir/kubectl-commitgate ./cmd/commitgate; \
		tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C $$dir -cf - kubectl-commitgate | gzip -n > bin/release/commitgate_$${os}_$${arch}.tar.gz; \
		config/sbom/bill.sh $$dir/kubectl-commitgate $(VERSION) bin/release/commitgate_$${os}_$${arch}.cdx.json || exit 1; \
		rm -r $$dir; \
	done
	@$(MAKE) --no-print-directory krew VERSION=$(VERSION)
	@cd bin/release && sha256sum *.tar.gz *.json > SHA256SUMS && cat SHA256SUMS

.PHONY: krew
krew: version ## the manifest for kubectl's plugin manager, of what is in bin/release
	@config/krew/manifest.sh $(VERSION) bin/release > bin/release/commitgate.yaml

.PHONY: sbom
sbom: build ## the bill of materials (CycloneDX) of the program, checked against it, into bin/commitgate.cdx.json
	@config/sbom/bill.sh bin/commitgate $(or $(VERSION),v0.0.0) bin/commitgate.cdx.json

.PHONY: reproduce
reproduce: ## build twice, in two places, and compare the bytes
	@there=$$(mktemp -d); trap "rm -rf $$there" EXIT; mkdir $$there/source; \
	git archive HEAD | tar -x -C $$there/source; \
	(cd $$there/source && $(RELEASE) -o $$there/1 ./cmd/commitgate); $(RELEASE) -o $$there/2 ./cmd/commitgate; \
	sha256sum $$there/1 $$there/2; cmp $$there/1 $$there/2 && echo "the same bytes"

.PHONY: version
version: # a release needs one
	@[[ "$(VERSION)" =~ ^v[0-9]+\.[0-9]+\.[0-9]+ ]] || { echo "give VERSION=v1.2.3" >&2; exit 1; }

.PHONY: tools
tools: # what tests and the demo need from the system
	@missing=; for pair in git:git gpg:gnupg gpgsm:gpgsm ssh-keygen:openssh-client; do \
		command -v $${pair%:*} >/dev/null || missing="$$missing $${pair#*:}"; \
	done; \
	if [ -n "$$missing" ]; then echo "please install (Debian packages):$$missing" >&2; exit 1; fi

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
