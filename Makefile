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

.PHONY: helm
helm: # for the tests of a pipeline
	@test/helm/build.sh

.PHONY: demo
demo: tools build controlplane ## the whole story in a terminal; make demo ARGS=--once ends by itself
	@go run ./test/demo $(ARGS)

.PHONY: test
test: tools build controlplane sops helm ## every test, also those against the real control plane
	CI=1 go test -timeout 30m $(ARGS) ./...

.PHONY: reliability
reliability: tools build controlplane ## break an installation in every way, for minutes, and write docs/reliability.md
	go test -timeout 30m -run 'TestReliability$$' $(ARGS) ./test/chaos -update -v

.PHONY: bench
bench: build controlplane ## what a request costs, against a webhook that does nothing
	go test -run '^$$' -bench . -benchtime 2s $(ARGS) ./...

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

.PHONY: tools
tools: # what tests and the demo need from the system
	@missing=; for pair in git:git gpg:gnupg gpgsm:gpgsm ssh-keygen:openssh-client; do \
		command -v $${pair%:*} >/dev/null || missing="$$missing $${pair#*:}"; \
	done; \
	if [ -n "$$missing" ]; then echo "please install (Debian packages):$$missing" >&2; exit 1; fi

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
