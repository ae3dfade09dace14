package main

import (
	"context"
	"strconv"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/signing"
	"github.com/commitgate/commitgate/track"
)

// recorder writes into the audit log what becomes of revisions.
type recorder struct {
	log *audit.Log
}

// Published implements track.Observer: the record is durable before the revision decides anything.
func (r *recorder) Published(ctx context.Context, p track.Publication) error {
	_, err := r.log.Append(ctx, audit.Record{
		Type: audit.TypePublished,
		Origin: &audit.Origin{
			Repository: p.Repository, Branch: p.Branch, Revision: p.Commit.ID, Tree: p.Commit.Tree, Commit: p.Commit.ID,
			Author: p.Commit.Author.Name, Committer: p.Commit.Committer.Name, Signers: signers(p.Signatures),
		},
		Event: &audit.Event{Message: "a revision became the truth", Details: map[string]string{
			"from": string(p.From), "objects": strconv.Itoa(p.Objects), "put": strconv.Itoa(p.Put), "gone": strconv.Itoa(p.Gone),
		}},
	})
	return err
}

// Refused implements track.Observer. The truth stays as it is, so a log that cannot take the record changes nothing: the log poisons itself, and
// every change is refused.
func (r *recorder) Refused(ctx context.Context, x track.Refusal) {
	_, _ = r.log.Append(ctx, audit.Record{
		Type:   audit.TypeRefused,
		Origin: &audit.Origin{Repository: x.Repository, Branch: x.Branch, Revision: x.Commit},
		Event:  &audit.Event{Message: x.Why, Details: map[string]string{"stage": string(x.Stage)}},
	})
}

func signers(signatures []signing.Signature) []audit.Signer {
	out := make([]audit.Signer, len(signatures))
	for i, s := range signatures {
		out[i] = audit.Signer{Principal: string(s.Principal), Kind: string(s.Kind), Key: s.Key}
	}
	return out
}
