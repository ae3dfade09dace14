// Package mirror brings commits here: a bare mirror of one branch of one repository. It trusts nothing, and nothing is believed
// because it is here.
//
// Two refs tell how far it is. refs/heads/BRANCH is the floor: the last commit that the caller vouched for with Advance; it moves
// forwards only. refs/commitgate/candidate is the tip that was last fetched; it descends from the floor, and only that. What does not
// descend is refused before it becomes part of the store.
//
// The objects are read and hashed by package objects, and fetched by package wire; neither knows tags, submodules, hooks,
// alternates, grafts or replace refs.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror/objects"
	"github.com/commitgate/commitgate/mirror/wire"
)

const (
	defaultMaxPack = 2 << 30
	defaultTimeout = 5 * time.Minute
	// mergeAt is how many packs a mirror has before they are made one: each fetch adds one, and a look-up asks them in turn.
	mergeAt = 32

	candidateRef = "refs/commitgate/candidate"
)

var (
	// ErrNoBranch is wrapped by the error of a fetch when the repository has no such branch (any more).
	ErrNoBranch = wire.ErrNoBranch
	// ErrDenied is wrapped by the error of a fetch when the server does not accept the credentials.
	ErrDenied = wire.ErrDenied
	// ErrTooLarge is wrapped by errors about packs and objects above the bounds.
	ErrTooLarge = objects.ErrTooLarge
	// ErrCorrupt is wrapped by errors about objects whose bytes are not what their name says.
	ErrCorrupt = objects.ErrCorrupt
)

// NotFastForwardError is returned when a tip does not descend from the floor: a rewind, a force-push, another repository.
type NotFastForwardError struct {
	Floor, Tip git.ID
}

func (e *NotFastForwardError) Error() string {
	return fmt.Sprintf("not a fast-forward: %s does not descend from %s", e.Tip.Short(), e.Floor.Short())
}

// Options say how to reach a repository, and bound what it may cost.
type Options struct {
	wire.Options
	// MaxPack bounds one fetch, in bytes on the wire; 2 GiB if it is 0.
	MaxPack int64
	// MaxObject bounds one object, in bytes; 64 MiB if it is 0.
	MaxObject int64
	// Timeout bounds one fetch; 5 minutes if it is 0.
	Timeout time.Duration
}

// Mirror is a bare mirror of one branch. It is safe for concurrent use; one fetch runs at a time.
type Mirror struct {
	dir    string
	branch string
	open   opener
	o      Options

	fetching sync.Mutex // held during a fetch, a merge and a change of a ref

	mu        sync.RWMutex // guards what follows
	repo      *Repository  // nil until the first fetch has told the object format
	floor     git.ID       // refs/heads/BRANCH, "" if nothing was vouched for yet
	candidate git.ID       // refs/commitgate/candidate, "" if nothing was fetched yet
	refused   *NotFastForwardError
}

// Open opens the mirror in dir, which belongs to this process alone, or makes one. It does not fetch: what was fetched before is there at
// once. The branch is named without refs/heads/.
func Open(dir, url, branch string, o Options) (*Mirror, error) {
	if o.MaxPack == 0 {
		o.MaxPack = defaultMaxPack
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if branch == "" || !safeRef("refs/heads/"+branch) {
		return nil, fmt.Errorf("%q is not the name of a branch", branch)
	}
	open, err := newOpener(url, o.Options)
	if err != nil {
		return nil, err
	}
	m := &Mirror{dir: dir, branch: branch, open: open, o: o}
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); errors.Is(err, fs.ErrNotExist) {
		return m, nil
	} else if err != nil {
		return nil, err
	}
	format, err := readFormat(filepath.Join(dir, "config"))
	if err != nil {
		return nil, err
	}
	return m, m.load(format)
}

// load opens the store and reads the refs.
func (m *Mirror) load(format objects.Format) error {
	store, err := objects.OpenWritable(filepath.Join(m.dir, "objects"), format, objects.Limits{Object: m.o.MaxObject})
	if err != nil {
		return err
	}
	r := folderRefs{m.dir, m.dir}
	for name, to := range map[string]*git.ID{"refs/heads/" + m.branch: &m.floor, candidateRef: &m.candidate} {
		id, err := r.ref(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, store.Close())
		}
		if err == nil && !store.Has(id) {
			return errors.Join(fmt.Errorf("%s is at %s, which the mirror does not hold: remove %s to fetch it anew", name, id, m.dir), store.Close())
		}
		*to = id
	}
	m.repo = newRepository(store, r, store.Close)
	return nil
}

// create makes the folder of a bare repository, for the object format of the source.
func (m *Mirror) create(format objects.Format) error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	version, extension := 0, ""
	if format == objects.SHA256 {
		version, extension = 1, "[extensions]\n\tobjectformat = sha256\n"
	}
	config := fmt.Sprintf("[core]\n\trepositoryformatversion = %d\n\tbare = true\n%s", version, extension)
	if err := os.WriteFile(filepath.Join(m.dir, "config"), []byte(config), 0o600); err != nil {
		return err
	}
	// HEAD makes it a repository, so it comes last.
	return os.WriteFile(filepath.Join(m.dir, "HEAD"), []byte("ref: refs/heads/"+m.branch+"\n"), 0o600)
}

// Close lets go of the mirror.
func (m *Mirror) Close() error {
	m.fetching.Lock()
	defer m.fetching.Unlock()
	if r := m.Repository(); r != nil {
		return r.Close()
	}
	return nil
}

// Repository reads what has been fetched; nil before the first fetch that succeeded.
func (m *Mirror) Repository() *Repository {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.repo
}

// Floor is the last commit that was vouched for, "" if there is none.
func (m *Mirror) Floor() git.ID {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.floor
}

// Candidate is the tip that was last fetched, "" if there is none. Nothing is known about it but that it descends from the floor.
func (m *Mirror) Candidate() git.ID {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.candidate
}

// Fetch asks the source for the branch and returns its tip, which descends from the floor. On any error the mirror is as it
// was; a tip that does not descend gives a *NotFastForwardError. One fetch runs at a time; callers that want to share one
// arrange it among themselves.
func (m *Mirror) Fetch(ctx context.Context) (git.ID, error) {
	m.fetching.Lock()
	defer m.fetching.Unlock()
	ctx, cancel := context.WithTimeout(ctx, m.o.Timeout)
	defer cancel()
	tip, err := m.fetch(ctx)
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", m.branch, err)
	}
	return tip, nil
}

func (m *Mirror) fetch(ctx context.Context) (git.ID, error) {
	s, err := m.open(ctx, m.branch)
	if err != nil {
		return "", err
	}
	defer s.Close()
	if m.repo == nil {
		if err := m.start(s.Format()); err != nil {
			return "", err
		}
	}
	if f := m.repo.store.Format(); f != s.Format() {
		return "", fmt.Errorf("the mirror is a %s repository, the source is %s", f, s.Format())
	}
	tip := s.Tip()
	if tip == m.candidate {
		return tip, nil
	}
	if m.refused != nil && m.refused.Tip == tip && m.refused.Floor == m.floor {
		return "", m.refused // it was looked at before; nothing has changed
	}
	if err := m.bring(ctx, s, tip); err != nil {
		return "", err
	}
	if err := writeRef(m.dir, candidateRef, tip); err != nil {
		return "", err
	}
	m.mu.Lock()
	m.candidate, m.refused = tip, nil
	m.mu.Unlock()
	if m.repo.store.Packs() >= mergeAt {
		return tip, m.repo.store.Merge(ctx)
	}
	return tip, nil
}

func (m *Mirror) start(format objects.Format) error {
	if err := m.create(format); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.load(format)
}

// bring makes the tip part of the store, if it descends from the floor.
func (m *Mirror) bring(ctx context.Context, s source, tip git.ID) error {
	store := m.repo.store
	if store.Has(tip) {
		return m.judge(ctx, store, tip)
	}
	var have []git.ID
	for _, id := range []git.ID{m.floor, m.candidate} {
		if id != "" {
			have = append(have, id)
		}
	}
	r, err := s.Fetch(ctx, have)
	if err != nil {
		return err
	}
	defer r.Close()
	in, err := store.Receive(ctx, r, objects.Receipt{MaxBytes: m.o.MaxPack})
	if err != nil {
		return err
	}
	if err := m.judge(ctx, in.View(), tip); err != nil {
		return errors.Join(err, in.Discard())
	}
	return in.Keep()
}

// judge refuses a tip that does not descend from the floor.
func (m *Mirror) judge(ctx context.Context, store *objects.Store, tip git.ID) error {
	if _, err := links(store, tip); err != nil {
		return err // the server did not bring it, or it is no commit
	}
	if m.floor == "" {
		return nil
	}
	ok, err := descends(ctx, store, tip, m.floor)
	if err != nil {
		return err
	}
	if !ok {
		e := &NotFastForwardError{Floor: m.floor, Tip: tip}
		m.mu.Lock()
		m.refused = e
		m.mu.Unlock()
		return e
	}
	return nil
}

// Advance moves the floor to a commit that the caller vouches for. It must be here and descend from the floor; the same commit again changes
// nothing. It is durable when Advance returns.
func (m *Mirror) Advance(ctx context.Context, to git.ID) error {
	m.fetching.Lock()
	defer m.fetching.Unlock()
	if to == m.floor {
		return nil
	}
	if m.repo == nil {
		return fmt.Errorf("advance to %s: nothing was fetched yet", to.Short())
	}
	if err := m.judge(ctx, m.repo.store, to); err != nil {
		return fmt.Errorf("advance to %s: %w", to.Short(), err)
	}
	if err := writeRef(m.dir, "refs/heads/"+m.branch, to); err != nil {
		return err
	}
	m.mu.Lock()
	m.floor = to
	m.mu.Unlock()
	return nil
}

// Dir is the folder of the mirror: a bare Git repository.
func (m *Mirror) Dir() string { return m.dir }
