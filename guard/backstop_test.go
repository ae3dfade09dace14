package guard

import (
	"os"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

// The backstop leaves out what the webhook is not asked about, and nothing else.
func TestConditionsAreTheWebhooks(t *testing.T) {
	text, err := os.ReadFile("../config/webhook/webhook.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m, err := Read(text)
	if err != nil {
		t.Fatal(err)
	}
	if have := m.Webhooks[0].Webhooks[0].MatchConditions; !slices.Equal(have, Conditions("commitgate")) {
		t.Errorf("config/webhook has %v", have)
	}
}

// The backstop refuses nothing that the gate would not: milder overrides leave namespaces out.
func TestEnforcement(t *testing.T) {
	const shop = `(request.?namespace.orValue("").matches("^shop$"))`
	tests := map[string]struct{ gate, want string }{
		"a gate that enforces":                  {"{mode: Enforce, scope: Everything}", "true && true"},
		"a gate that only watches":              {"{mode: Audit, scope: Everything}", "false"},
		"what is not declared is left to RBAC":  {"{mode: Enforce, scope: Declared}", "false"},
		"one namespace enforces":                {"{mode: Warn, overrides: [{namespaces: [shop], mode: Enforce}]}", "(" + shop + " ? true : false) && true"},
		"one namespace is let off":              {"{mode: Enforce, overrides: [{namespaces: [shop], mode: Audit}]}", "(" + shop + " ? false : true) && true"},
		"some kinds are let off":                {"{mode: Enforce, overrides: [{namespaces: [shop], kinds: [Secret], mode: Warn}]}", "(" + shop + " ? false : true) && true"},
		"only some kinds are enforced":          {"{mode: Warn, overrides: [{kinds: [Secret], mode: Enforce}]}", "false"},
		"policies only warn":                    {"{mode: Enforce, overrides: [{reasons: [PolicyDenied], mode: Warn}]}", "true && true"},
		"whoever is no agent is only warned":    {"{mode: Enforce, overrides: [{reasons: [NotFromSyncAgent], mode: Warn}]}", "false"},
		"a namespace where Declared is guarded": {"{mode: Enforce, overrides: [{namespaces: [shop], scope: Declared}]}", "true && (" + shop + " ? false : true)"},
		"the first override decides":            {"{mode: Warn, overrides: [{namespaces: [shop], mode: Warn}, {mode: Enforce}]}", "(" + shop + " ? false : true) && true"},
		"teams and what is in no namespace":     {"{mode: Warn, overrides: [{namespaces: [\"team-*\", \"\"], mode: Enforce}]}", `((request.?namespace.orValue("").matches("^team-.*$") || request.?namespace.orValue("") == "") ? true : false) && true`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var gate v1alpha1.GateSpec
			if err := yaml.UnmarshalStrict([]byte(tt.gate), &gate); err != nil {
				t.Fatal(err)
			}
			have := enforcement(gate)
			if have != tt.want {
				t.Errorf("%s, want %s", have, tt.want)
			}
			if _, err := Backstop(BackstopConfig{Gate: gate, Namespace: "commitgate"}); (err != nil) != (tt.want == "false") {
				t.Errorf("error %v", err)
			}
		})
	}
}
