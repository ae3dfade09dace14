package replay

import (
	"fmt"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/policy"
)

// Comparison is what became of a recorded decision when it was made again.
type Comparison struct {
	Record      string   `json:"record"` // its id
	UID         string   `json:"uid"`    // of the request
	Verdict     string   `json:"verdict"`
	Reason      string   `json:"reason"`
	Differences []string `json:"differences,omitempty"`
	// Unknown says why the record alone cannot confirm the decision: it also depended on what no record holds. "" if it can.
	Unknown string `json:"unknown,omitempty"`
}

// Confirmed tells whether the decision was the same.
func (c Comparison) Confirmed() bool { return c.Unknown == "" && len(c.Differences) == 0 }

// Unrepeatable says why a recorded decision cannot be made again from its record and the review; "" if it can.
func Unrepeatable(rec audit.Record) string {
	switch {
	case rec.Decision == nil || rec.Request == nil:
		return "the record is of no decision"
	case rec.Decision.Reason == string(v1alpha1.ReasonGranted):
		return "a break-glass grant allowed it"
	case rec.Decision.Verdict == "error", rec.Decision.Verdict == "retry":
		return "the gate could not tell: " + rec.Decision.Reason
	case rec.Origin == nil || rec.Origin.Revision == "":
		return "the record names no revision"
	case rec.Policy != nil && rec.Policy.Referential:
		return "its policies compared with objects of the cluster"
	}
	return ""
}

// Compare holds a recorded decision against the same one made again. Both must be of the same request.
func Compare(rec audit.Record, again Result) Comparison {
	c := Comparison{Record: rec.ID, UID: again.UID, Verdict: rec.Decision.Verdict, Reason: rec.Decision.Reason, Unknown: Unrepeatable(rec)}
	if c.Unknown != "" {
		return c
	}
	if again.Reason == string(v1alpha1.ReasonOwnerUnknown) {
		c.Unknown = "it depended on owners that the reviews do not show"
		return c
	}
	differ := func(what, then, now string) {
		if then != now {
			c.Differences = append(c.Differences, fmt.Sprintf("%s: recorded %s, now %s", what, then, now))
		}
	}
	differ("verdict", rec.Decision.Verdict, again.Verdict)
	differ("reason", rec.Decision.Reason, again.Reason)
	differ("commit", string(rec.Origin.Commit), again.Commit)
	switch asked := rec.Policy != nil && rec.Policy.Time != nil; {
	case !asked && again.Policy != nil:
		c.Differences = append(c.Differences, "policies: none were asked then")
	case asked && again.Policy == nil:
		c.Differences = append(c.Differences, "policies: none are asked now")
	case asked:
		c.Differences = append(c.Differences, recorded(rec).Differences(again.Policy.Recorded())...)
	}
	return c
}

// recorded is what the record says of the policies.
func recorded(rec audit.Record) policy.Recorded {
	out := policy.Recorded{Digest: rec.Policy.Digest, Engine: rec.Policy.Engine}
	for _, v := range rec.Decision.Violations {
		out.Findings = append(out.Findings, policy.RecordedFinding{Policy: v.Policy, ID: v.Rule, Msg: v.Message})
	}
	return out
}
