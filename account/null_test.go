package account

import (
	"slices"
	"testing"

	"github.com/commitgate/commitgate/compact"
)

// A null in a list is an item: a list that is shorter by it is another one.
func TestNullHasItsPlaceInAList(t *testing.T) {
	nullable := map[string]any{"type": "string", "nullable": true}
	list := map[string]any{"type": "array", "items": nullable}
	types, err := NewTypes([]map[string]any{{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "gaps.example.com"},
		"spec": map[string]any{
			"group": "example.com", "scope": "Namespaced", "names": map[string]any{"kind": "Gap", "plural": "gaps"},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true, "schema": map[string]any{"openAPIV3Schema": map[string]any{
				"type": "object", "properties": map[string]any{"spec": map[string]any{"type": "object", "properties": map[string]any{"list": list, "text": nullable}}},
			}}}},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	gap := func(text any, list ...any) map[string]any {
		return map[string]any{"apiVersion": "example.com/v1", "kind": "Gap", "metadata": map[string]any{"name": "g", "namespace": "n"}, "spec": map[string]any{"list": list, "text": text}}
	}
	o, err := types.Declare(Declaration{Content: compact.Of(gap(nil, nil, "a", nil))})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		live map[string]any
		want string // "" is faithful
	}{
		"as declared":            {gap(nil, nil, "a", nil), ""},
		"without the last null":  {gap(nil, nil, "a"), "spec.list[2]"},
		"with another null":      {gap(nil, nil, "a", nil, nil), "spec.list[3]"},
		"a value in its place":   {gap(nil, nil, "a", "b"), "spec.list[2]"},
		"a value for a null":     {gap("b", nil, "a", nil), "spec.text"},
		"a null that moved away": {gap(nil, "a", nil, nil), "spec.list[0]"},
	} {
		r := o.Explain(Change{Object: c.live})
		if named := slices.Concat(r.Unexplained, r.Missing); c.want == "" && !r.Faithful() || c.want != "" && !slices.Contains(named, c.want) {
			t.Errorf("%s: have %q, want %q", name, named, c.want)
		}
	}
}
