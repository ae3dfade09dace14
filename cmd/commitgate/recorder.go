package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/exhibit"
	"github.com/commitgate/commitgate/policy"
	"github.com/commitgate/commitgate/signing"
	"github.com/commitgate/commitgate/track"
)

// recorder writes into the audit log what becomes of revisions and by what they are judged, and keeps the bytes of the latter beside it.
type recorder struct {
	log      *audit.Log
	exhibits *exhibit.Store
	file     string // what judges, as last recorded
	now      func() time.Time
	inForce  inForce // as in file
}

// inForce is what judges, by digest. It outlives a restart, so that what a configuration changed meanwhile is recorded.
type inForce struct {
	Policies string            `json:"policies,omitempty"`
	Trust    map[string]string `json:"trust"` // what the configuration says of signers and rules, by repository
}

// newRecorder prepares the records of a log whose exhibits are kept in a store.
func newRecorder(log *audit.Log, exhibits *exhibit.Store, now func() time.Time) (*recorder, error) {
	r := &recorder{log: log, exhibits: exhibits, now: now, file: filepath.Join(exhibits.Dir(), "in-force.json")}
	b, err := os.ReadFile(r.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil || json.Unmarshal(b, &r.inForce) != nil || r.inForce.Trust == nil {
		r.inForce = inForce{Trust: map[string]string{}} // none yet, or torn: what judges is recorded once more
	}
	return r, nil
}

// Restored implements track.Observer: no revision is new, but the configuration may be.
func (r *recorder) Restored(ctx context.Context, ps []track.Publication) error {
	for _, p := range ps {
		if err := r.judges(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// Published implements track.Observer: what judges is kept, and the record is durable, before the revision decides anything.
func (r *recorder) Published(ctx context.Context, p track.Publication) error {
	if err := r.judges(ctx, p); err != nil {
		return err
	}
	o := originOf(p)
	o.Commit, o.NextSignerList = p.Commit.ID, p.Next.Digest
	o.Author, o.Committer, o.Signers = p.Commit.Author.Name, p.Commit.Committer.Name, signers(p.Signatures)
	if p.Judged != nil {
		o.SignerList = p.Judged.Digest
	}
	for _, list := range p.Merged {
		o.MergedSignerLists = append(o.MergedSignerLists, list.Digest)
	}
	_, err := r.log.Append(ctx, audit.Record{
		Type: audit.TypePublished, Origin: o, Policy: policyOf(p.Policies),
		Event: &audit.Event{Message: "a revision became the truth", Details: map[string]string{
			"from": string(p.From), "objects": strconv.Itoa(p.Objects), "put": strconv.Itoa(p.Put), "gone": strconv.Itoa(p.Gone),
		}},
	})
	return err
}

// judges keeps what a publication is judged by, and records what of it is other than it was.
func (r *recorder) judges(ctx context.Context, p track.Publication) error {
	trust, err := r.keep(p)
	if err != nil {
		return err
	}
	for _, list := range p.Relisted {
		o := originOf(p)
		o.Revision, o.Tree, o.Commit, o.SignerList, o.NextSignerList = list.Commit, "", list.Commit, list.Before, list.Digest
		if err := r.changed(ctx, audit.TypeSigners, o, nil, "a commit brings another signer list, by which the commits after it are judged", string(list.Path)); err != nil {
			return err
		}
	}
	if was, known := r.inForce.Trust[p.Repository]; was != trust {
		message := "the configuration says by what commits are judged"
		if known {
			message = "the configuration was changed: commits are judged by other signers or rules"
		}
		if err := r.changed(ctx, audit.TypeSigners, originOf(p), nil, message, ""); err != nil {
			return err
		}
	}
	if r.inForce.Policies != p.Policies.Digest() {
		message := "other policies judge from now on"
		if p.Policies == nil {
			message = "no policies judge any more"
		}
		if err := r.changed(ctx, audit.TypePolicies, nil, policyOf(p.Policies), message, ""); err != nil {
			return err
		}
	}
	return r.remember(p, trust)
}

// keep puts signer lists, trust and policies beside the log.
func (r *recorder) keep(p track.Publication) (trust string, err error) {
	documents := slices.Clip(p.Policies.Documents())
	for _, l := range p.Lists {
		documents = append(documents, l.Content)
	}
	now := r.now()
	for _, d := range documents {
		if _, err := r.exhibits.Put(d, now); err != nil {
			return "", err
		}
	}
	return r.exhibits.Put(p.Trust, now)
}

func (r *recorder) changed(ctx context.Context, kind audit.Type, o *audit.Origin, p *audit.Policy, message, path string) error {
	e := &audit.Event{Message: message}
	if path != "" {
		e.Details = map[string]string{"path": path}
	}
	_, err := r.log.Append(ctx, audit.Record{Type: kind, Origin: o, Policy: p, Event: e})
	return err
}

// remember notes what judges now. A crash before it leaves what was: then it is recorded twice.
func (r *recorder) remember(p track.Publication, trust string) error {
	if r.inForce.Policies == p.Policies.Digest() && r.inForce.Trust[p.Repository] == trust {
		return nil
	}
	r.inForce.Policies, r.inForce.Trust[p.Repository] = p.Policies.Digest(), trust
	b, err := json.MarshalIndent(r.inForce, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(r.file+".new", append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(r.file+".new", r.file)
}

func originOf(p track.Publication) *audit.Origin {
	return &audit.Origin{Repository: p.Repository, Branch: p.Branch, Revision: p.Commit.ID, Tree: p.Commit.Tree, Trust: exhibit.Digest(p.Trust)}
}

func policyOf(set *policy.Set) *audit.Policy {
	if set == nil {
		return nil
	}
	p := &audit.Policy{Digest: set.Digest(), Engine: policy.Engine()}
	if revisions := set.Revisions(); len(revisions) > 0 {
		p.Repository, p.Commit = revisions[0].Repository, revisions[0].Commit
	}
	return p
}

// Refused implements track.Observer. The truth stays as it is, so a log that cannot take the record changes nothing: the log poisons itself, and
// every change is refused.
func (r *recorder) Refused(ctx context.Context, x track.Refusal) {
	o := &audit.Origin{Repository: x.Repository, Branch: x.Branch, Revision: x.Commit}
	if x.Judged != nil {
		o.SignerList, o.Trust = x.Judged.Digest, exhibit.Digest(x.Trust)
		for _, d := range [][]byte{x.Judged.Content, x.Trust} {
			if d == nil {
				continue // it was kept before
			}
			if _, err := r.exhibits.Put(d, r.now()); err != nil {
				o.SignerList, o.Trust = "", "" // a record must not name what is not there
			}
		}
	}
	_, _ = r.log.Append(ctx, audit.Record{
		Type: audit.TypeRefused, Origin: o, Event: &audit.Event{Message: x.Why, Details: map[string]string{"stage": string(x.Stage)}},
	})
}

func signers(signatures []signing.Signature) []audit.Signer {
	out := make([]audit.Signer, len(signatures))
	for i, s := range signatures {
		out[i] = audit.Signer{Principal: string(s.Principal), Kind: string(s.Kind), Key: s.Key}
	}
	return out
}
