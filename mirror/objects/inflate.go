package objects

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"fmt"
	"io"
	"sync"
)

// inflater is a zlib reader with its input buffer, reused because it is dear to make (some 40 KiB).
type inflater struct {
	buf  *bufio.Reader
	zlib io.ReadCloser
}

// inflaters holds idle inflaters; nothing observable depends on it.
type inflaters struct{ pool sync.Pool }

func (p *inflaters) get(r io.Reader) (*inflater, error) {
	in, ok := p.pool.Get().(*inflater)
	if !ok {
		in = &inflater{buf: bufio.NewReaderSize(nil, 4096)}
	}
	in.buf.Reset(r)
	return in, in.reset(in.buf)
}

// reset makes the inflater read a stream from r, which must be an io.ByteReader if it is to be read no further than the stream goes.
func (in *inflater) reset(r io.Reader) error {
	if in.zlib == nil {
		z, err := zlib.NewReader(r)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		in.zlib = z
		return nil
	}
	if err := in.zlib.(zlib.Resetter).Reset(r, nil); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}

func (p *inflaters) put(in *inflater) {
	if in.zlib != nil {
		in.buf.Reset(bytes.NewReader(nil))
		p.pool.Put(in)
	}
}

// read inflates a stream that must hold exactly size bytes. The caller has bounded size.
func (in *inflater) read(size int64) ([]byte, error) {
	content := make([]byte, size)
	if _, err := io.ReadFull(in.zlib, content); err != nil {
		return nil, fmt.Errorf("%w: stream ends early: %w", ErrCorrupt, err)
	}
	return content, in.end()
}

// end checks that the stream holds nothing more, and its checksum.
func (in *inflater) end() error {
	var one [1]byte
	switch n, err := in.zlib.Read(one[:]); {
	case n != 0:
		return fmt.Errorf("%w: stream is longer than its header says", ErrCorrupt)
	case err != nil && err != io.EOF:
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}
