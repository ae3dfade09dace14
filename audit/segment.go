package audit

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Format is what the header of each segment says it is.
const Format = "commitgate.dev/audit-log/v1"

// Header is the first line of a segment. It chains the segment to the one before.
type Header struct {
	First  uint64    `json:"first"`  // seq of the first record
	Format string    `json:"format"` // Format
	Prev   string    `json:"prev"`   // sum of the last line of the segment before; empty in the first of a log
	Sum    string    `json:"sum"`    // as in Record
	Time   time.Time `json:"time"`
	Writer *Writer   `json:"writer"`
}

// line is the header as it stands in the file, without line feed, and its sum.
func (h Header) line() ([]byte, string) {
	e := encoder{limits: widths[0]}
	e.object(reflect.ValueOf(h))
	from := strings.Index(string(e.out), `"sum":"",`)
	sum := sumWithout(e.out, from, from+len(`"sum":""`))
	h.Sum = hex.EncodeToString(sum[:])
	e.out = slices.Insert(e.out, from+len(`"sum":"`), []byte(h.Sum)...)
	return e.out, h.Sum
}

// A Segment is one file of a log: a header and the records after it, one JSON object per line.
type Segment struct {
	Path  string
	Shard string // name of the folder it lies in
	First uint64 // seq of its first record
}

const segmentSuffix = ".jsonl"

func segmentPath(dir, shard string, first uint64) string {
	return filepath.Join(dir, shard, fmt.Sprintf("%020d%s", first, segmentSuffix))
}

// Segments lists the segments below dir in order. dir is that of a log, or of one shard.
func Segments(dir string) ([]Segment, error) {
	var segments []Segment
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if d.IsDir() && strings.Count(rel, string(filepath.Separator)) > 0 {
			return filepath.SkipDir // a log has shards, and a shard has no folders with segments
		}
		name, ok := strings.CutSuffix(d.Name(), segmentSuffix)
		if !ok || len(name) != 20 {
			return nil
		}
		first, err := strconv.ParseUint(name, 10, 64)
		if err != nil {
			return nil // somebody else's file
		}
		shard := filepath.Base(filepath.Dir(path))
		segments = append(segments, Segment{path, shard, first})
		return nil
	})
	slices.SortFunc(segments, func(a, b Segment) int {
		if a.First != b.First {
			return compare(a.First, b.First)
		}
		return strings.Compare(a.Path, b.Path)
	})
	return segments, err
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

const spareName = "spare"

// newSpare makes an empty file with the space of a segment reserved, from which the next segment will be made.
func newSpare(dir string, size int64) error {
	path := filepath.Join(dir, spareName)
	if st, err := os.Stat(path); err == nil && st.Size() == 0 {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(reserve(f, size), f.Close())
	if err != nil {
		os.Remove(path)
	}
	return err
}

// newSegment turns the spare into the segment at path, with its header. When it returns, the segment is durable; a
// crash before the rename leaves a spare that is emptied and used again.
func newSegment(dir, path string, header []byte, size int64) (file, error) {
	if err := newSpare(dir, size); err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	spare := filepath.Join(dir, spareName)
	f, err := os.OpenFile(spare, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(append(header, '\n'))
	if err == nil {
		err = syncData(f)
	}
	if err == nil {
		err = os.Rename(spare, path)
	}
	if err == nil {
		err = errors.Join(syncFolder(filepath.Dir(path)), syncFolder(dir))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &osFile{File: f, path: path}, nil
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// file is the segment that is written to: an osFile, but for the tests that break it.
type file interface {
	Write(p []byte) (int, error)
	// Sync makes the file's data durable.
	Sync() error
	// Intact returns an error unless the file still stands at its path with this many bytes.
	Intact(size int64) error
	// Truncate gives back what was reserved beyond size.
	Truncate(size int64) error
	Close() error
}

type osFile struct {
	*os.File
	path string
}

func (f *osFile) Sync() error { return syncData(f.File) }

func (f *osFile) Intact(size int64) error {
	here, err := f.Stat()
	if err != nil {
		return err
	}
	there, err := os.Lstat(f.path)
	if err != nil {
		return fmt.Errorf("the log's file is gone: %w", err)
	}
	if !os.SameFile(here, there) {
		return fmt.Errorf("%s: another file stands in place of the log", f.path)
	}
	if here.Size() != size {
		return fmt.Errorf("%s: the log has %d bytes, %d were written", f.path, here.Size(), size)
	}
	return nil
}
