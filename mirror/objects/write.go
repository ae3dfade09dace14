package objects

import (
	"bufio"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/git"
)

// OpenWritable opens an object folder that this process alone writes to, and makes it if it is not there. What a crash left of an
// unfinished Receive or Keep is removed.
func OpenWritable(dir string, f Format, l Limits) (*Store, error) {
	packs := filepath.Join(dir, "pack")
	if err := os.MkdirAll(packs, 0o700); err != nil {
		return nil, err
	}
	stray, err := filepath.Glob(filepath.Join(dir, "incoming-*"))
	if err != nil {
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(packs, "pack-*.pack"))
	if err != nil {
		return nil, err
	}
	for _, file := range found {
		if _, err := os.Stat(strings.TrimSuffix(file, ".pack") + ".idx"); errors.Is(err, os.ErrNotExist) {
			stray = append(stray, file)
		}
	}
	for _, file := range stray {
		if err := os.Remove(file); err != nil {
			return nil, err
		}
	}
	return Open(dir, f, l)
}

// Export writes a pack of everything that tip names and have does not hold. It walks this store, never the other one; a submodule is not followed.
func (s *Store) Export(ctx context.Context, w io.Writer, tip git.ID, have func(git.ID) bool) error {
	ids, err := s.reachable(ctx, tip, have)
	if err != nil {
		return err
	}
	h := newHash(s.format)
	out := bufio.NewWriterSize(io.MultiWriter(w, h), 1<<16)
	out.Write(packHead(len(ids)))
	z := zlib.NewWriter(out)
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		kind, content, err := s.Read(id)
		if err != nil {
			return err
		}
		out.Write(entryHeader(kind, len(content)))
		z.Reset(out)
		z.Write(content)
		if err := z.Close(); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	_, err = w.Write(h.Sum(nil))
	return err
}

func entryHeader(kind Kind, size int) []byte {
	b := []byte{byte(kind)<<4 | byte(size&15)}
	for size >>= 4; size > 0; size >>= 7 {
		b[len(b)-1] |= 0x80
		b = append(b, byte(size&0x7f))
	}
	return b
}

// reachable lists the objects that tip needs and have does not hold.
func (s *Store) reachable(ctx context.Context, tip git.ID, have func(git.ID) bool) ([]git.ID, error) {
	seen := map[git.ID]bool{tip: true}
	queue := []git.ID{tip}
	var ids []git.ID
	for len(queue) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		id := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if have(id) {
			continue
		}
		kind, content, err := s.Read(id)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
		if kind == Blob {
			continue
		}
		err = references(kind, content, s.format, func(n name) {
			if id := n.id(s.format); !seen[id] {
				seen[id] = true
				queue = append(queue, id)
			}
		})
		if err != nil {
			return nil, fmt.Errorf("object %s: %w", id, err)
		}
	}
	return ids, nil
}

// Merge makes one pack of all the packs there are, so that a mirror that has fetched a thousand times does not look in a thousand
// places. Deltas stay as they are: packs are put end to end, since a delta names its base by distance or by id. Nothing is
// dropped. Reads go on meanwhile; no Receive may be under way. After a crash inside it, both old and new are there.
func (s *Store) Merge(ctx context.Context) error {
	s.mu.RLock()
	old := s.packs
	s.mu.RUnlock()
	if len(old) < 2 {
		return nil
	}
	file, err := os.CreateTemp(s.dir, "incoming-*.pack")
	if err != nil {
		return err
	}
	path := strings.TrimSuffix(file.Name(), ".pack")
	sum, entries, err := s.concatenate(ctx, file, old)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path+".pack"))
	}
	if err := writeFile(path+".idx", func(w io.Writer) error { return writeIndex(w, s.format, entries, sum) }); err != nil {
		return err
	}
	s.mu.Lock()
	serial := s.nextSerial()
	s.mu.Unlock()
	p, err := openPack(path, s.format, serial)
	if err != nil {
		return err
	}
	in := &Incoming{store: s, path: path, pack: p, sum: sum}
	if err := in.Keep(); err != nil {
		return err
	}
	return s.drop(old)
}

// drop forgets packs whose objects are all in another one.
func (s *Store) drop(old []*pack) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	s.packs = slices.DeleteFunc(slices.Clone(s.packs), func(p *pack) bool {
		if !slices.Contains(old, p) {
			return false
		}
		errs = append(errs, p.file.Close(), os.Remove(p.path+".idx"), os.Remove(p.path+".pack"))
		return true
	})
	return errors.Join(errs...)
}

// concatenate writes the entries of all packs into one. An object that several packs hold is there several times.
func (s *Store) concatenate(ctx context.Context, w io.Writer, packs []*pack) (sum []byte, entries []indexEntry, err error) {
	h := newHash(s.format)
	out := io.MultiWriter(w, h)
	count := 0
	for _, p := range packs {
		count += p.index.n
	}
	if _, err := out.Write(packHead(count)); err != nil {
		return nil, nil, err
	}
	at := int64(12)
	for _, p := range packs {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		if _, err := io.Copy(out, io.NewSectionReader(p.file, 12, p.size-12)); err != nil {
			return nil, nil, err
		}
		for i := range p.index.n {
			e := indexEntry{crc: binary.BigEndian.Uint32(p.index.crc[4*i:])}
			copy(e.name[:], p.index.name(i))
			offset, ok := p.index.at(i)
			if !ok {
				return nil, nil, fmt.Errorf("%s.idx: %w: offset", p.path, ErrCorrupt)
			}
			e.offset = offset - 12 + at
			entries = append(entries, e)
		}
		at += p.size - 12
	}
	sum = h.Sum(nil)
	_, err = w.Write(sum)
	return sum, entries, err
}

func packHead(objects int) []byte {
	head := append([]byte("PACK"), 0, 0, 0, 2)
	return binary.BigEndian.AppendUint32(head, uint32(objects))
}
