package test

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"
)

const pitfalls = 45

// TestPitfallsDocument holds each row of docs/pitfalls.md to tests and scenarios that are there.
func TestPitfallsDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/pitfalls.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := testNames(t)
	scenarios := map[string]string{"TestPitfalls": read(t, "../admit/pitfalls_test.go"), "TestPitfallsForReal": read(t, "controllers/pitfalls_test.go")}
	rows := regexp.MustCompile(`(?m)^\| (\d+) \|[^|]+\|[^|]+\|([^|]+)\|$`).FindAllStringSubmatch(string(text), -1)
	if len(rows) != pitfalls {
		t.Errorf("%d rows, want %d", len(rows), pitfalls)
	}
	held := map[string]bool{}
	for i, row := range rows {
		if row[1] != strconv.Itoa(i+1) {
			t.Errorf("row %s stands at %d", row[1], i+1)
		}
		named := regexp.MustCompile("`(Test[A-Za-z0-9]+)(?:/([0-9]+))?`").FindAllStringSubmatch(row[2], -1)
		if len(named) == 0 {
			t.Errorf("row %s is held by no test", row[1])
		}
		for _, m := range named {
			if !tests[m[1]] {
				t.Errorf("row %s names %s, and there is no such test", row[1], m[1])
			}
			if m[2] != "" && !strings.Contains(scenarios[m[1]], `"`+m[2]+` `) {
				t.Errorf("row %s names %s, which has no scenario %s", row[1], m[1], m[2])
			}
			held[m[1]+"/"+m[2]] = true
		}
	}
	for name, source := range scenarios {
		for _, m := range regexp.MustCompile(`"(\d\d) `).FindAllStringSubmatch(source, -1) {
			if !held[name+"/"+m[1]] {
				t.Errorf("%s has a scenario %s that docs/pitfalls.md does not name", name, m[1])
			}
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestRegistrationAsShipped: what the API server is told to ask about leaves nothing out that could matter. The chart is held equal to it elsewhere.
func TestRegistrationAsShipped(t *testing.T) {
	var c admissionregistrationv1.ValidatingWebhookConfiguration
	if err := yaml.Unmarshal([]byte(read(t, "../config/webhook/webhook.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	for _, w := range c.Webhooks {
		switch {
		case w.FailurePolicy == nil || *w.FailurePolicy != admissionregistrationv1.Fail:
			t.Errorf("%s: an outage would be a way in", w.Name)
		case w.MatchPolicy == nil || *w.MatchPolicy != admissionregistrationv1.Equivalent:
			t.Errorf("%s: another version of a kind would escape", w.Name)
		case w.NamespaceSelector != nil || w.ObjectSelector != nil:
			t.Errorf("%s: a label would opt things out", w.Name)
		case w.SideEffects == nil || *w.SideEffects == admissionregistrationv1.SideEffectClassSome || *w.SideEffects == admissionregistrationv1.SideEffectClassUnknown:
			t.Errorf("%s: dry-runs would be refused by the API server", w.Name)
		case w.TimeoutSeconds == nil || *w.TimeoutSeconds > 5:
			t.Errorf("%s: writes would hang for long", w.Name)
		case w.ClientConfig.Service == nil:
			t.Errorf("%s: asks by URL", w.Name)
		}
		if !slices.ContainsFunc(w.Rules, func(r admissionregistrationv1.RuleWithOperations) bool {
			return slices.Contains(r.Operations, admissionregistrationv1.OperationAll) && slices.Equal(r.APIGroups, []string{"*"}) && slices.Equal(r.APIVersions, []string{"*"}) &&
				slices.Equal(r.Resources, []string{"*/*"}) && (r.Scope == nil || *r.Scope == admissionregistrationv1.AllScopes)
		}) {
			t.Errorf("%s: not everything is asked about: %v", w.Name, w.Rules)
		}
		for _, m := range w.MatchConditions {
			if strings.Contains(m.Expression, "object") || strings.Contains(m.Expression, "abels") {
				t.Errorf("%s: %s asks the object itself, which whoever is judged writes", w.Name, m.Name)
			}
		}
	}
	if len(c.Webhooks) == 0 {
		t.Error("no webhook")
	}
}
