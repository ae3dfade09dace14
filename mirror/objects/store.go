package objects

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/commitgate/commitgate/git"
)

// Limits bound what a store reads.
type Limits struct {
	// Object is the largest object that is read, in bytes; 64 MiB if it is 0.
	Object int64
	// Cache is how many bytes of delta bases are kept in memory; 16 MiB if it is 0.
	Cache int64
}

// Store is an object folder (the `objects` of a Git folder). It is safe for concurrent use.
type Store struct {
	dir       string
	format    Format
	limit     int64
	bases     *bases
	inflaters *inflaters

	mu     sync.RWMutex
	packs  []*pack // most recent first; the slice is replaced, never changed
	serial uint32
}

// Open opens an object folder for reading. One that refers to alternates is refused: its objects would be somebody else's.
func Open(dir string, f Format, l Limits) (*Store, error) {
	if l.Object == 0 {
		l.Object = 64 << 20
	}
	if l.Cache == 0 {
		l.Cache = 16 << 20
	}
	if _, err := os.Stat(filepath.Join(dir, "info", "alternates")); err == nil {
		return nil, fmt.Errorf("%s borrows objects from another repository (objects/info/alternates), which is not followed; `git repack -ad` makes it whole", dir)
	}
	s := &Store{dir: dir, format: f, limit: l.Object, bases: newBases(l.Cache), inflaters: new(inflaters)}
	found, err := filepath.Glob(filepath.Join(dir, "pack", "pack-*.idx"))
	if err != nil {
		return nil, err
	}
	for _, file := range found {
		p, err := openPack(strings.TrimSuffix(file, ".idx"), f, s.nextSerial())
		if errors.Is(err, fs.ErrNotExist) { // repacked under our eyes, or the trace of a crash between two renames
			continue
		}
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.packs = append(s.packs, p)
	}
	slices.SortFunc(s.packs, func(a, b *pack) int { return b.index.n - a.index.n }) // most is where most is found
	return s, nil
}

func (s *Store) nextSerial() uint32 { s.serial++; return s.serial }

// Format is the hash that names objects here.
func (s *Store) Format() Format { return s.format }

// Packs is the number of packs.
func (s *Store) Packs() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.packs)
}

// Close closes the packs. Reads that are under way fail.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, p := range s.packs {
		errs = append(errs, p.file.Close())
	}
	s.packs = nil
	return errors.Join(errs...)
}

// Read returns an object whose bytes have been hashed to be id. The content may be shared and must not be changed. The error wraps
// fs.ErrNotExist if it is not there, ErrTooLarge if it is above the limit, ErrCorrupt if the store holds other bytes under this name.
func (s *Store) Read(id git.ID) (Kind, []byte, error) {
	n, err := parseName(id, s.format)
	if err != nil {
		return 0, nil, err
	}
	kind, content, err := s.locked(&n)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return 0, nil, err
		}
		return 0, nil, fmt.Errorf("object %s: %w", id, err)
	}
	got, err := nameOf(s.format, kind, content)
	if err != nil {
		return 0, nil, fmt.Errorf("object %s: %w", id, err)
	}
	if got != n {
		return 0, nil, fmt.Errorf("object %s: %w: its bytes are those of %s", id, ErrCorrupt, got.id(s.format))
	}
	return kind, content, nil
}

// Has tells whether the store names the object. Only Read proves that it is whole.
func (s *Store) Has(id git.ID) bool {
	n, err := parseName(id, s.format)
	return err == nil && s.has(&n)
}

func (s *Store) has(n *name) bool {
	if s.packed(n) {
		return true
	}
	_, err := os.Stat(s.loosePath(n))
	return err == nil
}

func (s *Store) locked(n *name) (Kind, []byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.unverified(n, 0)
}

// unverified reads an object that has not been hashed yet. The caller holds mu.
func (s *Store) unverified(n *name, depth int) (Kind, []byte, error) {
	for _, p := range s.packs {
		if offset, ok := p.index.find(n); ok {
			return s.at(p, offset, depth)
		}
	}
	return s.loose(n)
}

func (s *Store) loosePath(n *name) string {
	h := hex.EncodeToString(n[:s.format])
	return filepath.Join(s.dir, h[:2], h[2:])
}

// loose reads an object that has a file of its own.
func (s *Store) loose(n *name) (Kind, []byte, error) {
	f, err := os.Open(s.loosePath(n))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil, missing(n.id(s.format))
	}
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	in, err := s.inflaters.get(f)
	if err != nil {
		return 0, nil, err
	}
	defer s.inflaters.put(in)
	r := bufio.NewReaderSize(in.zlib, 4096)
	head, err := r.ReadSlice(0)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: loose object header: %w", ErrCorrupt, err)
	}
	k, length, _ := bytes.Cut(head[:len(head)-1], []byte(" "))
	kind, ok := parseKind(string(k))
	size, err := strconv.ParseInt(string(length), 10, 64)
	if !ok || err != nil || size < 0 {
		return 0, nil, fmt.Errorf("%w: loose object header", ErrCorrupt)
	}
	if size > s.limit {
		return 0, nil, fmt.Errorf("object of %d bytes: %w", size, ErrTooLarge)
	}
	content := make([]byte, size)
	if _, err := io.ReadFull(r, content); err != nil {
		return 0, nil, fmt.Errorf("%w: loose object ends early: %w", ErrCorrupt, err)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		return 0, nil, fmt.Errorf("%w: loose object is longer than its header says", ErrCorrupt)
	}
	return kind, content, nil
}

// Expand lists the ids that begin with the given hexadecimal digits, at least four of them.
func (s *Store) Expand(prefix string) ([]git.ID, error) {
	if len(prefix) < 4 || len(prefix) > 2*int(s.format) || strings.Trim(prefix, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("%q is not an abbreviated object id", prefix)
	}
	found := make(map[git.ID]bool)
	s.mu.RLock()
	for _, p := range s.packs {
		p.index.prefixed(func(n []byte) bool { return strings.HasPrefix(hex.EncodeToString(n), prefix) },
			func(n []byte) { found[git.ID(hex.EncodeToString(n))] = true })
	}
	s.mu.RUnlock()
	files, err := os.ReadDir(filepath.Join(s.dir, prefix[:2]))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, f := range files {
		if id, err := git.ParseID(prefix[:2] + f.Name()); err == nil && strings.HasPrefix(string(id), prefix) {
			found[id] = true
		}
	}
	ids := make([]git.ID, 0, len(found))
	for id := range found {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}
