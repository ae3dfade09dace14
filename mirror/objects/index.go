package objects

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
)

var indexMagic = []byte{0xff, 't', 'O', 'c', 0, 0, 0, 2}

// index is a pack index of version 2, held in memory: 24 to 36 bytes per object. What it says is only a hint,
// since objects are hashed when they are read.
type index struct {
	format Format
	n      int
	fanout [256]uint32
	names  []byte // n sorted names
	crc    []byte // n checksums of entries as they are in the pack: only a merge needs them
	offset []byte // n big-endian 32-bit offsets; with the top bit set, a place in far
	far    []byte // big-endian 64-bit offsets
}

func readIndex(file string, f Format) (*index, error) {
	p, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	idx, err := parseIndex(p, f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return idx, nil
}

func parseIndex(p []byte, f Format) (*index, error) {
	if !bytes.HasPrefix(p, indexMagic) {
		return nil, fmt.Errorf("%w: not a pack index of version 2", ErrCorrupt)
	}
	p = p[len(indexMagic):]
	if len(p) < 1024 {
		return nil, fmt.Errorf("%w: pack index ends early", ErrCorrupt)
	}
	idx := &index{format: f}
	last := uint32(0)
	for i := range idx.fanout {
		idx.fanout[i] = binary.BigEndian.Uint32(p[4*i:])
		if idx.fanout[i] < last {
			return nil, fmt.Errorf("%w: pack index fan-out", ErrCorrupt)
		}
		last = idx.fanout[i]
	}
	p = p[1024:]
	n := int(last)
	if len(p) < n*(int(f)+8)+2*int(f) {
		return nil, fmt.Errorf("%w: pack index ends early", ErrCorrupt)
	}
	idx.n = n
	idx.names, p = p[:n*int(f)], p[n*int(f):]
	idx.crc, p = p[:4*n], p[4*n:]
	idx.offset, p = p[:4*n], p[4*n:]
	idx.far = p[:len(p)-2*int(f)]
	return idx, nil
}

func (x *index) name(i int) []byte { return x.names[i*int(x.format) : (i+1)*int(x.format)] }

// find returns the place in the pack of an object.
func (x *index) find(n *name) (offset int64, ok bool) {
	lo := 0
	if n[0] > 0 {
		lo = int(x.fanout[n[0]-1])
	}
	hi := int(x.fanout[n[0]])
	want := n[:x.format]
	i := lo + sort.Search(hi-lo, func(i int) bool { return bytes.Compare(x.name(lo+i), want) >= 0 })
	if i >= hi || !bytes.Equal(x.name(i), want) {
		return 0, false
	}
	return x.at(i)
}

func (x *index) at(i int) (int64, bool) {
	v := binary.BigEndian.Uint32(x.offset[4*i:])
	if v&0x80000000 == 0 {
		return int64(v), true
	}
	at := 8 * int(v&0x7fffffff)
	if at+8 > len(x.far) {
		return 0, false
	}
	far := binary.BigEndian.Uint64(x.far[at:])
	return int64(far), far < 1<<62
}

// prefixed calls f with the names that begin with the given hexadecimal digits.
func (x *index) prefixed(match func(n []byte) bool, f func(n []byte)) {
	for i := range x.n {
		if match(x.name(i)) {
			f(x.name(i))
		}
	}
}

// indexEntry is one object of a pack that is being indexed.
type indexEntry struct {
	name   name
	offset int64
	crc    uint32
}

// writeIndex writes an index of version 2 for a pack with this checksum. It sorts entries.
func writeIndex(w io.Writer, f Format, entries []indexEntry, pack []byte) error {
	slices.SortFunc(entries, func(a, b indexEntry) int { return bytes.Compare(a.name[:], b.name[:]) })
	h := newHash(f)
	b := bufio.NewWriterSize(io.MultiWriter(w, h), 1<<16)
	b.Write(indexMagic)
	var fanout [256]uint32
	for i := range entries {
		fanout[entries[i].name[0]]++
	}
	total := uint32(0)
	var word [8]byte
	put32 := func(v uint32) { binary.BigEndian.PutUint32(word[:4], v); b.Write(word[:4]) }
	for _, n := range fanout {
		total += n
		put32(total)
	}
	for i := range entries {
		b.Write(entries[i].name[:f])
	}
	for i := range entries {
		put32(entries[i].crc)
	}
	var far []int64
	for i := range entries {
		if o := entries[i].offset; o < 1<<31 {
			put32(uint32(o))
		} else {
			put32(1<<31 | uint32(len(far)))
			far = append(far, o)
		}
	}
	for _, o := range far {
		binary.BigEndian.PutUint64(word[:], uint64(o))
		b.Write(word[:])
	}
	b.Write(pack)
	if err := b.Flush(); err != nil {
		return err
	}
	_, err := w.Write(h.Sum(nil))
	return err
}
