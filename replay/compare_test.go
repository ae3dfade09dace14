package replay

import (
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/policy"
)

// A record that was tampered with, and a decision that a defect turned around, must show; what a record cannot confirm must not pass
// for confirmed.
func TestCompare(t *testing.T) {
	noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		change func(*audit.Record, *Result)
		want   string // part of a difference
		known  string // part of why it cannot be told
	}{
		"the same": {func(*audit.Record, *Result) {}, "", ""},
		"a verdict turned around": {func(r *audit.Record, _ *Result) {
			r.Decision.Verdict, r.Decision.Reason = "allow", "FromGit"
		}, "verdict: recorded allow, now deny", ""},
		"another reason":          {func(r *audit.Record, _ *Result) { r.Decision.Reason = "NotDeclared" }, "reason: recorded NotDeclared, now PolicyDenied", ""},
		"another commit":          {func(_ *audit.Record, r *Result) { r.Commit = "other" }, "commit: recorded c1, now other", ""},
		"another set of policies": {func(_ *audit.Record, r *Result) { r.Policy.Digest = "sha256:2" }, "policies: recorded sha256:1, now sha256:2", ""},
		"another finding":         {func(_ *audit.Record, r *Result) { r.Policy.Denials[0].Msg = "else" }, "findings: recorded x: no, now x: else", ""},
		"policies were not asked": {func(r *audit.Record, _ *Result) { r.Policy.Time = nil }, "none were asked then", ""},
		"there were no policies":  {func(r *audit.Record, _ *Result) { r.Policy = nil }, "none were asked then", ""},
		"policies are not asked":  {func(_ *audit.Record, r *Result) { r.Policy = nil }, "none are asked now", ""},
		"a secret's finding has no message": {func(r *audit.Record, _ *Result) {
			r.Decision.Violations[0].Message = ""
		}, "", ""},
		"the cluster's state counted": {func(r *audit.Record, _ *Result) { r.Policy.Referential = true }, "", "objects of the cluster"},
		"a grant":                     {func(r *audit.Record, _ *Result) { r.Decision.Reason = "Granted" }, "", "break-glass"},
		"the gate could not tell":     {func(r *audit.Record, _ *Result) { r.Decision.Verdict = "retry" }, "", "could not tell"},
		"no revision":                 {func(r *audit.Record, _ *Result) { r.Origin = nil }, "", "no revision"},
		"an owner that nobody shows":  {func(_ *audit.Record, r *Result) { r.Reason = "OwnerUnknown" }, "", "owners"},
		"no decision":                 {func(r *audit.Record, _ *Result) { r.Request = nil }, "", "no decision"},
	} {
		t.Run(name, func(t *testing.T) {
			rec := audit.Record{
				ID: "1", Request: &audit.Request{UID: "u"}, Origin: &audit.Origin{Revision: "r1", Commit: "c1"},
				Decision: &audit.Decision{Verdict: "deny", Reason: "PolicyDenied", Violations: []audit.Violation{{Policy: "commitgate.x", Rule: "x", Message: "no"}}},
				Policy:   &audit.Policy{Digest: "sha256:1", Engine: "opa 1", Time: &noon},
			}
			again := Result{UID: "u", Verdict: "deny", Reason: "PolicyDenied", Commit: "c1", Policy: &policy.Result{
				Digest: "sha256:1", Engine: "opa 1", Denials: []policy.Finding{{Policy: "commitgate.x", ID: "x", Msg: "no"}},
			}}
			c.change(&rec, &again)
			got := Compare(rec, again)
			if text := strings.Join(got.Differences, "; "); (c.want == "") != (text == "") || !strings.Contains(text, c.want) {
				t.Errorf("differences: %q, want %q", text, c.want)
			}
			if (c.known == "") != (got.Unknown == "") || !strings.Contains(got.Unknown, c.known) {
				t.Errorf("unknown: %q, want %q", got.Unknown, c.known)
			}
			if got.Confirmed() != (c.want == "" && c.known == "") {
				t.Errorf("confirmed: %v", got.Confirmed())
			}
		})
	}
}
