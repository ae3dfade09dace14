package wire

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// maxPacket is the longest packet line, with its length, that gitprotocol-common(5) allows.
const maxPacket = 65520

// packet is what the reader returned: data, or one of the special packets.
type packet int

const (
	data        packet = iota
	flush              // 0000
	delimiter          // 0001
	responseEnd        // 0002
)

// reader reads packet lines. The slice that next returns is valid until the next call.
type reader struct {
	r   io.Reader
	buf [maxPacket]byte
}

func (p *reader) next() (packet, []byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(p.r, head[:]); err != nil {
		return 0, nil, err
	}
	n := 0
	for _, c := range head {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | int(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | int(c-'a'+10)
		case c >= 'A' && c <= 'F':
			n = n<<4 | int(c-'A'+10)
		default:
			return 0, nil, fmt.Errorf("%w: packet length %q", ErrProtocol, head)
		}
	}
	switch {
	case n == 0:
		return flush, nil, nil
	case n == 1:
		return delimiter, nil, nil
	case n == 2:
		return responseEnd, nil, nil
	case n < 4 || n > maxPacket:
		return 0, nil, fmt.Errorf("%w: packet of %d bytes", ErrProtocol, n)
	}
	line := p.buf[:n-4]
	if _, err := io.ReadFull(p.r, line); err != nil {
		return 0, nil, unexpected(err)
	}
	if rest, ok := bytes.CutPrefix(line, []byte("ERR ")); ok {
		return 0, nil, fmt.Errorf("%w: %s", ErrRemote, printable(rest))
	}
	return data, line, nil
}

// line is next for text: without the final newline, and anything but data is an end.
func (p *reader) line() (text string, kind packet, err error) {
	kind, b, err := p.next()
	return strings.TrimSuffix(string(b), "\n"), kind, err
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// printable is what of a server's words may be shown: one line, no control characters, bounded.
func printable(b []byte) string {
	s := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, string(b[:min(len(b), 200)]))
	return strings.TrimSpace(s)
}

// writer builds a request of packet lines in memory; requests are small.
type writer struct{ bytes.Buffer }

func (w *writer) linef(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	fmt.Fprintf(w, "%04x%s\n", len(s)+5, s)
}

func (w *writer) flush()     { w.WriteString("0000") }
func (w *writer) delimiter() { w.WriteString("0001") }

// sideband is the pack inside a multiplexed answer: band 1 is data, band 2 chatter, band 3 a fatal error.
type sideband struct {
	pkt  *reader
	rest []byte
	done bool
}

func (s *sideband) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.done {
			return 0, io.EOF
		}
		kind, b, err := s.pkt.next()
		if err != nil {
			return 0, unexpected(err)
		}
		if kind != data {
			s.done = true
			continue
		}
		if err := s.take(b); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *sideband) take(b []byte) error {
	if len(b) == 0 {
		return fmt.Errorf("%w: empty packet in the pack", ErrProtocol)
	}
	switch b[0] {
	case 1:
		s.rest = b[1:]
	case 2:
	case 3:
		return fmt.Errorf("%w: %s", ErrRemote, printable(b[1:]))
	default:
		return fmt.Errorf("%w: band %d in the pack", ErrProtocol, b[0])
	}
	return nil
}
