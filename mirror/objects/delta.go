package objects

import "fmt"

// varint reads the little-endian base-128 number that opens a delta's sizes.
func varint(p []byte) (n int64, rest []byte, ok bool) {
	for shift := 0; len(p) > 0 && shift < 63; shift += 7 {
		c := p[0]
		p = p[1:]
		n |= int64(c&0x7f) << shift
		if c&0x80 == 0 {
			return n, p, n >= 0
		}
	}
	return 0, nil, false
}

// apply builds the object that a delta describes. The result is at most limit bytes.
func apply(base, delta []byte, limit int64) ([]byte, error) {
	from, delta, ok := varint(delta)
	if !ok || from != int64(len(base)) {
		return nil, fmt.Errorf("%w: delta is for a base of %d bytes, its base has %d", ErrCorrupt, from, len(base))
	}
	to, delta, ok := varint(delta)
	if !ok {
		return nil, fmt.Errorf("%w: delta header", ErrCorrupt)
	}
	if to > limit {
		return nil, fmt.Errorf("object of %d bytes: %w", to, ErrTooLarge)
	}
	out := make([]byte, 0, to)
	for len(delta) > 0 {
		op := delta[0]
		delta = delta[1:]
		if op == 0 {
			return nil, fmt.Errorf("%w: reserved delta instruction", ErrCorrupt)
		}
		var piece []byte
		if op&0x80 == 0 { // insert the next op bytes
			if int(op) > len(delta) {
				return nil, fmt.Errorf("%w: delta ends inside an insertion", ErrCorrupt)
			}
			piece, delta = delta[:op], delta[op:]
		} else { // copy from the base: bits say which bytes of offset and size follow
			var offset, size int64
			for bit := range 7 {
				if op&(1<<bit) == 0 {
					continue
				}
				if len(delta) == 0 {
					return nil, fmt.Errorf("%w: delta ends inside a copy", ErrCorrupt)
				}
				if bit < 4 {
					offset |= int64(delta[0]) << (8 * bit)
				} else {
					size |= int64(delta[0]) << (8 * (bit - 4))
				}
				delta = delta[1:]
			}
			if size == 0 {
				size = 0x10000
			}
			if offset+size > int64(len(base)) {
				return nil, fmt.Errorf("%w: delta copies past its base", ErrCorrupt)
			}
			piece = base[offset : offset+size]
		}
		if int64(len(out)+len(piece)) > to {
			return nil, fmt.Errorf("%w: delta makes more than its header says", ErrCorrupt)
		}
		out = append(out, piece...)
	}
	if int64(len(out)) != to {
		return nil, fmt.Errorf("%w: delta makes less than its header says", ErrCorrupt)
	}
	return out, nil
}
