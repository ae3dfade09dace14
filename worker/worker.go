// Package worker runs what could run away (package manifest's jobs) in child processes: this program itself, in a mode of its own.
//
// A child has no environment, no file of the disk and nothing secret; it sees of the tree what it asks its parent for. It ends when its
// memory does, when its time does, and when its parent does. What it says is believed as far as what the parent could have computed
// itself: it runs no code but ours.
package worker

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/fxamacker/cbor/v2"
)

// Between a parent and its child go frames: the length of a message in four bytes, most significant first, and the message in CBOR
// (RFC 8949). The parent begins with hello, which the child answers, and then gives one job at a time; until the child says done, it may ask
// for folders and files.
type message struct {
	Kind    kind    `cbor:"k"`
	Name    string  `cbor:"n,omitempty"` // of a file or folder
	Data    []byte  `cbor:"d,omitempty"` // a job, an answer, the content of a file
	Entries []entry `cbor:"e,omitempty"` // of a folder
	Memory  uint64  `cbor:"m,omitempty"` // of hello: bytes
	Fault   *fault  `cbor:"f,omitempty"` // why there is no such file
}

type kind uint8

const (
	hello  kind = iota + 1 // both: the first word
	job                    // parent: do this
	folder                 // child: what is in it? parent: this
	file                   // child: what does it hold? parent: this
	at                     // child: that is the file I am at
	done                   // child: the answer
)

// entry is a file or folder in a folder.
type entry struct {
	Name string      `cbor:"n"`
	Mode fs.FileMode `cbor:"m,omitempty"`
	Size int64       `cbor:"s,omitempty"`
	Data []byte      `cbor:"d,omitempty"`
	Sent bool        `cbor:"h,omitempty"` // Data is the content
}

// fault is an error on its way.
type fault struct {
	Missing bool // fs.ErrNotExist
	Text    string
}

func faultOf(err error) *fault {
	if err == nil {
		return nil
	}
	return &fault{errors.Is(err, fs.ErrNotExist), err.Error()}
}

func (f *fault) Error() string { return f.Text }

func (f *fault) Is(target error) bool { return f.Missing && target == fs.ErrNotExist }

// maxFrame bounds a message, in bytes: the largest file or answer, and some.
const maxFrame = 128 << 20

// pipe is one end of the way between parent and child.
type pipe struct {
	in  *bufio.Reader
	out io.Writer
}

func newPipe(in io.Reader, out io.Writer) pipe { return pipe{bufio.NewReaderSize(in, 64<<10), out} }

func (p pipe) send(m message) error {
	text, err := cbor.Marshal(m)
	if err != nil {
		return err
	}
	if len(text) > maxFrame {
		return fmt.Errorf("a message of %d bytes", len(text))
	}
	frame := make([]byte, 4, 4+len(text))
	binary.BigEndian.PutUint32(frame, uint32(len(text)))
	_, err = p.out.Write(append(frame, text...))
	return err
}

func (p pipe) receive() (message, error) {
	var m message
	var size [4]byte
	if _, err := io.ReadFull(p.in, size[:]); err != nil {
		return m, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxFrame {
		return m, fmt.Errorf("a message of %d bytes", n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(p.in, text); err != nil {
		return m, err
	}
	mode, err := cbor.DecOptions{MaxArrayElements: maxFrame, UTF8: cbor.UTF8DecodeInvalid}.DecMode()
	if err != nil {
		return m, err
	}
	return m, mode.Unmarshal(text, &m)
}
