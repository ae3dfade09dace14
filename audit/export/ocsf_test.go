package export

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/audit"
)

// ocsfSchema is testdata/ocsf.json.
type ocsfSchema struct {
	Classes, Objects map[string]ocsfShape
}

// ocsfShape is a class or an object. A member's type is a name, with [] for lists, or the list of numbers that it may be.
type ocsfShape struct {
	Category        int
	Required, OneOf []string
	Members         map[string]any
}

// problems says how a value is not of a shape.
func (s ocsfSchema) problems(at string, shape ocsfShape, v any) (list []string) {
	o, ok := v.(map[string]any)
	if !ok {
		return []string{fmt.Sprintf("%s is no object: %v", at, v)}
	}
	for _, name := range shape.Required {
		if o[name] == nil {
			list = append(list, at+" lacks "+name)
		}
	}
	if shape.OneOf != nil && !slices.ContainsFunc(shape.OneOf, func(name string) bool { return o[name] != nil }) {
		list = append(list, fmt.Sprintf("%s has none of %v", at, shape.OneOf))
	}
	for name, v := range o {
		kind, known := shape.Members[name]
		if !known {
			list = append(list, fmt.Sprintf("%s: the schema does not know %s", at, name))
			continue
		}
		list = append(list, s.value(at+"."+name, kind, v)...)
	}
	return list
}

func (s ocsfSchema) value(at string, kind, v any) (list []string) {
	if numbers, ok := kind.([]any); ok {
		if !slices.Contains(numbers, v) {
			list = append(list, fmt.Sprintf("%s: %v is not one of its numbers", at, v))
		}
		return list
	}
	name := kind.(string)
	if inner, isList := strings.CutSuffix(name, "[]"); isList {
		items, ok := v.([]any)
		if !ok || len(items) == 0 {
			return []string{fmt.Sprintf("%s is no list, or empty: %v", at, v)}
		}
		for i, item := range items {
			list = append(list, s.value(fmt.Sprintf("%s[%d]", at, i), inner, item)...)
		}
		return list
	}
	good := false
	switch name {
	case "any":
		good = v != nil
	case "string":
		text, ok := v.(string)
		good = ok && text != ""
	case "boolean":
		_, good = v.(bool)
	case "long", "timestamp":
		n, ok := v.(float64)
		good = ok && n == math.Trunc(n) && (name == "long" || n > 1e12) // milliseconds, not seconds
	default:
		return s.problems(at, s.Objects[name], v)
	}
	if !good {
		list = append(list, fmt.Sprintf("%s: %v is no %s", at, v, name))
	}
	return list
}

func readOCSFSchema(t *testing.T) (s ocsfSchema) {
	t.Helper()
	b, err := os.ReadFile("testdata/ocsf.json")
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Whatever a record holds, or does not, its event is what the schema says: a lake that checks drops others.
func TestOCSFEventsAreOfTheirClass(t *testing.T) {
	schema := readOCSFSchema(t)
	at := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	finding := func(kind, severity string) audit.Record {
		return audit.Record{
			Type: audit.TypeFinding, Actor: &audit.Actor{Username: "root", Role: "other"},
			Outcome: &audit.Outcome{State: kind, At: &at, Via: "audit-webhook", AuditID: "a-1", Code: 201},
			Event:   &audit.Event{Message: "a change that nobody judged", Details: map[string]string{"severity": severity, "verb": "create", "object": "configmaps shop/x"}},
		}
	}
	tests := []struct {
		about                         string
		record                        audit.Record
		class, activity               int
		severity, action, disposition int
	}{
		{"an allowed update", decided("cart"), 6003, 3, 1, 1, 1},
		{"a denied update", decided("cart", refused), 6003, 3, 3, 2, 2},
		{"a failure of ours", decided("cart", func(r *audit.Record) { r.Decision.Outcome, r.Decision.Verdict = "error", "error" }), 6003, 3, 3, 2, 27},
		{"what would have been denied", decided("cart", func(r *audit.Record) { r.Decision.Verdict, r.Decision.Mode = "deny", "Audit" }), 6003, 3, 2, 3, 17},
		{"a creation with a generated name", decided("", func(r *audit.Record) { r.Request.Operation, r.Request.ObjectUID = "CREATE", "" }), 6003, 1, 1, 1, 1},
		{"an exec", decided("cart", func(r *audit.Record) { r.Request.Operation = "CONNECT" }), 6003, 99, 1, 1, 1},
		{"a deletion, by somebody of whom little is known", decided("cart", func(r *audit.Record) {
			r.Request.Operation, r.Request.Group, r.Request.Namespace = "DELETE", "", ""
			r.Actor, r.Origin, r.Change = &audit.Actor{Username: "x", Role: "other"}, nil, nil
		}), 6003, 4, 1, 1, 1},
		{"a change that nobody judged", finding("Undecided", "critical"), 2004, 1, 5, 0, 0},
		{"a webhook was changed", finding("GuardChanged", "high"), 2004, 1, 4, 0, 0},
		{"a finding of a severity that the schema has no number for", finding("Undecided", "grave"), 2004, 1, 99, 0, 0},
		{"a gap", audit.Record{
			Type: audit.TypeFinding, Outcome: &audit.Outcome{Of: "01J", State: "Unseen"}, Event: &audit.Event{Message: "not seen", Details: map[string]string{"severity": "low"}},
		}, 2004, 1, 2, 0, 0},
	}
	records := make([]audit.Record, len(tests))
	for i, tt := range tests {
		records[i] = tt.record
	}
	out, trailer := exported(t, []string{newReplica(t, "gate-0", records...).dir}, audit.Filter{}, OCSF{})
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != len(tests)+1 || trailer.Count != uint64(len(tests)) {
		t.Fatalf("%d lines, %d counted", len(lines), trailer.Count)
	}
	for i, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			var e map[string]any
			if err := json.Unmarshal([]byte(lines[i]), &e); err != nil {
				t.Fatal(err)
			}
			for _, p := range schema.problems("event", schema.Classes[fmt.Sprint(tt.class)], e) {
				t.Error(p)
			}
			for id, label := range map[string]string{"activity_id": "activity_name", "severity_id": "severity"} {
				if e[id] == 99.0 && e[label] == nil {
					t.Errorf("%s is Other, and nothing says what: no %s", id, label)
				}
			}
			number := func(name string) int { n, _ := e[name].(float64); return int(n) }
			for name, want := range map[string]int{
				"class_uid": tt.class, "activity_id": tt.activity, "type_uid": tt.class*100 + tt.activity, "category_uid": schema.Classes[fmt.Sprint(tt.class)].Category,
				"severity_id": tt.severity, "action_id": tt.action, "disposition_id": tt.disposition,
			} {
				if number(name) != want {
					t.Errorf("%s is %v, want %d", name, e[name], want)
				}
			}
		})
	}
}

// The checker itself can say no.
func TestTheOCSFCheckerFindsWhatIsWrong(t *testing.T) {
	schema := readOCSFSchema(t)
	var e map[string]any
	if err := json.Unmarshal([]byte(`{"class_uid":6003,"category_uid":6,"activity_id":7,"type_uid":600307,"time":1700000000,"severity_id":1,"metadata":{"product":{}},
		"actor":{"user":{}},"api":{"operation":""},"resources":[],"verdict":"deny"}`), &e); err != nil {
		t.Fatal(err)
	}
	found := strings.Join(schema.problems("event", schema.Classes["6003"], e), "\n")
	for _, want := range []string{"lacks src_endpoint", "activity_id: 7", "time: 1.7e+09", "metadata lacks version", "product has none", "user has none", "operation:", "resources is no list", "does not know verdict"} {
		if !strings.Contains(found, want) {
			t.Errorf("%q is not found:\n%s", want, found)
		}
	}
}
