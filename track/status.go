package track

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/policy"
	"github.com/commitgate/commitgate/signing"
)

// Stage is a step from a push to the truth.
type Stage string

// The stages at which a revision can be refused.
const (
	StageFetch   Stage = "fetch"   // the tip does not descend from what was verified: a rewind or force-push
	StageVerify  Stage = "verify"  // a commit's signatures are not enough
	StageRender  Stage = "render"  // the tree does not render
	StagePolicy  Stage = "policy"  // the policies do not compile, or their own tests fail
	StagePublish Stage = "publish" // the fact could not be recorded
)

// Publication is a revision that becomes the truth.
type Publication struct {
	Repository, Branch string
	Commit             *git.Commit
	Signatures         []signing.Signature
	From               git.ID // what was the truth before, "" at first
	Objects            int    // declared objects, of all repositories
	Put, Gone          int    // objects that are new or differ, and that are no longer declared
	// Judged is the signer list by which Commit was judged, nil for the anchor; Next that by which the commits after it are. Their content may
	// be gone: it was handed over with an earlier publication.
	Judged, Next *SignerList
	// Merged are the signer lists of the other parents of Commit, where it is a merge and they differ from Judged: it was judged by all of them.
	Merged []*SignerList
	// Relisted are the signer lists that came between From and Commit, oldest first.
	Relisted []*SignerList
	// Lists are the signer lists of the line, and of what was merged into it, that the observer has not been given in this process, with their content.
	Lists []*SignerList
	// Trust is what the configuration says of signers and rules, as JSON.
	Trust []byte
	// Policies are those that judge from now on, nil if there are none.
	Policies *policy.Set
}

// Refusal is a commit that was fetched and is not accepted. The truth stays what it was.
type Refusal struct {
	Repository, Branch string
	Commit             git.ID
	Stage              Stage
	Why                string // with file and line where there is one
	Since              time.Time
	// Judged is the signer list by which the commit was judged, and Trust what the configuration says; nil where it was not signatures that
	// were not enough.
	Judged *SignerList
	Trust  []byte

	cause error
}

// Unwrap is what lies behind the refusal, where there is more than Why: manifest.Problems of a tree that does not render.
func (r *Refusal) Unwrap() error { return r.cause }

// Error says it in a sentence, so that a Refusal can be the answer of a tool.
func (r *Refusal) Error() string {
	return fmt.Sprintf("%s: commit %s is refused (%s): %s", r.Repository, r.Commit.Short(), r.Stage, r.Why)
}

// Status is how one repository stands.
type Status struct {
	Repository, Branch string
	Head               git.ID    // the tip that was last fetched
	Heard              time.Time // when the repository last answered a fetch; zero: never
	FetchError         string    // why the last visit told nothing: no answer, or one that cannot be read; "" if it succeeded
	Verified           git.ID    // the last commit that the rules accept
	Published          git.ID    // the last of these that is the truth
	Refused            *Refusal  // why what was fetched is not the truth; nil if it is
	// Unfollowed names what the truth asks an agent for and the gate cannot render (a chart from the network, a repository that is not
	// trusted), each with its place: what it brings is not declared, and is refused.
	Unfollowed []string
}

// Ready tells whether a revision of the repository is the truth.
func (s Status) Ready() bool { return s.Published != "" }

// Status tells how the repositories stand, by name.
func (t *Tracker) Status() []Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Status, 0, len(t.status))
	for _, s := range t.status {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Status) int { return strings.Compare(a.Repository, b.Repository) })
	return list
}

// note makes public how a repository stands.
func (t *Tracker) note(r *repository) {
	s := Status{
		Repository: r.name, Branch: r.spec.Branch, Head: r.mirror.Candidate(), Heard: r.heard, FetchError: r.fetchError,
		Published: r.published, Refused: r.toldUnpublished, // the older commit first: it is what blocks
	}
	if !r.verified.IsZero() {
		s.Verified = r.verified.Commit().ID
	}
	if s.Refused == nil {
		s.Refused = r.told
	}
	if t.current != nil {
		s.Unfollowed = t.current.unfollowed(r.name)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status[r.name] = s
}

// tell makes a refusal known, once for as long as nothing changes.
func (t *Tracker) tell(ctx context.Context, told, now *Refusal) *Refusal {
	if now == nil {
		return nil
	}
	if told != nil && told.Commit == now.Commit && told.Stage == now.Stage && told.Why == now.Why {
		return told
	}
	again := *now
	again.Since = t.cfg.Now()
	t.metrics.refusals.WithLabelValues(again.Repository, string(again.Stage)).Inc()
	t.cfg.Log.Warn("a revision is refused", "repository", again.Repository, "commit", again.Commit, "stage", again.Stage, "why", again.Why)
	if t.cfg.Observer != nil {
		t.cfg.Observer.Refused(ctx, again)
	}
	return &again
}
