package breakglass

import (
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

// Store holds the grants that the cluster shows, counts their uses, and remembers the counts across restarts. It is safe for concurrent use.
type Store struct {
	authority *Authority
	file      string // of the counts; "" keeps them in memory

	mu     sync.Mutex // guards what follows; held while a use is made durable
	kept   kept
	grants map[string]*Grant
	set    atomic.Pointer[Set]
}

// kept is what outlives a restart.
type kept struct {
	Schema int            `json:"schema"` // 1
	Uses   map[string]int `json:"uses"`   // by name
	// Latest is the latest time that was seen: a clock that is set back opens nothing again.
	Latest time.Time `json:"latest"`
}

// Open reads the counts in a folder, which is made if it is missing; "" keeps them in memory. A file that is damaged is an error: going on without it could let
// a grant be used again.
func Open(authority *Authority, dir string) (*Store, error) {
	s := &Store{authority: authority, kept: kept{Schema: 1, Uses: map[string]int{}}, grants: map[string]*Grant{}}
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

// Observe takes up a grant as the cluster shows it. The error says why it opens nothing.
func (s *Store) Observe(g *v1alpha1.Grant, now time.Time) error {
	good, err := s.authority.Judge(g, now)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publish()
	if err != nil {
		delete(s.grants, g.Name)
		return err
	}
	s.grants[g.Name] = good
	return nil
}

// Forget ends a grant whose object is gone.
func (s *Store) Forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.grants, name)
	s.publish()
}

// Use counts a request that a grant let pass. It returns only when the count is durable, or with an error: then the request must not pass.
func (s *Store) Use(name string, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.grants[name]
	if g == nil || g.StateAt(later(now, s.kept.Latest), s.kept.Uses[name]) != Active {
		return ErrExhausted
	}
	next := kept{Schema: 1, Uses: maps.Clone(s.kept.Uses), Latest: later(now, s.kept.Latest)}
	next.Uses[name]++
	if err := s.write(next); err != nil {
		return err
	}
	s.kept = next
	s.publish()
	return nil
}

// write makes the counts durable. A crash inside it leaves these or the ones before.
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
	s.set.Store(&Set{authority: s.authority, grants: maps.Clone(s.grants), uses: maps.Clone(s.kept.Uses), latest: s.kept.Latest})
}

// Set is what the store holds now.
func (s *Store) Set() *Set { return s.set.Load() }

// Set is the grants of one moment. It never changes; nil holds none.
type Set struct {
	authority *Authority
	grants    map[string]*Grant
	uses      map[string]int
	latest    time.Time
}

// Covering is an active grant that covers a request, the one that ends first; nil if none does.
func (s *Set) Covering(q Question, now time.Time) *Grant {
	if s == nil {
		return nil
	}
	var found *Grant
	for _, name := range slices.Sorted(maps.Keys(s.grants)) {
		g := s.grants[name]
		if g.StateAt(later(now, s.latest), s.uses[name]) != Active || !g.covers(q) {
			continue
		}
		if found == nil || g.Spec.Until.Before(&found.Spec.Until) {
			found = g
		}
	}
	return found
}

// Judge tells why a document opens nothing, nil if its signatures suffice.
func (s *Set) Judge(g *v1alpha1.Grant, now time.Time) error {
	if s == nil {
		_, err := (*Authority)(nil).Judge(g, now)
		return err
	}
	_, err := s.authority.Judge(g, now)
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
		out = append(out, Standing{*g, g.StateAt(later(now, s.latest), s.uses[g.Name]), s.uses[g.Name]})
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
