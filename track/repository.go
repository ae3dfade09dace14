package track

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror"
	"github.com/commitgate/commitgate/signing"
)

// repository is one trusted repository on its way to the truth. In a round it is owned by one goroutine, between rounds by the
// tracker's.
type repository struct {
	line
	name     string
	spec     v1alpha1.TrustedRepositorySpec
	interval time.Duration
	mirror   *mirror.Mirror

	seen *seen
	then time.Time // the time at which commits are judged that were seen before; zero: now

	due   time.Time // when it is to be fetched next
	heard time.Time // when it last answered a fetch; zero: never
	// high is the commit that was verified before a restart; the line must pass through it before anything else is looked at.
	// "" once it has.
	high git.ID
	// refused is why what was fetched is not verified; nil if it is.
	refused *Refusal
	// judged is the tip at which refused was found.
	judged git.ID
	// unpublished is why what is verified is not the truth; nil if it is.
	unpublished *Refusal
	// published is what of it is the truth; "" until there is one.
	published git.ID
	// told are the refusals that observer, log and metrics know of.
	told, toldUnpublished *Refusal
	fetchError            string // of the last fetch
}

func newRepository(r v1alpha1.TrustedRepository, policies []git.Path, m *mirror.Mirror, was repoState, s *seen, now func() time.Time) (*repository, error) {
	a, err := signing.NewAuthority(r.Name, r.Spec, policies...)
	if err != nil {
		return nil, err
	}
	repo := &repository{
		line: line{authority: a, mark: was.Published}, high: was.Verified,
		name: r.Name, spec: r.Spec, interval: r.Spec.Interval.Duration, mirror: m, seen: s, heard: heard(m.Dir()),
	}
	a.Clock = func() time.Time {
		if !repo.then.IsZero() {
			return repo.then
		}
		return now()
	}
	if repo.interval == 0 {
		repo.interval = v1alpha1.DefaultInterval
	}
	return repo, nil
}

// heard is when the repository last answered a fetch, also before a restart; zero if it never did. It is kept as the time of a
// file, because it is written at every fetch and nothing is lost with it but an early "too old".
func heard(dir string) time.Time {
	st, err := os.Stat(filepath.Join(dir, "heard"))
	if err != nil {
		return time.Time{}
	}
	return st.ModTime()
}

func (r *repository) hear(now time.Time) error {
	r.heard = now
	path := filepath.Join(r.mirror.Dir(), "heard")
	err := os.Chtimes(path, now, now)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.WriteFile(path, nil, 0o600); err == nil {
			err = os.Chtimes(path, now, now)
		}
	}
	return err
}

// state is what has to survive a restart.
func (r *repository) state() repoState {
	s := repoState{Branch: r.spec.Branch, Anchor: git.ID(r.spec.Anchor.Commit), Verified: r.high, Published: r.mark}
	if r.high == "" && !r.verified.IsZero() { // else it is not reached again yet
		s.Verified = r.verified.Commit().ID
	}
	return s
}

// recall verifies again what was the truth before a restart, from what the mirror holds, and leaves it in r.marked. It is no error if
// there was nothing, or if the mirror does not hold it.
func (r *repository) recall(ctx context.Context) error {
	h := r.mirror.Repository()
	if h == nil || r.mark == "" {
		return nil
	}
	if _, err := h.Commit(ctx, r.mark); err != nil {
		return ignore(err, fs.ErrNotExist)
	}
	if err := r.begin(ctx, h); err != nil {
		return err
	}
	if r.marked.IsZero() {
		_, _, err := r.again(ctx, h, r.mark) // what it refuses, judge will find again and tell
		return ignore(err, signing.ErrNotDescendant)
	}
	return nil
}

func ignore(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}

// lost says that what was verified once is not acceptable any more: the configuration has changed.
func (r *repository) lost(refused *signing.Refused) *Refusal {
	return r.refusal(refused.Commit, StageVerify, refused.Why+fmt.Sprintf(
		"\nThe gate accepted it before, and does not go back behind %s: trust its signer again, or move the anchor to a later commit.", r.high.Short()))
}

func (r *repository) refusal(commit git.ID, stage Stage, why string) *Refusal {
	x := &Refusal{Repository: r.name, Branch: r.spec.Branch, Commit: commit, Stage: stage, Why: why}
	if stage == StageVerify && r.lineage != nil {
		x.Judged, x.Trust = r.lineage.list(), r.authority.Trust() // it comes next after what was verified
	}
	return x
}

// judge verifies up to a commit that the mirror holds, and leaves what it found in r.verified and r.refused. An error says that it could
// not tell.
func (r *repository) judge(ctx context.Context, tip git.ID) (accepted int, err error) {
	h := r.mirror.Repository()
	if r.verified.IsZero() {
		if err := r.begin(ctx, h); err != nil {
			return 0, err
		}
	}
	if r.high != "" {
		n, refused, err := r.pass(ctx, h)
		accepted += n
		if err != nil || refused != nil {
			r.refused, r.judged = refused, tip
			return accepted, err
		}
	}
	if tip == r.judged {
		return accepted, nil
	}
	if tip == r.verified.Commit().ID {
		r.refused, r.judged = nil, tip
		return accepted, nil
	}
	n, refused, err := r.climb(ctx, h, tip)
	accepted += n
	if errors.Is(err, signing.ErrNotDescendant) {
		r.refused, r.judged = r.refusal(tip, StageFetch, rewritten(tip, r.verified.Commit().ID)), tip
		return accepted, nil
	}
	if err != nil {
		return accepted, err
	}
	r.refused, r.judged = nil, tip
	if refused != nil {
		r.refused = r.refusal(refused.Commit, StageVerify, refused.Why)
	}
	return accepted, nil
}

// pass goes through the commit that was verified before the restart. A mirror that was made anew may not hold it, or hold a history
// that does not lead there: then the branch was rewritten while nobody looked.
func (r *repository) pass(ctx context.Context, h signing.History) (int, *Refusal, error) {
	_, err := h.Commit(ctx, r.high)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, r.refusal(r.mirror.Candidate(), StageFetch, rewritten(r.mirror.Candidate(), r.high)), nil
	}
	if err != nil {
		return 0, nil, err
	}
	if r.verified.Commit().ID == r.high {
		r.high = ""
		return 0, nil, nil
	}
	n, refused, err := r.again(ctx, h, r.high)
	if errors.Is(err, signing.ErrNotDescendant) {
		return n, r.refusal(r.high, StageFetch, fmt.Sprintf("%s, which was verified before, does not descend from the trust anchor %s", r.high.Short(), git.ID(r.spec.Anchor.Commit).Short())), nil
	}
	if err != nil {
		return n, nil, err
	}
	if refused != nil {
		return n, r.lost(refused), nil
	}
	r.high = ""
	return n, nil, nil
}

// rewritten says what a force-push looks like from here, and the way on.
func rewritten(tip, from git.ID) string {
	return fmt.Sprintf("%s does not descend from %s, which was verified before: the branch was rewritten. Push a branch that goes on from %s, or give the gate a new anchor",
		tip.Short(), from.Short(), from.Short())
}
