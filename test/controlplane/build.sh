#!/usr/bin/env bash
# Builds a real Kubernetes control plane into bin/: etcd, kube-apiserver, kube-controller-manager and kubectl, from the modules that
# go.mod beside this script names and go.sum pins. The first time takes some minutes; with nothing changed it takes none.
set -euo pipefail
cd "$(dirname "$0")"
bin=../../bin
mkdir -p "$bin"
bin=$(cd "$bin" && pwd)

stamp=$bin/.controlplane
key=$(cat go.mod go.sum build.sh | sha256sum | cut -d' ' -f1)
programs=(etcd kube-apiserver kube-controller-manager kubectl)
built() {
	[ "$(cat "$stamp" 2>/dev/null)" = "$key" ] || return 1
	for program in "${programs[@]}"; do [ -x "$bin/$program" ] || return 1; done
}
if built; then exit 0; fi

# Without these an API server says that it is version v0.0.0, and clients guess wrongly what it can do.
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
IFS=. read -r major minor _ <<<"${version#v}"
v=k8s.io/component-base/version
flags="-s -w -X $v.gitVersion=$version -X $v.gitMajor=$major -X $v.gitMinor=$minor"

# progress NAME: turns `go build -v`, a package a line, into a counter; everything that is not a package is passed on.
progress() {
	local name=$1 n=0 line
	while read -r line; do
		case $line in
		*' '*) printf '%s\n' "$line" >&2 ;;
		*)
			n=$((n + 1))
			if [ -t 2 ]; then
				printf '\r\033[K  building %s: %d packages' "$name" "$n" >&2
			elif [ $((n % 250)) = 0 ]; then
				printf '  building %s: %d packages\n' "$name" "$n" >&2
			fi
			;;
		esac
	done
	if [ -t 2 ]; then printf '\r\033[K' >&2; fi
}

build() {
	local name=$1 package=$2 began=$SECONDS
	if [ -t 2 ]; then printf '  building %s' "$name" >&2; fi
	go build -v -ldflags "$flags" -o "$bin/$name" "$package" 2>&1 | progress "$name"
	printf '  %-24s %s\n' "$name" "$((SECONDS - began)) s" >&2
}

echo "control plane: Kubernetes $version and etcd $(go list -m -f '{{.Version}}' go.etcd.io/etcd/server/v3), into bin/ (minutes the first time)" >&2
build etcd go.etcd.io/etcd/server/v3
for program in kube-apiserver kube-controller-manager kubectl; do
	build "$program" "k8s.io/kubernetes/cmd/$program"
done
echo "$key" >"$stamp"
