package policy

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
)

// noon is the time of all tests.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// tree makes a folder from alternating names and texts.
func tree(namesAndTexts ...string) fstest.MapFS {
	out := fstest.MapFS{}
	for i := 0; i+1 < len(namesAndTexts); i += 2 {
		out[namesAndTexts[i]] = &fstest.MapFile{Data: []byte(namesAndTexts[i+1])}
	}
	return out
}

// mustLoad gives a decision more time than a gate does: how busy the machine is must not decide.
func mustLoad(t testing.TB, fsys fstest.MapFS) *Set {
	t.Helper()
	s, err := load(context.Background(), Limits{Time: time.Minute}, true, folder{fsys: fsys, root: "."})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustDecide(t testing.TB, s *Set, in Input) Result {
	t.Helper()
	r, err := s.Decide(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	if r.Digest != s.Digest() || r.Engine != Engine() {
		t.Errorf("the result names %s %s, not its Set and engine", r.Digest, r.Engine)
	}
	return r
}

// object is YAML as a decoded object.
func object(t testing.TB, text string) map[string]any {
	t.Helper()
	out := map[string]any{}
	if err := decodeYAML([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// create is the request for a new object that comes from Git.
func create(t testing.TB, text string) Input {
	t.Helper()
	o := object(t, text)
	meta := objectMetaOf(o)
	return Input{
		Object: o, Time: noon, Cluster: "prod-1",
		Request: map[string]any{
			"uid": "1", "operation": "CREATE", "name": meta.name, "namespace": meta.namespace,
			"kind":     map[string]any{"group": meta.group, "version": "v1", "kind": meta.kind},
			"userInfo": map[string]any{"username": "system:serviceaccount:flux-system:kustomize-controller"},
		},
		Origin: &Origin{
			Repository: "fleet", Branch: "main", Path: "apps/shop/cart.yaml",
			Commit: git.ID(strings.Repeat("3", 40)), Revision: git.ID(strings.Repeat("4", 40)),
			Author:     git.Person{Name: "Ada", Email: "ada@example.com", When: noon.Add(-time.Hour)},
			Committer:  git.Person{Name: "Ada", Email: "ada@example.com", When: noon.Add(-time.Hour)},
			Message:    "cart: two replicas\n\nTicket: SHOP-7\n",
			Signatures: []signing.Signature{{Principal: "ada@example.com", Kind: signing.KindSSH, Key: "SHA256:x"}},
		},
	}
}

func messages(fs []Finding) string {
	var out []string
	for _, f := range fs {
		out = append(out, f.Msg)
	}
	return strings.Join(out, " | ")
}

const pod = `
apiVersion: v1
kind: Pod
metadata: {name: cart, namespace: shop, labels: {app: cart}}
spec:
  containers:
  - {name: web, image: "nginx:latest"}
`

const latest = `# METADATA
# custom:
#   controls: [SOC2-CC8.1]
package commitgate.images

# METADATA
# custom:
#   id: no-latest
deny contains {"msg": msg, "details": {"image": c.image}} if {
	some c in input.object.spec.containers
	endswith(c.image, ":latest")
	msg := sprintf("%s uses latest", [c.name])
}

warn contains "unsigned" if count(input.git.signers) == 0

warn contains "one signer" if count(input.git.signers) == 1
`

func TestOwnConvention(t *testing.T) {
	s := mustLoad(t, tree("policy/images.rego", latest))
	r := mustDecide(t, s, create(t, pod))
	if r.Allowed() || messages(r.Denials) != "web uses latest" || messages(r.Warnings) != "one signer" {
		t.Fatalf("%+v", r)
	}
	f := r.Denials[0]
	if f.ID != "no-latest" || f.File != "policy/images.rego" || f.Line != 9 || f.Policy != "commitgate.images" || len(f.Controls) != 1 || f.Controls[0] != "SOC2-CC8.1" {
		t.Errorf("%+v", f)
	}
}

func TestConftestConvention(t *testing.T) {
	s := mustLoad(t, tree("k8s.rego", `package main

deny[msg] {
	input.kind == "Pod"
	not input.spec.securityContext.runAsNonRoot
	msg := "must not run as root"
}

deny_latest[{"msg": msg}] {
	endswith(input.spec.containers[_].image, ":latest")
	msg := "no latest"
}

violation_owner[{"msg": "no owner", "details": {"x": 1}}] { not input.metadata.labels.owner }

warn[msg] { not input.metadata.labels.team; msg := "no team" }

exception[rules] {
	input.metadata.labels.app == "cart"
	rules := ["latest"]
}
`))
	r := mustDecide(t, s, create(t, pod))
	if messages(r.Denials) != "must not run as root | no owner" || messages(r.Warnings) != "no team" {
		t.Errorf("%+v", r)
	}
	del := create(t, pod)
	del.Object, del.OldObject = nil, del.Object
	del.Request["operation"] = "DELETE"
	if r := mustDecide(t, s, del); !r.Allowed() || r.Asked != 0 {
		t.Errorf("rules about a manifest were asked where there is none: %+v", r)
	}
}

func TestAdmissionConvention(t *testing.T) {
	s := mustLoad(t, tree("a.rego", `package kubernetes.admission
import rego.v1
deny contains msg if {
	input.request.kind.kind == "Pod"
	input.request.userInfo.username != "system:admin"
	some c in input.request.object.spec.containers
	not startswith(c.image, "registry.example.com/")
	msg := sprintf("%s: image %s of %s", [input.request.operation, c.image, input.request.namespace])
}
`))
	if r := mustDecide(t, s, create(t, pod)); messages(r.Denials) != "CREATE: image nginx:latest of shop" {
		t.Errorf("%+v", r)
	}
}

func TestPackagesThatUseEachOther(t *testing.T) {
	s := mustLoad(t, tree(
		"lib/k8s.rego", "package lib.k8s\ncontainers := input.object.spec.containers\n",
		"a.rego", "package commitgate.a\nimport data.lib.k8s\ndeny contains c.name if { some c in k8s.containers }\n",
		"b.rego", "package b\ndeny[msg] { input.kind == data.kinds[_]; msg := \"kind\" }\n",
		"kinds/x.txt", "", "data.json", `{"kinds": ["Pod"]}`,
	))
	if r := mustDecide(t, s, create(t, pod)); messages(r.Denials) != "kind | web" {
		t.Errorf("%+v", r)
	}
}

// An answer of the wrong shape, and an error while evaluating, are denials: nobody knows what the rule would have said.
func TestARuleWithoutAnAnswerDenies(t *testing.T) {
	for name, c := range map[string]struct{ rego, want string }{
		"a number for a message":  {"deny contains 1 if input.object", "a member is json.Number"},
		"an object without msg":   {"deny contains {\"message\": \"x\"} if input.object", "has no msg"},
		"a failing function":      {"deny contains \"x\" if to_number(input.object.metadata.name) > 1", "a.rego:2: to_number"},
		"a conflict":              {"deny contains \"x\" if f(input.object.kind) == 1\nf(x) := 1 if x\nf(x) := 2 if x", "conflict"},
		"a message that is a set": {"deny contains {\"msg\": {\"a\"}} if input.object", "has no msg"},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustLoad(t, tree("a.rego", "package commitgate\n"+c.rego+"\n"))
			r := mustDecide(t, s, create(t, pod))
			if r.Allowed() || len(r.Denials) != 1 || !r.Denials[0].Failed || !strings.Contains(r.Denials[0].Msg, c.want) {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestAnInputWithoutATimeHasNoVerdict(t *testing.T) {
	in := create(t, pod)
	in.Time = time.Time{}
	if r, err := mustLoad(t, tree("a.rego", latest)).Decide(context.Background(), in); err == nil || r.Allowed() {
		t.Errorf("got %+v, %v", r, err)
	}
}

// verdictText is a result as JSON.
func verdictText(t testing.TB, r Result) string {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
