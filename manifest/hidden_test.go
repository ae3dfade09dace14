package manifest

import (
	"testing"
	"time"

	"github.com/commitgate/commitgate/compact"
)

// A small number has few others, and one of them may decide what there is (a budget for more than one replica). Whichever are drawn, what is made of
// hidden values is found out, and not given up now and then.
func TestOthersThatDecideByChanceAreFound(t *testing.T) {
	render := func(values []any) ([]*document, error) {
		made := []*document{{content: compact.Of(map[string]any{"kind": "Deployment", "spec": map[string]any{"replicas": values[0], "password": values[1]}})}}
		if values[0] != 1 && values[2] == true {
			made = append(made, &document{content: compact.Of(map[string]any{"kind": "PodDisruptionBudget"})})
		}
		return made, nil
	}
	for range 500 {
		p := &probing{render: render, until: time.Now().Add(time.Minute), values: []hidden{
			{name: "replicas", known: true, value: 3}, {name: "password", known: true, value: "correct"}, {name: "monitoring", known: true, value: true},
		}}
		var err error
		if p.base, err = render(p.given(nil)); err != nil {
			t.Fatal(err)
		}
		found, err := p.findSealed()
		if err != nil {
			t.Fatal(err)
		}
		if sealed := found.of(0); !sealed["spec.replicas"] || !sealed["spec.password"] {
			t.Fatalf("what differs is %v", sealed)
		}
	}
}
