#!/usr/bin/env bash
# Builds sync agents themselves into bin/, with the kinds that they serve, from the modules that go.mod in the folders beside this script names and
# go.sum pins. The first time takes minutes; with nothing changed it takes none.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p ../../bin
bin=$(cd ../../bin && pwd)

stamp=$bin/.agents
key=$(cat build.sh ./*/go.mod ./*/go.sum ./*/*/main.go | sha256sum | cut -d' ' -f1)
programs=(helm-controller kustomize-controller source-controller argocd-application-controller argocd-repo-server argocd-redis fleetcontroller fleetagent fleetcli flux argocd fleet)
built() {
	[ "$(cat "$stamp" 2>/dev/null)" = "$key" ] || return 1
	for program in "${programs[@]}"; do [ -x "$bin/$program" ] || return 1; done
}
if built; then exit 0; fi

echo "sync agents: Flux, Argo CD and Fleet, into bin/ (many minutes the first time)" >&2
new=$(mktemp -d "$bin/.agents.XXXXXX")
trap 'rm -rf "$new"' EXIT
mkdir "$new/flux" "$new/argocd" "$new/fleet"
cd flux
for controller in helm-controller kustomize-controller source-controller; do
	module=github.com/fluxcd/$controller
	go build -ldflags '-s -w' -o "$bin/$controller" "$module"
	install -m 644 "$(go list -m -f '{{.Dir}}' "$module")"/config/crd/bases/*.yaml "$new/flux/"
done
cd ../argocd
go build -ldflags '-s -w' -o "$bin/" ./...
install -m 644 "$(go list -m -f '{{.Dir}}' github.com/argoproj/argo-cd/v3)"/manifests/crds/*-crd.yaml "$new/argocd/"
cd ../fleet
module=github.com/rancher/fleet
go build -ldflags '-s -w' -o "$bin/" $module/cmd/fleetcontroller $module/cmd/fleetagent $module/cmd/fleetcli
go run ./fleet-charts "$(go list -m -f '{{.Dir}}' $module)/charts" "$new/fleet"
rm -rf "$bin/flux" "$bin/argocd" "$bin/fleet" # only now: tests may be running with them
mv "$new/flux" "$new/argocd" "$new/fleet" "$bin/"
echo "$key" >"$stamp"
