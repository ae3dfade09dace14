package breakglass

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

// ErrExhausted is returned when a grant has no use left, or is not active any more.
var ErrExhausted = errors.New("the grant is used up or over")

// ErrSpent is returned when a grant is brought again after it was revoked or deleted, or its time was over: its signatures are still good, so its name
// must not be.
var ErrSpent = errors.New("a grant of this name is over: have another one signed, by another name")

// ErrUncounted is returned when the use of a counted grant cannot be counted among the replicas: the request must not pass, for a replica that counts
// alone would let as many pass again as others did.
var ErrUncounted = errors.New("the use cannot be counted among the replicas")

// Counter counts the uses of grants among all replicas of a gate.
type Counter interface {
	// Claim counts one use of a grant and returns how many there are with it. It must be durable when it returns, and atomic among the replicas. At
	// most limit claims may succeed, known among them (uses that the caller knows of and the counter may have lost); then it must return ErrExhausted.
	Claim(ctx context.Context, grant string, known, limit int) (int, error)
}

// Store holds the grants that the cluster shows, counts their uses, and remembers counts and ends across restarts. It is safe for concurrent use.
type Store struct {
	file    string // of what is kept; "" keeps it in memory
	counter Counter

	mu        sync.Mutex // guards what follows; held while something is made durable
	authority *Authority
	kept      kept
	grants    map[string]*Grant          // good ones, by name
	shown     map[string]*v1alpha1.Grant // what the cluster shows, good ones and others
	set       atomic.Pointer[Set]
}

// kept is what outlives a restart: a line for each grant that was ever good here. People sign them by hand, so it stays small, and nothing is ever
// dropped from it.
type kept struct {
	Schema int `json:"schema"` // 1
	// Uses by name; 0 for a grant that was seen.
	Uses map[string]int `json:"uses"`
	// Ended says how a grant ended for good, by name: Revoked, Deleted or Expired.
	Ended map[string]State `json:"ended,omitempty"`
	// Latest is the latest time of a use: a clock that is set back opens nothing again.
	Latest time.Time `json:"latest"`
}

func (k kept) clone() kept {
	k.Uses, k.Ended = maps.Clone(k.Uses), maps.Clone(k.Ended)
	if k.Ended == nil {
		k.Ended = map[string]State{}
	}
	return k
}

// Open reads what was kept in a folder, which is made if it is missing; "" keeps it in memory. A file that is damaged is an error: going on without it
// could let a grant be used again.
func Open(authority *Authority, dir string) (*Store, error) {
	s := &Store{authority: authority, kept: kept{Schema: 1, Uses: map[string]int{}}, grants: map[string]*Grant{}, shown: map[string]*v1alpha1.Grant{}}
	s.publish()
	if dir == "" {
		return s, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s.file = filepath.Join(dir, "uses.json")
	data, err := os.ReadFile(s.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err != nil:
		return nil, err
	}
	if err := json.Unmarshal(data, &s.kept); err != nil || s.kept.Schema != 1 || s.kept.Uses == nil {
		return nil, fmt.Errorf("%s is damaged: remove it to let every grant be used anew (%v)", s.file, err)
	}
	s.publish()
	return s, nil
}

// Observe takes up a grant as the cluster shows it. The error says why it opens nothing. A revocation is for good: a grant that is brought again
// without it stays revoked.
func (s *Store) Observe(g *v1alpha1.Grant, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publish()
	s.shown[g.Name] = g
	return s.observe(g, now)
}

// Trust replaces who may sign, nil is nobody, and judges anew what the cluster shows. Counts and ends stay.
func (s *Store) Trust(a *Authority, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publish()
	s.authority = a
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.shown)) {
		if err := s.observe(s.shown[name], now); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// observe judges a grant. mu is held.
func (s *Store) observe(g *v1alpha1.Grant, now time.Time) error {
	good, err := s.authority.Judge(g, now)
	delete(s.grants, g.Name)
	if err != nil {
		return err
	}
	if err := s.remember(good); err != nil && good.Revoked == "" {
		return err // what cannot be remembered must not open: it could be used again
	}
	s.grants[g.Name] = good
	if good.Revoked == "" && s.kept.Ended[g.Name] != "" {
		return ErrSpent
	}
	return nil
}

// remember makes durable that a grant was seen, and that it was revoked. mu is held.
func (s *Store) remember(g *Grant) error {
	_, known := s.kept.Uses[g.Name]
	over := g.Revoked != "" && s.kept.Ended[g.Name] == ""
	if known && !over {
		return nil
	}
	next := s.kept.clone()
	next.Uses[g.Name] += 0
	if over {
		next.Ended[g.Name] = Revoked
	}
	return s.keep(next)
}

// Forget ends a grant whose object is gone, for good: whoever brings the object again opens nothing. The error says that this could not be made
// durable; until the gate is started again it holds nevertheless.
func (s *Store) Forget(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publish()
	delete(s.shown, name)
	delete(s.grants, name)
	return s.end(Deleted, name)
}

// Listed ends the grants that were known before and that the cluster does not show any more: they were deleted while the gate was down. It is to be
// called once all that the cluster holds has been observed.
func (s *Store) Listed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publish()
	var gone []string
	for name := range s.kept.Uses {
		if s.shown[name] == nil {
			gone = append(gone, name)
		}
	}
	return s.end(Deleted, gone...)
}

// Settle notes for good whose time is over: a clock that is set back after that opens them no more.
func (s *Store) Settle(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publish()
	var over []string
	for name, g := range s.grants {
		if !now.Before(g.Spec.Until.Time) {
			over = append(over, name)
		}
	}
	return s.end(Expired, over...)
}

// end notes how known grants ended, if they have not before. mu is held. It holds in memory even where it cannot be made durable.
func (s *Store) end(how State, names ...string) error {
	next, changed := s.kept.clone(), false
	for _, name := range names {
		if _, known := next.Uses[name]; known && next.Ended[name] == "" {
			next.Ended[name], changed = how, true
		}
	}
	if !changed {
		return nil
	}
	err := s.keep(next)
	s.kept = next
	return err
}

// CountWith has the uses of counted grants counted among all replicas. Without it each replica counts for itself. It must be called before the store is
// shared.
func (s *Store) CountWith(c Counter) { s.counter = c }

// Use counts a request that a grant let pass. It returns only when the count is durable, or with an error: then the request must not pass.
func (s *Store) Use(ctx context.Context, name string, now time.Time) error {
	used, limit, err := s.usable(name, now)
	if err != nil {
		return err
	}
	claimed := 0
	if limit > 0 && s.counter != nil { // a grant without a count needs no agreement, and works with the API server out of reach
		switch claimed, err = s.counter.Claim(ctx, name, used, limit); {
		case errors.Is(err, ErrExhausted):
			return errors.Join(err, s.count(name, now, limit))
		case err != nil:
			return fmt.Errorf("%w: %w", ErrUncounted, err)
		}
	}
	return s.count(name, now, claimed)
}

// usable is how often an active grant was used, as far as this replica knows, and how often it may be.
func (s *Store) usable(name string, now time.Time) (used, limit int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.grants[name]
	if g == nil || s.kept.state(g, now) != Active {
		return 0, 0, ErrExhausted
	}
	return s.kept.Uses[name], g.Spec.Uses, nil
}

// count makes a use durable. total is what was counted among the replicas, 0 where each counts for itself.
func (s *Store) count(name string, now time.Time, total int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, next := s.grants[name], s.kept.clone()
	next.Latest = later(now, s.kept.Latest)
	switch {
	case g == nil || g.Revoked != "" || s.kept.Ended[name] != "": // it ended meanwhile
		return ErrExhausted
	case total > 0:
		next.Uses[name] = max(next.Uses[name], total)
	case s.kept.state(g, now) != Active: // somebody took the last use meanwhile
		return ErrExhausted
	default:
		next.Uses[name]++
	}
	if err := s.keep(next); err != nil {
		return err
	}
	s.publish()
	return nil
}

// state is where a grant stands, with what is known of its past.
func (k kept) state(g *Grant, now time.Time) State {
	if how := k.Ended[g.Name]; how != "" {
		return how
	}
	return g.StateAt(later(now, k.Latest), k.Uses[g.Name])
}

// keep makes something durable, then true. mu is held.
func (s *Store) keep(next kept) error {
	if err := s.write(next); err != nil {
		return err
	}
	s.kept = next
	return nil
}

// write makes durable what is to be kept. A crash inside it leaves this or what was before.
func (s *Store) write(k kept) error {
	if s.file == "" {
		return nil
	}
	data, err := json.Marshal(k)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(s.file), ".uses-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), s.file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// publish must be called with mu held, or before the store is shared.
func (s *Store) publish() {
	s.set.Store(&Set{authority: s.authority, grants: maps.Clone(s.grants), kept: s.kept}) // kept is replaced, never changed
}

// Set is what the store holds now.
func (s *Store) Set() *Set { return s.set.Load() }

// Set is the grants of one moment. It never changes; nil holds none.
type Set struct {
	authority *Authority
	grants    map[string]*Grant
	kept      kept
}

// Covering is an active grant that covers a request, the one that ends first; nil if none does.
func (s *Set) Covering(q Question, now time.Time) *Grant {
	if s == nil || s.authority == nil || s.authority.limits.never(q) {
		return nil
	}
	var found *Grant
	for _, name := range slices.Sorted(maps.Keys(s.grants)) {
		g := s.grants[name]
		if s.kept.state(g, now) != Active || !g.covers(q) {
			continue
		}
		if found == nil || g.Spec.Until.Before(&found.Spec.Until) {
			found = g
		}
	}
	return found
}

// Judge tells why a document opens nothing, nil if its signatures suffice and its name is not that of a grant that is over. A revoked one may be
// brought again with its revocation, which is what a restore does.
func (s *Set) Judge(g *v1alpha1.Grant, now time.Time) error {
	if s == nil {
		_, err := (*Authority)(nil).Judge(g, now)
		return err
	}
	good, err := s.authority.Judge(g, now)
	if err == nil && good.Revoked == "" && s.kept.Ended[g.Name] != "" {
		return fmt.Errorf("%w (it is %s)", ErrSpent, strings.ToLower(string(s.kept.Ended[g.Name])))
	}
	return err
}

// Standing is where one grant stands.
type Standing struct {
	Grant
	State State
	Uses  int
}

// Standings are where all grants stand, by name.
func (s *Set) Standings(now time.Time) []Standing {
	var out []Standing
	for _, g := range s.grants {
		out = append(out, Standing{*g, s.kept.state(g, now), s.kept.Uses[g.Name]})
	}
	slices.SortFunc(out, func(a, b Standing) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
