package audit

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

// end is where a log ends.
type end struct {
	head
	path string // of the last segment; empty in a new log
}

// torn is what a crash left behind the last whole record, and what was cut.
type torn struct {
	file          string
	offset, bytes int64
	digest        string
	saved         string // where the cut bytes were put
	after         uint64
}

func (t *torn) record() Record {
	return Record{Type: TypeRecovered, Event: &Event{
		Message: "an unfinished write was cut; it was never acknowledged",
		Details: map[string]string{
			"file": t.file, "offset": strconv.FormatInt(t.offset, 10), "bytes": strconv.FormatInt(t.bytes, 10),
			"sha256": t.digest, "saved": t.saved, "after": strconv.FormatUint(t.after, 10),
		},
	}}
}

// findEnd reads the last segment of the log in dir and cuts what a crash left unfinished. Only a crash's traces are
// cut: an incomplete last line, or what follows a hole that the disk left in an unsynced write. Anything else is
// ErrCorrupt, and for a person to judge.
func findEnd(dir string) (end, *torn, error) {
	segments, err := Segments(dir)
	if err != nil || len(segments) == 0 {
		return end{}, nil, err
	}
	last := segments[len(segments)-1]
	e := end{path: last.Path, head: head{shard: last.Shard, seq: last.First - 1}}
	var wrong error
	var holes bool
	if len(segments) > 1 {
		e.sum, err = lastSum(segments[len(segments)-2].Path)
		if err != nil {
			return end{}, nil, err
		}
	} else if h, err := readHeader(last.Path); err == nil {
		e.sum = h.Prev // what came before was removed under the retention
	}
	for line, err := range Lines(last.Path) {
		if err != nil {
			return end{}, nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		f, err := ParseFrame(line.Text)
		if err == nil && !line.Unfinished {
			err = f.follows(e.head, line.Number == 1)
		}
		holes = holes || hasNUL(line.Text)
		switch {
		case err != nil && !line.Unfinished && !holes, wrong != nil && err == nil && !holes:
			return end{}, nil, fmt.Errorf("%w: %s:%d: %w; see commitgate audit verify", ErrCorrupt, last.Path, line.Number, cmp.Or(err, wrong))
		case wrong == nil && err != nil:
			wrong = err
		case wrong == nil && line.Unfinished:
			wrong = errUnfinished
		}
		if wrong != nil {
			continue
		}
		if !f.Header {
			e.seq = f.Seq
		}
		e.sum, e.last = f.Sum, f.Time
		e.size = line.Offset + int64(len(line.Text)) + 1
	}
	if e.size == 0 {
		return end{}, nil, fmt.Errorf("%w: %s: its header is wrong: %w", ErrCorrupt, last.Path, wrong)
	}
	if wrong == nil {
		return e, nil, nil
	}
	t, err := cut(dir, last.Path, e)
	return e, t, err
}

var errUnfinished = fmt.Errorf("its last line is not finished")

// follows tells whether a line comes right after head.
func (f *Frame) follows(h head, first bool) error {
	switch {
	case !f.Sound():
		return fmt.Errorf("its content does not match its sum")
	case f.Header != first:
		return fmt.Errorf("a header stands where a record should, or the other way")
	case f.Seq != h.seq+1:
		return fmt.Errorf("record %d stands where record %d should", f.Seq, h.seq+1)
	case f.Prev != h.sum:
		return fmt.Errorf("it does not follow the line before: its prev is another's sum")
	}
	return nil
}

// hasNUL tells whether b has a part that the disk never got: records hold no NUL, and a hole reads as NULs.
func hasNUL(b []byte) bool { return bytes.IndexByte(b, 0) >= 0 }

// lastSum is the sum of the last line of a finished segment.
func lastSum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	from := max(0, size-2*MaxRecord)
	var sum string
	for line, err := range readLines(io.NewSectionReader(f, from, size-from), path) {
		if err != nil {
			return "", err
		}
		if line.Number == 1 && from > 0 {
			continue // begins in the middle
		}
		fr, err := ParseFrame(line.Text)
		if err != nil || !fr.Sound() {
			return "", fmt.Errorf("%w: %s: its last line is wrong", ErrCorrupt, path)
		}
		sum = fr.Sum
	}
	return sum, nil
}

// cut keeps what lies behind the end of the log in a file beside it, and removes it from the log.
func cut(dir, path string, e end) (*torn, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	t := &torn{file: filepath.Base(path), offset: e.size, bytes: size - e.size, after: e.seq}
	t.saved = fmt.Sprintf("torn-%020d-%d", e.seq+1, e.size)
	save, err := os.OpenFile(filepath.Join(dir, t.saved), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer save.Close()
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(save, h), io.NewSectionReader(f, e.size, t.bytes)); err != nil {
		return nil, err
	}
	t.digest = hex.EncodeToString(h.Sum(nil))
	if err := save.Sync(); err != nil {
		return nil, err
	}
	if err := f.Truncate(e.size); err != nil {
		return nil, err
	}
	return t, f.Sync()
}
