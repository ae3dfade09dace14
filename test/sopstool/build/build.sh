#!/usr/bin/env bash
# Builds the real sops into bin/, for tests to hold our reading of its files to: from the modules that go.mod beside this script names and
# go.sum pins. The first time takes two minutes; with nothing changed it takes a second.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p ../../../bin
go build -o ../../../bin/sops github.com/getsops/sops/v3/cmd/sops
