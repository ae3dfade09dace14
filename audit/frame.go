package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Frame is what a line says about its place in the log: the members that recovery, verification and time filters
// need, read without decoding the rest.
type Frame struct {
	Seq     uint64
	ID      string
	Prev    string
	Sum     string
	Time    time.Time
	Type    Type
	Header  bool // the line is the header of a segment
	content [sha256.Size]byte
}

// Sound tells whether the line's content is what its sum says.
func (f *Frame) Sound() bool {
	var text [2 * sha256.Size]byte // on the stack: each line of a log is asked several times
	return string(hex.AppendEncode(text[:0], f.content[:])) == f.Sum
}

// Content is the sum that the line should have.
func (f *Frame) Content() string { return hex.EncodeToString(f.content[:]) }

// ParseFrame reads the frame of a line, without its line feed. It refuses what is not an object with ascending, hence
// distinct, members: two readers of a line never see two different records.
func ParseFrame(line []byte) (Frame, error) {
	var f Frame
	if len(line) < 2 || line[0] != '{' || line[len(line)-1] != '}' {
		return f, errors.New("not a JSON object")
	}
	sumFrom, sumTo := 0, 0
	var last []byte
	for i := 1; ; {
		start := i
		keyEnd, err := skipValue(line, i)
		if err != nil {
			return f, err
		}
		if line[i] != '"' || keyEnd >= len(line) || line[keyEnd] != ':' {
			return f, fmt.Errorf("byte %d: want a member", i)
		}
		key := line[i+1 : keyEnd-1]
		if last != nil && bytes.Compare(last, key) >= 0 {
			return f, fmt.Errorf("byte %d: members are not in order", i)
		}
		last = key
		end, err := skipValue(line, keyEnd+1)
		if err != nil {
			return f, err
		}
		if err := f.set(key, line[keyEnd+1:end]); err != nil {
			return f, err
		}
		if string(key) == "sum" {
			sumFrom, sumTo = start, end
		}
		if end == len(line)-1 {
			break
		}
		if end >= len(line) || line[end] != ',' {
			return f, fmt.Errorf("byte %d: want a comma", end)
		}
		i = end + 1
	}
	if sumTo == 0 {
		return f, errors.New("no sum")
	}
	f.content = sumWithout(line, sumFrom, sumTo)
	return f, nil
}

// set takes one member of the line. Most are none of a frame's.
func (f *Frame) set(key, value []byte) (err error) {
	text := func() string {
		if len(value) < 2 || value[0] != '"' {
			err = fmt.Errorf("%s is not text", key)
			return ""
		}
		return string(value[1 : len(value)-1])
	}
	switch string(key) {
	case "seq", "first":
		f.Header = f.Header || string(key) == "first"
		f.Seq, err = strconv.ParseUint(string(value), 10, 64)
	case "id":
		f.ID = text()
	case "prev":
		f.Prev = text()
	case "sum":
		f.Sum = text()
	case "type":
		f.Type = Type(text())
	case "time":
		if s := text(); err == nil {
			f.Time, err = time.Parse(time.RFC3339Nano, s)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// AppendMembers appends the object of those members of a line that are named, to be parsed in place of the line by whoever needs no others: a line has
// thirty. The line is one that ParseFrame took; of any other the result is no JSON, or lacks members.
func AppendMembers(buf, line []byte, names ...string) []byte {
	buf = append(buf, '{')
	empty := len(buf)
	for i := 1; i < len(line)-1; {
		keyEnd, err := skipValue(line, i)
		if err != nil || keyEnd-1 <= i {
			break
		}
		end, err := skipValue(line, keyEnd+1)
		if err != nil {
			break
		}
		if slices.Contains(names, string(line[i+1:keyEnd-1])) {
			if len(buf) > empty {
				buf = append(buf, ',')
			}
			buf = append(buf, line[i:end]...)
		}
		i = end + 1
	}
	return append(buf, '}')
}

// skipValue returns the index after the JSON value at i. It checks the nesting, not the grammar of scalars: the sum
// tells whether they are what was written.
func skipValue(line []byte, i int) (int, error) {
	depth, start := 0, i
	for ; i < len(line); i++ {
		switch c := line[i]; c {
		case '"':
			for i++; i < len(line) && line[i] != '"'; i++ {
				if line[i] == '\\' {
					i++
				}
			}
			if i >= len(line) {
				return 0, fmt.Errorf("byte %d: a string does not end", start)
			}
			if depth == 0 {
				return i + 1, nil
			}
		case '{', '[':
			depth++
		case '}', ']', ',':
			if depth == 0 {
				if i == start {
					return 0, fmt.Errorf("byte %d: want a value", i)
				}
				return i, nil
			}
			if c != ',' {
				if depth--; depth == 0 {
					return i + 1, nil
				}
			}
		default:
			if c < 0x20 {
				return 0, fmt.Errorf("byte %d: control character", i)
			}
		}
	}
	return 0, fmt.Errorf("byte %d: a value does not end", start)
}

// sumWithout is the sum of a line whose sum member lies at from:to. The member never is the first nor the last one.
func sumWithout(line []byte, from, to int) (sum [sha256.Size]byte) {
	h := sha256.New()
	h.Write(line[:from])
	if to < len(line) && line[to] == ',' {
		to++
	}
	h.Write(line[to:])
	h.Sum(sum[:0])
	return sum
}
