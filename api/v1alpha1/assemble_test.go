package v1alpha1

import (
	"encoding/json"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func objects(t *testing.T, documents ...string) []map[string]any {
	t.Helper()
	var out []map[string]any
	for _, d := range documents {
		o := map[string]any{}
		if err := yaml.Unmarshal([]byte(d), &o); err != nil {
			t.Fatal(err)
		}
		o["status"] = map[string]any{"objects": 7, "unknown": true}
		out = append(out, o)
	}
	return out
}

const assembledGate = `
apiVersion: commitgate.dev/v1alpha1
kind: Gate
metadata: {name: demo, uid: u1, generation: 3, managedFields: [{manager: kubectl}]}
spec:
  agents: [{name: flux, preset: Flux, users: [flux]}]
  roots: [{repository: infra, path: .}]
  exemptions: [{name: ops, users: [ops], reason: "a <b> & ü 🚢", expires: "2026-12-01T00:00:00Z"}]
`

const assembledRepository = `
apiVersion: commitgate.dev/v1alpha1
kind: TrustedRepository
metadata: {name: infra, uid: u2}
spec: {url: /srv/infra.git, branch: main, staleAfter: 1h, anchor: {commit: "1111111111111111111111111111111111111111"}}
`

// Objects of a cluster are read as files are: what files would be refused for is refused, and what is kept of them for a restart is the same again.
func TestAssemble(t *testing.T) {
	got, err := Assemble(objects(t, assembledGate, assembledRepository))
	if err != nil {
		t.Fatal(err)
	}
	if got.Gate.Spec.Mode != ModeEnforce || got.Gate.Spec.Exemptions[0].Reason != "a <b> & ü 🚢" {
		t.Errorf("have %+v", got.Gate)
	}
	text, err := got.Documents()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("kept", text)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(again)
	if string(a) != string(b) {
		t.Errorf("what was kept is another:\n%s\n%s", a, b)
	}

	for name, test := range map[string]struct {
		objects []map[string]any
		want    string
	}{
		"a field that this program does not know may be one that narrows": {objects(t, strings.Replace(assembledGate, "  roots:", "  onlyOnFridays: true\n  roots:", 1), assembledRepository), "Gate/demo: unknown field"},
		"no gate":                              {objects(t, assembledRepository), "no document of kind Gate"},
		"two gates":                            {objects(t, assembledGate, strings.Replace(assembledGate, "name: demo", "name: other", 1), assembledRepository), "a second Gate"},
		"a root of a repository nobody trusts": {objects(t, assembledGate), "Gate/demo: spec.roots"},
		"another kind":                         {objects(t, "kind: Grant"), `kind "Grant"`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Assemble(test.objects); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}
