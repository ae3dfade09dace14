package webhook

import (
	"slices"
	"time"

	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/policy"
	"github.com/commitgate/commitgate/signing"
	"github.com/commitgate/commitgate/snapshot"
)

// recorded tells whether a decision is kept: a dry-run changes nothing and must leave no trace outside (sideEffects
// NoneOnDryRun), and questions, Events and leases are counted only.
func recorded(r *admit.Request, d admit.Decision) bool {
	return !r.DryRun && d.Reason != v1alpha1.ReasonNotAChange
}

// newRecord tells what was decided, without any object's body.
func newRecord(r *admit.Request, d admit.Decision, truth *snapshot.Truth, digests Digests, took time.Duration) audit.Record {
	key := r.Key()
	secret := key.Group == "" && key.Kind == "Secret"
	rec := audit.Record{
		Type: audit.TypeDecision,
		Request: &audit.Request{
			UID: r.UID, Operation: string(r.Operation), Group: r.Kind.Group, Version: r.Kind.Version, Kind: r.Kind.Kind,
			Resource: r.Resource.Resource, Subresource: r.Subresource, Namespace: key.Namespace, Name: key.Name,
			ObjectUID: metadata(r, "uid"), OldResourceVersion: oldResourceVersion(r),
		},
		Actor: &audit.Actor{
			Username: r.User.Name, UID: r.User.UID, Groups: r.User.Groups, Role: string(d.Role), Impersonated: d.Reason == v1alpha1.ReasonImpersonated,
		},
		Decision: &audit.Decision{
			Outcome: d.Outcome.String(), Verdict: d.Verdict.String(), Mode: string(d.Mode), Reason: string(d.Reason), Message: d.Message,
			Code: d.Outcome.Code(), Fields: d.Fields, Noop: d.Noop, Unverified: d.Unverified, Decrypted: d.Decrypted, Micros: took.Microseconds(),
			Violations: violations(d.Policy, secret, digests),
		},
		Origin: origin(d, truth),
		Policy: policies(d.Policy, truth),
		Change: change(d),
	}
	if digests != nil {
		digest(&rec, r, d, digests)
	}
	if d.Role == admit.RoleExempt {
		rec.Decision.Exemption = d.Rule
	}
	if g := d.Grant; g != nil {
		rec.Emergency = &audit.Emergency{Grant: g.Name, Reason: g.Spec.Reason, Ticket: g.Spec.Ticket, Expires: &g.Spec.Until.Time}
		for _, p := range g.SignedBy {
			rec.Emergency.OpenedBy = append(rec.Emergency.OpenedBy, string(p))
		}
	}
	return rec
}

// digest adds the digests of what a record must not hold itself.
func digest(rec *audit.Record, r *admit.Request, d admit.Decision, digests Digests) {
	rec.Request.ObjectDigest, rec.Request.OldDigest = digests.Digest(r.Object), digests.Digest(r.Old)
	if len(r.User.Extra) > 0 {
		claims := make(map[string]any, len(r.User.Extra))
		for name, values := range r.User.Extra {
			claims[name] = values
		}
		rec.Actor.ExtraDigest = digests.Digest(claims)
	}
	if d.Entry != nil && rec.Origin != nil {
		rec.Origin.ManifestDigest = digests.Declared(d.Entry.Content)
	}
}

// origin ties the decision to Git: the declared object where there is one, else the revision that was looked at.
func origin(d admit.Decision, truth *snapshot.Truth) *audit.Origin {
	e := d.Entry
	if e == nil {
		return lookedAt(truth)
	}
	rev := truth.RevisionOf(e)
	if rev == nil {
		return lookedAt(truth)
	}
	o := &audit.Origin{Repository: rev.Repository, Branch: rev.Branch, Revision: rev.Commit.ID, Tree: rev.Commit.Tree, Path: e.Source.Path}
	if b := e.Source.Base; b.Repository != "" {
		o.Base = &audit.Base{Repository: b.Repository, Commit: b.Commit, Path: b.Path}
	}
	if c := e.Changed; c != nil {
		when := c.Committer.When.UTC()
		o.Commit, o.Author, o.Committer, o.CommitTime = c.ID, c.Author.Name, c.Committer.Name, &when
	}
	o.SignerList, o.MergedSignerLists = e.SignerList, e.MergedSignerLists
	for _, s := range e.Signatures {
		o.Signers = append(o.Signers, audit.Signer{Principal: string(s.Principal), Kind: string(s.Kind), Key: s.Key})
	}
	return o
}

// lookedAt is the revision in which the object was not found; nil with several repositories, of which nothing says which one it would be.
func lookedAt(truth *snapshot.Truth) *audit.Origin {
	if truth.Current == nil || len(truth.Current.Revisions) != 1 {
		return nil
	}
	var o *audit.Origin
	for _, r := range truth.Current.Revisions {
		o = &audit.Origin{Repository: r.Repository, Branch: r.Branch, Revision: r.Commit.ID, Tree: r.Commit.Tree}
	}
	return o
}

// policies names the set of policies that was in force, and the moment at which it was asked, if it was.
func policies(result *policy.Result, truth *snapshot.Truth) *audit.Policy {
	var set *policy.Set
	if truth.Current != nil {
		set = truth.Current.Policies
	}
	if result == nil && set == nil {
		return nil
	}
	p := &audit.Policy{Digest: set.Digest(), Engine: policy.Engine()}
	if result != nil {
		now := result.Time.UTC()
		p.Digest, p.Engine, p.Time, p.Referential = result.Digest, result.Engine, &now, result.Referential
	}
	if revisions := set.Revisions(); len(revisions) > 0 && p.Digest == set.Digest() { // a newer set may have come while the old one was asked
		p.Repository, p.Commit = revisions[0].Repository, revisions[0].Commit
	}
	return p
}

// violations are what the policies found. What a rule says of a Secret may quote it, and is left out: a digest stands for it, if there are any.
func violations(result *policy.Result, secret bool, digests Digests) []audit.Violation {
	if result == nil {
		return nil
	}
	var out []audit.Violation
	for _, f := range slices.Concat(result.Denials, result.Warnings, result.Dryruns) {
		v := audit.Violation{Policy: f.Policy, Rule: f.ID, Message: f.Msg, Controls: f.Controls}
		if secret {
			v.Message = ""
			if digests != nil {
				v.MessageDigest = digests.Text(f.Msg)
			}
		}
		out = append(out, v)
	}
	return out
}

// change is how the change came to the branch, as far as its signed commit shows: who other than the author signed, and the tickets of its trailers.
func change(d admit.Decision) *audit.Change {
	e := d.Entry
	if e == nil || e.Changed == nil {
		return nil
	}
	trailers := git.Trailers(e.Changed.Message)
	c := audit.Change{EvidenceSource: "signatures", Tickets: slices.Concat(trailers["ticket"], trailers["issue"], trailers["jira"])}
	for _, p := range signing.Approvers(e.Changed.Author, e.Signatures) {
		c.Approvers = append(c.Approvers, audit.Approver{ID: string(p)})
	}
	if len(c.Approvers) == 0 && len(c.Tickets) == 0 {
		return nil
	}
	return &c
}

// metadata is a field of the object as it is now, or as it will be if there is none yet.
func metadata(r *admit.Request, field string) string {
	object := r.Old
	if object == nil {
		object = r.Object
	}
	meta, _ := object["metadata"].(map[string]any)
	s, _ := meta[field].(string)
	return s
}

func oldResourceVersion(r *admit.Request) string {
	if r.Old == nil {
		return ""
	}
	return metadata(r, "resourceVersion")
}
