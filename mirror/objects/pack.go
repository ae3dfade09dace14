package objects

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// maxDepth bounds a chain of deltas; git makes chains of at most 4095.
const maxDepth = 4096

// pack is one pack file with its index. It is safe for concurrent use: reads have their own offsets.
type pack struct {
	serial uint32 // names the pack in the cache of bases
	path   string // without .pack
	file   *os.File
	size   int64 // without the trailing checksum
	index  *index
}

func openPack(path string, f Format, serial uint32) (*pack, error) {
	idx, err := readIndex(path+".idx", f)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path + ".pack")
	if err != nil {
		return nil, err
	}
	size, _, err := packHeader(file, f)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%s.pack: %w", path, err)
	}
	return &pack{serial: serial, path: path, file: file, size: size, index: idx}, nil
}

// packHeader checks the header of a pack and returns its size without the checksum, and its number of objects.
func packHeader(file *os.File, f Format) (size int64, n uint32, err error) {
	st, err := file.Stat()
	if err != nil {
		return 0, 0, err
	}
	var head [12]byte
	if _, err := file.ReadAt(head[:], 0); err != nil {
		return 0, 0, fmt.Errorf("%w: pack header: %w", ErrCorrupt, err)
	}
	n, err = parsePackHeader(head[:])
	if err != nil {
		return 0, 0, err
	}
	if st.Size() < int64(12+int(f)) {
		return 0, 0, fmt.Errorf("%w: pack ends early", ErrCorrupt)
	}
	return st.Size() - int64(f), n, nil
}

func parsePackHeader(head []byte) (n uint32, err error) {
	if string(head[:4]) != "PACK" {
		return 0, fmt.Errorf("%w: not a pack", ErrCorrupt)
	}
	if v := binary.BigEndian.Uint32(head[4:]); v != 2 && v != 3 {
		return 0, fmt.Errorf("%w: pack version %d", ErrCorrupt, v)
	}
	return binary.BigEndian.Uint32(head[8:]), nil
}

// header is how an entry of a pack begins.
type header struct {
	kind Kind
	size int64 // of the inflated data: of the delta, for a delta
	base int64 // offset of the base of an offsetDelta
	ref  name  // base of a refDelta
	len  int64 // bytes of the header
}

// parseHeader reads an entry header at offset from r.
func parseHeader(r io.ByteReader, offset int64, f Format) (h header, err error) {
	next := func() byte {
		var c byte
		if err == nil {
			if c, err = r.ReadByte(); err == nil {
				h.len++
			}
		}
		return c
	}
	c := next()
	h.kind, h.size = Kind(c>>4&7), int64(c&15)
	for shift := 4; c&0x80 != 0 && err == nil; shift += 7 {
		if shift > 56 {
			return h, fmt.Errorf("%w: entry size", ErrCorrupt)
		}
		c = next()
		h.size |= int64(c&0x7f) << shift
	}
	switch h.kind {
	case Commit, Tree, Blob, Tag:
	case offsetDelta:
		c = next()
		back := int64(c & 0x7f)
		for c&0x80 != 0 && err == nil {
			if back > 1<<55 {
				return h, fmt.Errorf("%w: delta offset", ErrCorrupt)
			}
			c = next()
			back = (back+1)<<7 | int64(c&0x7f)
		}
		h.base = offset - back
		if err == nil && (back == 0 || h.base < 12) {
			return h, fmt.Errorf("%w: delta offset", ErrCorrupt)
		}
	case refDelta:
		for i := range int(f) {
			h.ref[i] = next()
		}
	default:
		if err == nil {
			err = fmt.Errorf("entry of unknown kind %d", h.kind)
		}
	}
	if err != nil {
		return h, fmt.Errorf("%w: entry at %d: %w", ErrCorrupt, offset, err)
	}
	return h, nil
}

// entry reads the header at offset and the inflated data behind it.
func (s *Store) entry(p *pack, offset int64) (header, []byte, error) {
	if offset < 12 || offset >= p.size {
		return header{}, nil, fmt.Errorf("%w: offset %d is outside the pack", ErrCorrupt, offset)
	}
	var head [64]byte
	n, err := p.file.ReadAt(head[:min(int64(len(head)), p.size-offset)], offset)
	if err != nil && err != io.EOF {
		return header{}, nil, err
	}
	h, err := parseHeader(&byteReader{head[:n]}, offset, s.format)
	if err != nil {
		return h, nil, err
	}
	if h.size > s.limit {
		return h, nil, fmt.Errorf("object of %d bytes: %w", h.size, ErrTooLarge)
	}
	at := offset + h.len
	in, err := s.inflaters.get(io.NewSectionReader(p.file, at, p.size-at))
	if err != nil {
		return h, nil, err
	}
	defer s.inflaters.put(in)
	data, err := in.read(h.size)
	return h, data, err
}

// at reads the object at an offset, following its chain of deltas. It is not hashed yet.
func (s *Store) at(p *pack, offset int64, depth int) (Kind, []byte, error) {
	type link struct {
		offset int64
		delta  []byte
	}
	var chain []link
	var kind Kind
	var content []byte
	var held int64
	for {
		if k, c, ok := s.bases.get(p.serial, offset); ok {
			kind, content = k, c
			break
		}
		if depth++; depth > maxDepth {
			return 0, nil, fmt.Errorf("%w: chain of more than %d deltas", ErrCorrupt, maxDepth)
		}
		h, data, err := s.entry(p, offset)
		if err != nil {
			return 0, nil, err
		}
		if held += int64(len(data)); held > 4*s.limit {
			return 0, nil, fmt.Errorf("chain of deltas of %d bytes: %w", held, ErrTooLarge)
		}
		if h.kind == offsetDelta {
			chain = append(chain, link{offset, data})
			offset = h.base
			continue
		}
		if h.kind == refDelta {
			chain = append(chain, link{offset, data})
			if base, ok := p.index.find(&h.ref); ok {
				offset = base
				continue
			}
			// A thin pack: the base is elsewhere in the store.
			if kind, content, err = s.unverified(&h.ref, depth); err != nil {
				return 0, nil, fmt.Errorf("base of a delta: %w", err)
			}
			break
		}
		kind, content = h.kind, data
		s.bases.put(p.serial, offset, kind, content)
		break
	}
	for i := len(chain) - 1; i >= 0; i-- {
		var err error
		if content, err = apply(content, chain[i].delta, s.limit); err != nil {
			return 0, nil, err
		}
		s.bases.put(p.serial, chain[i].offset, kind, content)
	}
	return kind, content, nil
}

// byteReader reads bytes from memory.
type byteReader struct{ p []byte }

func (b *byteReader) ReadByte() (byte, error) {
	if len(b.p) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	c := b.p[0]
	b.p = b.p[1:]
	return c, nil
}
