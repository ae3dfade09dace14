// Package snapshot holds the truth of one moment: the verified revision of each trusted repository, the index of the
// objects that they declare, and the policies. A snapshot never changes once it is made.
package snapshot

import (
	"iter"
	"time"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/policy"
	"github.com/commitgate/commitgate/signing"
)

// Revision is a verified commit of one trusted repository, as a snapshot uses it.
type Revision struct {
	Repository string
	Branch     string
	Commit     *git.Commit
	Signatures []signing.Signature
	// Fetched is when the mirror last heard from the repository: freshness, never the commit's own date.
	Fetched time.Time
	// Unbelieved is what the branch holds beyond this commit and is not accepted; nil if nothing.
	Unbelieved *Unbelieved
}

// Unbelieved is a commit that the gate does not accept.
type Unbelieved struct {
	Commit git.ID
	Why    string // one line, for people
}

// Entry is one declared object with everything that a decision needs. It is shared between snapshots while its content is the same.
type Entry struct {
	manifest.Object
	// Account is the declaration prepared for accounting.
	Account *account.Object
	// Revision is the verified commit with which this entry became part of the truth. It stays while later revisions declare
	// the same; Truth.RevisionOf tells the newest.
	Revision *Revision
	// Changed is the commit that last changed the object: on the first-parent line, from the anchor on (the anchor itself vouches
	// for everything before it). Signatures are those of that commit.
	Changed    *git.Commit
	Signatures []signing.Signature
	// SignerList is the digest of the signer list by which that commit was judged: that of its first parent, or the configuration's. "" for the anchor.
	SignerList string
	// MergedSignerLists are those of its other parents, where it is a merge and they differ: it was judged by all of them.
	MergedSignerLists []string
	// Otherwise is the entry of Object.Otherwise, the other form in which the agent may apply the object; nil if there is but one.
	Otherwise *Entry
}

// Forms are those in which the agent may apply the object: the entry itself, and the other one if there is one.
func (e *Entry) Forms() []*Entry {
	if e.Otherwise == nil {
		return []*Entry{e}
	}
	return []*Entry{e, e.Otherwise}
}

// Form is the entry in the form that explains a change: the other one where that does and the entry itself does not.
func (e *Entry) Form(change account.Change) *Entry {
	if e.Otherwise != nil && !e.Account.Explain(change).Faithful() && e.Otherwise.Account.Explain(change).Faithful() {
		return e.Otherwise
	}
	return e
}

// Parts are what a snapshot consists of beside its declared objects.
type Parts struct {
	Revisions map[string]*Revision // by repository
	Published time.Time            // when its objects became the truth
	Types     *account.Types
	// Rendered is what the declared objects were made from, and what was not followed; of a superseded snapshot without its objects.
	Rendered *manifest.Set
	// Policies of the revisions, nil if none are configured.
	Policies *policy.Set
}

// Snapshot is the truth of one moment. New and Next make it.
type Snapshot struct {
	Parts
	index *index
}

// Superseded is the snapshot as it is kept while another is the truth: of what was rendered it tells which builds there were, for what they were made
// from grows with every revision.
func (s *Snapshot) Superseded() *Snapshot {
	old := *s
	if old.Rendered != nil {
		old.Rendered = old.Rendered.Lean()
	}
	return &old
}

// Lookup returns the declared object, or nil.
func (s *Snapshot) Lookup(k manifest.Key) *Entry { return s.index.lookup(k) }

// OfKind lists the declared objects of one kind, in no particular order. The slice must not be changed.
func (s *Snapshot) OfKind(group, name string) []*Entry { return s.index.kinds[kind{group, name}] }

// Len is the number of declared objects.
func (s *Snapshot) Len() int { return s.index.n }

// All yields every declared object, in no particular order.
func (s *Snapshot) All() iter.Seq[*Entry] { return s.index.all() }

// Truth is what the gate believes at one moment: the current snapshot, and the superseded ones that are still
// accepted from an agent that lags behind. It is published with one atomic pointer swap.
type Truth struct {
	Current *Snapshot // nil: nothing has been verified yet
	// Recent are superseded snapshots inside the accepted window, newest first. Published tells when each was
	// superseded by the next.
	Recent []*Snapshot
}

// holds tells whether an entry is one of the snapshot's, in one of its forms.
func (s *Snapshot) holds(e *Entry) bool {
	own := s.Lookup(e.Key)
	return own != nil && (own == e || own.Otherwise == e)
}

// RevisionOf is the verified revision that a declaration was found in: the newest whose snapshot holds it. An entry outlives the revision
// that brought it, so Entry.Revision is not the answer.
func (t *Truth) RevisionOf(e *Entry) *Revision {
	if t.Current != nil && t.Current.holds(e) {
		return t.Current.Revisions[e.Source.Repository]
	}
	for _, s := range t.Recent {
		if s.holds(e) {
			return s.Revisions[e.Source.Repository]
		}
	}
	return e.Revision
}
