#!/usr/bin/env bash
# Builds Flux's own merging of values and substitution of variables into bin/, for tests to hold ours to: from the modules that go.mod beside this
# script names and go.sum pins.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p ../../bin
go build -o ../../bin/fluxvalues .
