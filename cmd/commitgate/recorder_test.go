package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/exhibit"
	"github.com/commitgate/commitgate/test/forge"
)

const imagesPolicy = `package commitgate.images

import rego.v1

# METADATA
# title: images need a tag
deny contains "use a tag" if endswith(input.object.spec.image, ":latest")
`

const judgedGate = `
apiVersion: commitgate.dev/v1alpha1
kind: TrustedRepository
metadata: {name: shop}
spec:
  url: %s
  branch: main
  anchor: {commit: %s}
  signers:
  - principal: alice@example.com
    ssh: [%q]
  signerList: signers
  rules: [{paths: [signers, "policies/**"]}, {}]
%s
---
apiVersion: commitgate.dev/v1alpha1
kind: Gate
metadata: {name: test}
spec:
  agents: [{name: ci, preset: Pipeline, users: ["ci"]}]
  roots: [{repository: shop, path: apps}]
  policies: [{repository: shop, path: policies}]
`

// judging are the records about what judges, in order, and what they name is kept.
func judging(t *testing.T, dir string) (seen []string) {
	t.Helper()
	segments, err := audit.Segments(dir)
	if err != nil {
		t.Fatal(err)
	}
	for line, err := range audit.Records(segments) {
		if err != nil {
			t.Fatal(err)
		}
		r, err := line.Decode()
		if err != nil {
			t.Fatal(err)
		}
		switch r.Type {
		case audit.TypeSigners, audit.TypePolicies, audit.TypePublished, audit.TypeRefused:
			seen = append(seen, string(r.Type))
		}
		for _, digest := range r.Exhibits() {
			if _, err := exhibit.Read(dir, digest); err != nil {
				t.Errorf("record %d, %s: %v", r.Seq, r.Type, err)
			}
		}
	}
	return seen
}

// Signer lists and policies come and go; each record names by what was judged, and the bytes are kept beside the log.
func TestWhatJudgesIsRecordedAndKept(t *testing.T) {
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	f, err := forge.New(t.TempDir())
	must(err)
	t.Cleanup(func() { must(f.Close()) })
	alice, err := f.WithSSHKey(ctx, "Alice", "alice@example.com")
	must(err)
	mallory, err := f.WithSSHKey(ctx, "Mallory", "mallory@example.com")
	must(err)
	repo, err := f.Create(ctx, "shop")
	must(err)
	publish := func(who *forge.Person, message, path, content string) string {
		t.Helper()
		id, err := repo.Publish(ctx, who, message, map[string]string{path: content})
		must(err)
		return string(id)
	}
	configMap := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: shop}\n"
	publish(forge.WithoutKey("Nobody", "nobody@example.com"), "begin", "apps/a.yaml", fmt.Sprintf(configMap, "a"))
	anchor := publish(forge.WithoutKey("Nobody", "nobody@example.com"), "policies", "policies/images.rego", imagesPolicy)

	data := t.TempDir()
	var want []string
	expect := func(about string, more ...string) {
		t.Helper()
		want = append(want, more...)
		if seen := judging(t, filepath.Join(data, "audit")); strings.Join(seen, " ") != strings.Join(want, " ") {
			t.Errorf("%s: records %q, want %q", about, seen, want)
		}
	}
	// run is a gate from its start to its end, with something that happens in between.
	run := func(more string, during func(once func())) {
		t.Helper()
		g := newTestGateOf(t, fmt.Sprintf(judgedGate, repo.URL(), anchor, alice.Signer().SSH[0], more), func(o *serveOptions) { o.data = data })
		once := func() { t.Helper(); must(g.now().tracker.Once(ctx)) }
		once()
		during(once)
		must(g.close())
		g.tracker, g.sealing, g.listener = nil, nil, nil
	}
	const signersChanged, activated, published, refused = string(audit.TypeSigners), string(audit.TypePolicies), string(audit.TypePublished), string(audit.TypeRefused)
	run("", func(once func()) {
		expect("the first revision", signersChanged, activated, published)
		publish(alice, "alice alone", "signers", "alice@example.com "+alice.Signer().SSH[0]+"\n")
		once()
		expect("a list in Git", signersChanged, published)
		publish(alice, "another rule", "policies/images.rego", strings.Replace(imagesPolicy, "use a tag", "use a digest", 1))
		once()
		expect("another policy", activated, published)
		publish(mallory, "mine", "apps/a.yaml", fmt.Sprintf(configMap, "b"))
		once()
		expect("a commit that is refused", refused)
	})
	run("", func(func()) { expect("a restart", refused) })
	run("  history: Full", func(func()) { expect("a restart with other rules", signersChanged, refused) })
}
