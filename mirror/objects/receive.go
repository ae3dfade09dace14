package objects

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// maxObjects bounds the objects of one pack, since some 100 bytes of memory are taken for each while it is indexed.
const maxObjects = 8 << 20

// ErrIncomplete is wrapped by errors about packs that name objects which neither they nor the store hold.
var ErrIncomplete = errors.New("pack is not complete")

// Receipt says how a pack is to be received.
type Receipt struct {
	// MaxBytes bounds the pack on the wire.
	MaxBytes int64
	// Partial accepts a pack whose objects name others that are missing: the content of a shallow or incremental bundle.
	Partial bool
}

// Incoming is a pack that has arrived, was hashed and indexed, and is not yet part of its store.
type Incoming struct {
	store *Store
	view  *Store
	path  string // without .pack, outside of the folder where packs are found
	pack  *pack
	sum   []byte
}

// Receive reads a pack from the wire into quarantine: each object is hashed, and unless Partial is set, everything that its objects
// name must be in it or in the store, so that what descends from a complete store is complete. After a crash
// a file named incoming-* is left, which OpenWritable removes.
func (s *Store) Receive(ctx context.Context, r io.Reader, how Receipt) (*Incoming, error) {
	file, err := os.CreateTemp(s.dir, "incoming-*.pack")
	if err != nil {
		return nil, err
	}
	path := file.Name()[:len(file.Name())-len(".pack")]
	in, err := s.receive(ctx, r, how, file, path)
	if err != nil {
		file.Close()
		os.Remove(path + ".pack")
		os.Remove(path + ".idx")
		return nil, err
	}
	return in, nil
}

func (s *Store) receive(ctx context.Context, r io.Reader, how Receipt, file *os.File, path string) (*Incoming, error) {
	sum, err := s.spool(ctx, r, how.MaxBytes, file)
	if err != nil {
		return nil, err
	}
	x := &indexer{ctx: ctx, store: s, file: file, byRef: make(map[name][]int), byOffset: make(map[int64][]int), named: make(map[name]struct{})}
	if x.size, x.count, err = packHeader(file, s.format); err != nil {
		return nil, err
	}
	if x.count > maxObjects {
		return nil, fmt.Errorf("pack of %d objects: %w", x.count, ErrTooLarge)
	}
	if err := x.scan(); err != nil {
		return nil, err
	}
	if err := x.resolve(); err != nil {
		return nil, err
	}
	if err := writeFile(path+".idx", func(w io.Writer) error { return writeIndex(w, s.format, x.entries, sum) }); err != nil {
		return nil, err
	}
	s.mu.Lock()
	serial := s.nextSerial()
	s.mu.Unlock()
	p, err := openPack(path, s.format, serial)
	if err != nil {
		return nil, err
	}
	in := &Incoming{store: s, path: path, pack: p, sum: sum}
	s.mu.RLock()
	in.view = &Store{dir: s.dir, format: s.format, limit: s.limit, bases: s.bases, inflaters: s.inflaters, packs: append([]*pack{p}, s.packs...)}
	s.mu.RUnlock()
	if !how.Partial {
		for n := range x.named {
			if !in.view.packed(&n) {
				return nil, errors.Join(fmt.Errorf("%w: it names %s and does not bring it", ErrIncomplete, n.id(s.format)), p.file.Close())
			}
		}
	}
	return in, file.Close()
}

// packed tells whether a pack names the object.
func (s *Store) packed(n *name) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range s.packs {
		if _, ok := p.index.find(n); ok {
			return true
		}
	}
	return false
}

// spool copies a pack to file, bounded, and compares its trailing checksum.
func (s *Store) spool(ctx context.Context, r io.Reader, limit int64, file *os.File) ([]byte, error) {
	h := newHash(s.format)
	buf := make([]byte, 1<<16)
	var tail []byte // the last bytes, which may be the checksum
	var total int64
	for {
		n, err := r.Read(buf)
		if total += int64(n); total > limit {
			return nil, fmt.Errorf("pack of more than %d bytes: %w", limit, ErrTooLarge)
		}
		if _, err := file.Write(buf[:n]); err != nil {
			return nil, err
		}
		tail = append(tail, buf[:n]...)
		if over := len(tail) - int(s.format); over > 0 {
			h.Write(tail[:over])
			tail = append(tail[:0], tail[over:]...)
		}
		if err == io.EOF {
			break
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return nil, fmt.Errorf("receive pack: %w", err)
		}
	}
	if !bytes.Equal(h.Sum(nil), tail) {
		return nil, fmt.Errorf("%w: the checksum of the pack does not match", ErrCorrupt)
	}
	return tail, file.Sync()
}

// View is the store with this pack in it.
func (in *Incoming) View() *Store { return in.view }

// Keep makes the pack a durable part of the store. After a crash inside it there is a pack without an index, which is no
// pack: the index gets its name last.
func (in *Incoming) Keep() error {
	dir := filepath.Join(in.store.dir, "pack")
	to := filepath.Join(dir, "pack-"+hex.EncodeToString(in.sum))
	for _, ext := range []string{".pack", ".idx"} {
		if err := os.Rename(in.path+ext, to+ext); err != nil {
			return err
		}
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	in.pack.path = to
	in.store.mu.Lock()
	defer in.store.mu.Unlock()
	in.store.packs = append([]*pack{in.pack}, in.store.packs...)
	return nil
}

// Discard forgets the pack.
func (in *Incoming) Discard() error {
	return errors.Join(in.pack.file.Close(), os.Remove(in.path+".pack"), os.Remove(in.path+".idx"))
}

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// indexer names the objects of a pack, as git-index-pack does: first those that are whole, in one pass; then, from
// each of these, the deltas that hang on it.
type indexer struct {
	ctx   context.Context
	store *Store
	file  *os.File
	size  int64
	count uint32

	entries []indexEntry
	done    []bool // by entry: it has a name
	roots   []int  // entries that are whole
	kinds   []Kind // by root
	byRef   map[name][]int
	// byOffset holds the deltas on an entry of this pack; written by scan only.
	byOffset map[int64][]int

	mu    sync.Mutex // guards byRef, named while resolve runs
	named map[name]struct{}
}

// scan reads the pack once, from the front.
func (x *indexer) scan() error {
	s := &scanner{r: io.NewSectionReader(x.file, 12, x.size-12), offset: 12, buf: make([]byte, 1<<16)}
	in := new(inflater)
	for range x.count {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		offset := s.offset
		s.begin()
		h, err := parseHeader(s, offset, x.store.format)
		if err != nil {
			return err
		}
		i := len(x.entries)
		x.entries = append(x.entries, indexEntry{offset: offset})
		x.done = append(x.done, false)
		if err := in.reset(s); err != nil {
			return err
		}
		switch h.kind {
		case offsetDelta, refDelta:
			if _, err := io.CopyN(io.Discard, in.zlib, h.size); err != nil {
				return fmt.Errorf("%w: delta at %d: %w", ErrCorrupt, offset, err)
			}
			if err := in.end(); err != nil {
				return err
			}
			if h.kind == offsetDelta {
				x.byOffset[h.base] = append(x.byOffset[h.base], i)
			} else {
				x.byRef[h.ref] = append(x.byRef[h.ref], i)
			}
		default:
			if err := x.whole(i, h, in); err != nil {
				return fmt.Errorf("entry at %d: %w", offset, err)
			}
			x.roots, x.kinds = append(x.roots, i), append(x.kinds, h.kind)
		}
		x.entries[i].crc = s.end()
	}
	if s.offset != x.size {
		return fmt.Errorf("%w: pack goes on after its last object", ErrCorrupt)
	}
	return nil
}

// whole names an object that is not a delta. A large blob is hashed as it streams by.
func (x *indexer) whole(i int, h header, in *inflater) error {
	if h.kind == Blob && h.size > 1<<20 {
		d := newHash(x.store.format)
		fmt.Fprintf(d, "%s %d\x00", h.kind, h.size)
		if _, err := io.CopyN(d, in.zlib, h.size); err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		if err := in.end(); err != nil {
			return err
		}
		n, err := sum(d)
		if err != nil {
			return err
		}
		x.entries[i].name, x.done[i] = n, true
		return nil
	}
	if h.size > x.store.limit {
		return fmt.Errorf("%s of %d bytes: %w", h.kind, h.size, ErrTooLarge)
	}
	content, err := in.read(h.size)
	if err != nil {
		return err
	}
	_, err = x.identify(i, h.kind, content)
	return err
}

// identify names entry i and notes what it needs.
func (x *indexer) identify(i int, kind Kind, content []byte) (name, error) {
	n, err := nameOf(x.store.format, kind, content)
	if err != nil {
		return n, err
	}
	x.entries[i].name, x.done[i] = n, true
	if kind == Blob {
		return n, nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := references(kind, content, x.store.format, func(r name) { x.named[r] = struct{}{} }); err != nil {
		return n, fmt.Errorf("object %s: %w", n.id(x.store.format), err)
	}
	return n, nil
}

// resolve names the deltas, on all cores: each delta hangs on one object, so no entry is written twice.
func (x *indexer) resolve() error {
	g, ctx := errgroup.WithContext(x.ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	p := &pack{file: x.file, size: x.size, index: &index{format: x.store.format}}
	for r, i := range x.roots {
		kids := x.children(i)
		if len(kids) == 0 {
			continue
		}
		g.Go(func() error {
			_, content, err := x.store.entry(p, x.entries[i].offset)
			if err != nil {
				return err
			}
			return x.descend(ctx, p, x.kinds[r], content, kids)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	// What is left hangs on objects outside the pack.
	for len(x.byRef) > 0 {
		before := len(x.byRef)
		for base := range x.byRef {
			kind, content, err := x.store.locked(&base)
			if err != nil {
				continue
			}
			kids := x.byRef[base]
			delete(x.byRef, base)
			if err := x.descend(x.ctx, p, kind, content, kids); err != nil {
				return err
			}
		}
		if len(x.byRef) == before {
			break
		}
	}
	if i := slices.Index(x.done, false); i >= 0 {
		return fmt.Errorf("%w: the delta at %d has no base", ErrIncomplete, x.entries[i].offset)
	}
	return nil
}

// children takes the deltas that hang on a named entry.
func (x *indexer) children(i int) []int {
	kids := x.byOffset[x.entries[i].offset]
	x.mu.Lock()
	defer x.mu.Unlock()
	if refs, ok := x.byRef[x.entries[i].name]; ok {
		delete(x.byRef, x.entries[i].name)
		kids = append(slices.Clip(kids), refs...)
	}
	return kids
}

// descend names everything that hangs on an object. The contents on the way down are held, and bounded.
func (x *indexer) descend(ctx context.Context, p *pack, kind Kind, content []byte, kids []int) error {
	type level struct {
		content []byte
		kids    []int
	}
	stack := []level{{content, kids}}
	held := int64(len(content))
	for len(stack) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		top := &stack[len(stack)-1]
		if len(top.kids) == 0 {
			held -= int64(len(top.content))
			stack = stack[:len(stack)-1]
			continue
		}
		i := top.kids[0]
		top.kids = top.kids[1:]
		_, delta, err := x.store.entry(p, x.entries[i].offset)
		if err != nil {
			return err
		}
		made, err := apply(top.content, delta, x.store.limit)
		if err != nil {
			return fmt.Errorf("entry at %d: %w", x.entries[i].offset, err)
		}
		if _, err := x.identify(i, kind, made); err != nil {
			return err
		}
		if kids := x.children(i); len(kids) > 0 {
			if held += int64(len(made)); held > 8*x.store.limit {
				return fmt.Errorf("chain of deltas: %w", ErrTooLarge)
			}
			stack = append(stack, level{made, kids})
		}
	}
	return nil
}

// scanner reads a pack and knows how far: it is a ByteReader, so that inflating takes no byte too many.
type scanner struct {
	r        io.Reader
	buf      []byte
	from, to int // unread bytes of buf
	mark     int // where the current entry begins in buf, for its checksum
	offset   int64
	crc      uint32
}

func (s *scanner) begin() { s.crc, s.mark = 0, s.from }

func (s *scanner) end() uint32 {
	return crc32.Update(s.crc, crc32.IEEETable, s.buf[s.mark:s.from])
}

func (s *scanner) fill() error {
	if s.from < s.to {
		return nil
	}
	s.crc = crc32.Update(s.crc, crc32.IEEETable, s.buf[s.mark:s.from])
	s.mark, s.from, s.to = 0, 0, 0
	n, err := s.r.Read(s.buf)
	s.to = n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

func (s *scanner) ReadByte() (byte, error) {
	if err := s.fill(); err != nil {
		return 0, err
	}
	c := s.buf[s.from]
	s.from++
	s.offset++
	return c, nil
}

func (s *scanner) Read(p []byte) (int, error) {
	if err := s.fill(); err != nil {
		return 0, err
	}
	n := copy(p, s.buf[s.from:s.to])
	s.from += n
	s.offset += int64(n)
	return n, nil
}
