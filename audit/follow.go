package audit

import (
	"context"
	"io"
	"os"
	"time"
)

// followInterval is how soon Follow sees a new record: soon enough for somebody who watches.
const followInterval = 200 * time.Millisecond

// Cursor reads a log while it is written. It is for one goroutine.
type Cursor struct {
	dir     string
	segment Segment
	offset  int64 // in segment
}

// NewCursor stands before the first record of the log in dir, or after the given line.
func NewCursor(dir string, after Line) (*Cursor, error) {
	c := &Cursor{dir: dir}
	if after.File == "" {
		return c, nil
	}
	segments, err := Segments(dir)
	if err != nil {
		return nil, err
	}
	for _, s := range segments {
		if s.Path == after.File {
			c.segment, c.offset = s, after.Offset+int64(len(after.Text))+1
		}
	}
	return c, nil
}

// CursorAt stands before the first record of a segment.
func CursorAt(dir string, s Segment) *Cursor { return &Cursor{dir: dir, segment: s} }

// Read calls show for each record that is there and was not shown before. An error of show ends it, and the record
// will be shown again.
func (c *Cursor) Read(show func(Segment, Line) error) error {
	segments, err := Segments(c.dir)
	if err != nil {
		return err
	}
	for _, s := range segments {
		if s.First < c.segment.First {
			continue
		}
		if s.Path != c.segment.Path {
			c.segment, c.offset = s, 0
		}
		if err := c.readSegment(show); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cursor) readSegment(show func(Segment, Line) error) error {
	f, err := os.Open(c.segment.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(c.offset, io.SeekStart); err != nil {
		return err
	}
	header, base := c.offset == 0, c.offset
	for line, err := range readLines(f, c.segment.Path) {
		if err != nil {
			return err
		}
		if line.Unfinished {
			return nil
		}
		line.Offset += base
		if !header {
			if err := show(c.segment, line); err != nil {
				return err
			}
		}
		header = false
		c.offset = line.Offset + int64(len(line.Text)) + 1
	}
	return nil
}

// Follow calls show for each record that is written to the log in dir after the given line (the zero Line: from the
// beginning), until ctx ends or show returns an error.
func Follow(ctx context.Context, dir string, after Line, show func(Line) error) error {
	c, err := NewCursor(dir, after)
	if err != nil {
		return err
	}
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	for {
		if err := c.Read(func(_ Segment, l Line) error { return show(l) }); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
