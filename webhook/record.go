package webhook

import (
	"time"

	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/snapshot"
)

// recorded tells whether a decision is kept: a dry-run changes nothing and must leave no trace outside (sideEffects
// NoneOnDryRun), and questions, Events and leases are counted only.
func recorded(r *admit.Request, d admit.Decision) bool {
	return !r.DryRun && d.Reason != v1alpha1.ReasonNotAChange
}

// newRecord tells what was decided, without any object's body.
func newRecord(r *admit.Request, d admit.Decision, truth *snapshot.Truth, took time.Duration) audit.Record {
	key := r.Key()
	rec := audit.Record{
		Type: audit.TypeDecision,
		Request: &audit.Request{
			UID: r.UID, Operation: string(r.Operation), Group: r.Kind.Group, Version: r.Kind.Version, Kind: r.Kind.Kind,
			Resource: r.Resource.Resource, Subresource: r.Subresource, Namespace: key.Namespace, Name: key.Name, ObjectUID: objectUID(r),
		},
		Actor: &audit.Actor{Username: r.User.Name, Groups: r.User.Groups, Role: string(d.Role)},
		Decision: &audit.Decision{
			Outcome: d.Outcome.String(), Verdict: d.Verdict.String(), Mode: string(d.Mode), Reason: string(d.Reason), Message: d.Message,
			Code: d.Outcome.Code(), Fields: d.Fields, Noop: d.Noop, Unverified: d.Unverified, Micros: took.Microseconds(),
		},
		Origin: origin(d, truth),
	}
	return rec
}

// origin ties the decision to Git: the declared object where there is one, else the revision that was looked at.
func origin(d admit.Decision, truth *snapshot.Truth) *audit.Origin {
	if e := d.Entry; e != nil && d.Revision != nil {
		o := &audit.Origin{Repository: d.Revision.Repository, Branch: d.Revision.Branch, Revision: d.Revision.Commit.ID, Path: e.Source.Path}
		if e.Changed != nil {
			o.Commit, o.Author = e.Changed.ID, e.Changed.Author.Name
		}
		for _, s := range e.Signatures {
			o.Signers = append(o.Signers, audit.Signer{Principal: string(s.Principal), Kind: string(s.Kind), Key: s.Key})
		}
		return o
	}
	if truth.Current == nil || len(truth.Current.Revisions) != 1 {
		return nil // with several repositories nothing says which one it would be
	}
	for _, r := range truth.Current.Revisions {
		return &audit.Origin{Repository: r.Repository, Branch: r.Branch, Revision: r.Commit.ID}
	}
	return nil
}

func objectUID(r *admit.Request) string {
	object := r.Old
	if object == nil {
		object = r.Object
	}
	meta, _ := object["metadata"].(map[string]any)
	uid, _ := meta["uid"].(string)
	return uid
}
