#!/usr/bin/env bash
# usage: manifest.sh VERSION DIR. The manifest of the kubectl plugin for krew, with the checksums of the archives in DIR.
set -euo pipefail
version=$1 dir=$2
cat <<EOF
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: commitgate
spec:
  version: $version
  homepage: https://github.com/commitgate/commitgate
  shortDescription: See what commitgate says of a cluster, and why
  description: |
    Commitgate is an admission webhook: nothing enters the cluster that a signed commit does not say. The plugin shows how an installation stands and
    what is wrong with it, who put each field of an object there, what is not in Git, and makes and applies emergency grants.
  platforms:
EOF
for archive in "$dir"/commitgate_*_*.tar.gz; do
	name=$(basename "$archive" .tar.gz)
	IFS=_ read -r _ os arch <<<"$name"
	sum=$(sha256sum "$archive" | cut -d' ' -f1)
	cat <<EOF
  - selector:
      matchLabels: {os: $os, arch: $arch}
    uri: https://github.com/commitgate/commitgate/releases/download/$version/$name.tar.gz
    sha256: $sum
    bin: kubectl-commitgate
    files:
    - {from: kubectl-commitgate, to: .}
EOF
done
