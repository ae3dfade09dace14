// Package track is the loop from a push to the truth: fetch, verify, render, compile, publish. It is the only writer of snapshots.
//
// One goroutine (Run) owns everything that moves; the request path reads one atomic pointer. Whatever fails, the
// previous truth stays, and status, metrics, log and observer say so. What was verified is remembered on disk, so that
// a restart neither goes back nor starts from whatever the remote says, and is ready without the Git host.
package track

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/mirror"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/trace"
)

const (
	// spacing is the least time between the beginnings of two rounds that somebody asked for: an agent that applies a hundred objects
	// that nobody has heard of must not make a hundred visits to the Git host.
	spacing = 200 * time.Millisecond
	// maxRecent bounds the superseded snapshots that are kept, should somebody push every second.
	maxRecent = 64
)

// Observer learns what became of revisions. Its methods are called by one goroutine.
type Observer interface {
	// Restored is called when what was published before a restart becomes the truth again: nothing is new but, perhaps, by what the
	// configuration judges. An error keeps it from being the truth; the newest revision is then published instead.
	Restored(ctx context.Context, ps []Publication) error
	// Published is called before a revision becomes the truth, once for each repository that moved. It must return only when the
	// fact is durably recorded; an error keeps the previous truth.
	Published(ctx context.Context, p Publication) error
	// Refused is called when what was fetched is not accepted; once for as long as nothing changes.
	Refused(ctx context.Context, r Refusal)
}

// Config is what a tracker needs.
type Config struct {
	Gate         v1alpha1.GateSpec
	Repositories []v1alpha1.TrustedRepository
	// Dir is where mirrors and state are kept, durable and for this process alone.
	Dir string
	// CacheKey authenticates the caches in Dir: of verified commits (signing.Authority.UseCache), of what they changed, and of what they render to. It must come from elsewhere
	// than Dir; nil is no cache.
	CacheKey []byte
	// Mirror says how to reach a repository; nil means without credentials.
	Mirror func(repository string) mirror.Options
	// Definitions are the CRDs of the cluster, by name; nil is none. They say how the fields of a kind compare whose CRD Git does not declare. It must
	// not block, and a map that it returned must not change; whoever changes them calls Hint.
	Definitions func() map[string]map[string]any
	// Engine runs what the trees have rendered (manifest.Input).
	Engine manifest.Engine
	// Decryption opens what Git holds encrypted; nil opens nothing.
	Decryption *manifest.Decryption
	// Observer may be nil.
	Observer Observer
	// Tracer of where the time of a push goes; nil is none.
	Tracer *trace.Tracer
	Log    *slog.Logger
	Now    func() time.Time
}

// Tracker keeps the truth up to date.
type Tracker struct {
	cfg     Config
	metrics *metrics
	truth   atomic.Pointer[snapshot.Truth]

	mu     sync.Mutex // guards next and status
	next   *round     // the round that begins next
	status map[string]Status
	wake   chan struct{} // holds one token when somebody waits for next

	// Owned by the goroutine of Run or Once.
	running  sync.Mutex
	repos    []*repository
	state    state // as it is on disk
	lock     *os.File
	builder  *builder
	kept     *keptFile // nil without a key
	current  *built    // what the truth was made from; nil until there is one
	failed   failure
	restored bool
	began    time.Time // the last round
}

// round is one pass over the repositories. done is closed when it is over, and err is set before.
type round struct {
	done chan struct{}
	err  error
}

func newRound() *round { return &round{done: make(chan struct{})} }

// New checks the configuration, reads the state and opens the mirrors. It neither fetches nor verifies: Run does.
func New(cfg Config) (*Tracker, error) {
	if len(cfg.Repositories) == 0 {
		return nil, errors.New("no trusted repository is configured")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	t := &Tracker{cfg: cfg, next: newRound(), wake: make(chan struct{}, 1), status: make(map[string]Status)}
	t.builder = &builder{gate: cfg.Gate, repositories: cfg.Repositories, definitions: cfg.Definitions, engine: cfg.Engine, decryption: cfg.Decryption, tracer: cfg.Tracer}
	t.metrics = newMetrics(t)
	t.truth.Store(new(snapshot.Truth))
	var err error
	if t.lock, err = lock(cfg.Dir); err != nil {
		return nil, err
	}
	if t.state, err = readState(cfg.Dir); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	var errs []error
	if cfg.CacheKey != nil {
		if t.kept, err = openKept(filepath.Join(cfg.Dir, "rendered"), keptRendered, cfg.CacheKey, cfg.Log); err != nil {
			return nil, errors.Join(err, t.Close())
		}
		t.builder.keep = t.kept
	}
	for _, spec := range cfg.Repositories {
		r, err := t.newRepository(spec)
		if err != nil {
			errs = append(errs, fmt.Errorf("repository %s: %w", spec.Name, err))
			continue
		}
		t.repos = append(t.repos, r)
		t.note(r)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *Tracker) newRepository(r v1alpha1.TrustedRepository) (*repository, error) {
	m, err := t.openMirror(r)
	if err != nil {
		return nil, err
	}
	was, known := t.state.Repositories[r.Name]
	switch {
	case !known:
		was.Verified = m.Floor() // the state was lost; the mirror remembers too
	case !was.of(r.Spec):
		was = repoState{}
		if m, err = t.reopenMirror(r, m); err != nil {
			return nil, err
		}
	}
	seen, err := readSeen(filepath.Join(t.cfg.Dir, "seen-"+r.Name))
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	repo, err := newRepository(r, PolicyFolders(t.cfg.Gate, r.Name), m, was, seen, t.cfg.Now)
	if err == nil && t.cfg.CacheKey != nil {
		if err = repo.authority.UseCache(filepath.Join(t.cfg.Dir, "verified-"+r.Name), t.cfg.CacheKey); err == nil {
			repo.changed, err = openKept(filepath.Join(t.cfg.Dir, "changed-"+r.Name), keptChanges, t.cfg.CacheKey, t.cfg.Log)
		}
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return repo, nil
}

func (t *Tracker) openMirror(r v1alpha1.TrustedRepository) (*mirror.Mirror, error) {
	var o mirror.Options
	if t.cfg.Mirror != nil {
		o = t.cfg.Mirror(r.Name)
	}
	return mirror.Open(t.mirrorDir(r.Name), r.Spec.URL, r.Spec.Branch, o)
}

func (t *Tracker) mirrorDir(repository string) string {
	return filepath.Join(t.cfg.Dir, "mirrors", repository)
}

// reopenMirror is for a repository whose anchor or branch was changed in the configuration: where the new anchor is part of the history that the mirror
// holds, as when an anchor moves on, it is kept; else it is made anew, for it would refuse a history that does not go on from the old one.
func (t *Tracker) reopenMirror(r v1alpha1.TrustedRepository, m *mirror.Mirror) (*mirror.Mirror, error) {
	if repo := m.Repository(); repo != nil && m.Candidate() != "" {
		ok, err := repo.Descends(context.Background(), m.Candidate(), git.ID(r.Spec.Anchor.Commit))
		if err == nil && ok {
			return m, nil
		}
	}
	if err := m.Close(); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(t.mirrorDir(r.Name)); err != nil {
		return nil, err
	}
	return t.openMirror(r)
}

// Close lets go of the mirrors and of the folder. Run must have returned.
func (t *Tracker) Close() error {
	var errs []error
	for _, r := range t.repos {
		errs = append(errs, r.mirror.Close())
		if r.changed != nil {
			errs = append(errs, r.changed.close())
		}
	}
	if t.kept != nil {
		errs = append(errs, t.kept.close())
	}
	if t.lock != nil {
		errs = append(errs, t.lock.Close())
	}
	return errors.Join(errs...)
}

// Truth is what the gate believes now. It is never nil; its Current is nil until something has been verified and rendered.
func (t *Tracker) Truth() *snapshot.Truth { return t.truth.Load() }

// Run keeps the truth up to date until the context ends, which is no error. It begins with what the mirrors hold, without the network.
func (t *Tracker) Run(ctx context.Context) error {
	t.running.Lock()
	defer t.running.Unlock()
	if err := t.restore(ctx); err != nil {
		t.cfg.Log.Error("the revision before the restart could not be restored", "err", err)
	}
	for {
		due := t.due()
		timer := time.NewTimer(time.Until(due))
		asked := false
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-t.wake:
			asked = true
		case <-timer.C:
		}
		timer.Stop()
		if asked && !pause(ctx, spacing-t.cfg.Now().Sub(t.began)) {
			return nil
		}
		if err := t.round(ctx, asked); err != nil && ctx.Err() == nil {
			t.cfg.Log.Warn("the truth stays what it was", "err", err)
		}
	}
}

// Once makes one round, restoring what the mirrors hold before: for tools and tests. It must not be called beside Run.
func (t *Tracker) Once(ctx context.Context) error {
	t.running.Lock()
	defer t.running.Unlock()
	return errors.Join(t.restore(ctx), t.round(ctx, true))
}

// due is when the next repository is to be fetched.
func (t *Tracker) due() time.Time {
	var first time.Time
	for _, r := range t.repos {
		if first.IsZero() || r.due.Before(first) {
			first = r.due
		}
	}
	return first
}

func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Refresh brings the truth up to date with a fetch of every repository that begins after the call. All who call while
// one round is under way share the next. It needs Run. The error is that of the fetch, or of the context.
func (t *Tracker) Refresh(ctx context.Context) error {
	t.mu.Lock()
	r := t.next
	t.mu.Unlock()
	t.Hint()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-r.done:
		return r.err
	}
}

// Hint says that there may be something to fetch, as a push hook does. It does not wait, and proves nothing.
func (t *Tracker) Hint() {
	select {
	case t.wake <- struct{}{}:
	default: // somebody has said so already
	}
}

// round fetches, verifies and publishes: every repository if somebody asked, else those that are due.
func (t *Tracker) round(ctx context.Context, asked bool) error {
	t.mu.Lock()
	r := t.next
	t.next = newRound()
	t.mu.Unlock()
	t.began = t.cfg.Now()
	r.err = t.pass(ctx, asked)
	close(r.done)
	return r.err
}

func (t *Tracker) pass(ctx context.Context, asked bool) (err error) {
	ctx, span := t.cfg.Tracer.Start(ctx, "round")
	defer func() { span.End(err) }()
	errs := make([]error, len(t.repos))
	var g errgroup.Group
	for i, r := range t.repos {
		if !asked && r.due.After(t.began) {
			continue
		}
		g.Go(func() error {
			errs[i] = t.fetch(ctx, r)
			return nil
		})
		r.due = t.began.Add(jitter(r.interval))
	}
	_ = g.Wait() // the errors are in errs
	return errors.Join(append(errs, t.settle(ctx))...)
}

// settle makes the truth of what was verified, and tells how it went.
func (t *Tracker) settle(ctx context.Context) error {
	err := t.save(nil)
	if err == nil { // else the mark could not be moved, and the truth must not be ahead of it
		err = t.publish(ctx)
	}
	t.refresh()
	for _, r := range t.repos {
		r.told = t.tell(ctx, r.told, r.refused)
		r.toldUnpublished = t.tell(ctx, r.toldUnpublished, r.unpublished)
		t.note(r)
	}
	return err
}

// jitter spreads the visits of many gates: between 80 and 120 percent.
func jitter(d time.Duration) time.Duration {
	return d*4/5 + rand.N(d*2/5+1)
}
