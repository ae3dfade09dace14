package admit

import (
	"context"
	"encoding/json"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/policy"
)

// asked are the reasons of an allow that policies are put to: what changes the cluster. Questions, housekeeping and writes that change nothing
// are not, and neither is a grant: break-glass exists for when rules stand in the way.
func asked(reason v1alpha1.Reason) bool {
	switch reason {
	case v1alpha1.ReasonFromGit, v1alpha1.ReasonPruned, v1alpha1.ReasonRecreated, v1alpha1.ReasonDerived,
		v1alpha1.ReasonExempt, v1alpha1.ReasonNotGuarded, v1alpha1.ReasonConnectAllowed:
		return true
	}
	return false
}

// policies puts an allow to the policies of the current revision. They can only take away: what is refused stays refused.
func (j *judgement) policies(ctx context.Context, d *Decision) *Decision {
	if d.Outcome != Allow || !asked(d.Reason) || j.Truth.Current == nil || j.Truth.Current.Policies == nil {
		return d
	}
	result, err := j.Truth.Current.Policies.Decide(ctx, j.policyInput(d))
	d.Policy = &result
	if err != nil {
		refusal := Failure(v1alpha1.ReasonInternal, "the policies could not be asked: %v.\nNext: ask again; if it lasts, report it.", err)
		refusal.Entry, refusal.Policy = d.Entry, d.Policy
		return &refusal
	}
	for _, w := range result.Warnings {
		d.Warnings = append(d.Warnings, warnings(j.finding(w))...)
	}
	if result.Allowed() {
		return d
	}
	if result.Waiting() {
		wait := retry(v1alpha1.ReasonInventoryBehind, "%s.\nNext: wait; the agent asks again by itself.", j.finding(result.Denials[0]))
		wait.Entry, wait.Policy, wait.Warnings = d.Entry, d.Policy, d.Warnings
		return wait
	}
	what, rule := "no rule answered", ""
	if len(result.Denials) > 0 {
		what, rule = j.finding(result.Denials[0]), result.Denials[0].ID
	}
	refusal := deny(v1alpha1.ReasonPolicyDenied, "%s may not %s: %s.\nNext: change what the policy names, in Git; the policy stands in %s.",
		j.r.User.Name, j.what(), what, policyPlace(result))
	refusal.Entry, refusal.Policy, refusal.Rule, refusal.Warnings = d.Entry, d.Policy, rule, d.Warnings
	return refusal
}

// finding says what a policy found. The text of a policy may quote the object: of a Secret, only the name of the rule is shown.
func (j *judgement) finding(f policy.Finding) string {
	if j.key.Group == "" && j.key.Kind == "Secret" {
		return f.ID
	}
	return f.ID + ": " + f.Msg
}

func policyPlace(r policy.Result) string {
	if len(r.Denials) == 0 || r.Denials[0].File == "" {
		return "the verified revision"
	}
	return r.Denials[0].File
}

func (j *judgement) policyInput(d *Decision) policy.Input {
	in := policy.Input{
		Request: j.r.document(), Object: j.r.Object, OldObject: j.r.Old,
		Cluster: j.spec.Cluster, Time: j.Now, Inventory: j.Inventory,
	}
	if e := d.Entry; e != nil && e.Changed != nil {
		if rev := j.Truth.RevisionOf(e); rev != nil {
			in.Origin = policy.OriginOf(rev.Repository, rev.Branch, rev.Commit.ID, e.Changed, e.Source.Path, e.Signatures)
		}
	}
	return in
}

// document is the request as policies see it: the AdmissionRequest without its objects.
func (r *Request) document() map[string]any {
	bare := *r
	bare.Object, bare.Old = nil, nil
	data, err := json.Marshal(&bare)
	if err != nil {
		return nil // a Request holds nothing that JSON cannot; policies refuse a request that is not there
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		return nil
	}
	return out
}
