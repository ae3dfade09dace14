#!/usr/bin/env bash
# bill.sh PROGRAM VERSION FILE: the bill of materials of a program, in CycloneDX 1.6, from what the Go linker wrote into it. A bill that lacks one of the
# modules which `go version -m` shows, in its version, is none: the file is then not written.
set -euo pipefail
program=$1 version=$2 file=$3

part=$(mktemp)
trap 'rm -f "$part"' EXIT
# go.mod and go.sum beside this script pin the tool. It runs here, whatever the program is for.
env -u GOOS -u GOARCH go -C "$(dirname "$0")" tool cyclonedx-gomod \
	bin -json -noserial -notimestamp -std -version "$version" -output-version 1.6 -output "$part" "$(realpath "$program")"

grep -q '"specVersion": "1.6"' "$part" || { echo "$file: not CycloneDX 1.6" >&2; exit 1; }
# A module that another one replaces (=>) is not in the program; the other one is.
modules=$(go version -m "$program" | awk '$1 == "dep" { if (held) print held; held = $2 "@" $3 } $1 == "=>" { held = $2 "@" $3 } END { if (held) print held }')
[ -n "$modules" ] || { echo "$program: it names no modules" >&2; exit 1; }
n=0
while read -r module; do
	grep -qF "\"bom-ref\": \"pkg:golang/$module?type=module\"" "$part" || { echo "$file: it lacks $module" >&2; exit 1; }
	n=$((n + 1))
done <<<"$modules"
install -m 644 "$part" "$file"
echo "$file: $n modules and the standard library"
