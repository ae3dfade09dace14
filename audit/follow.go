package audit

import (
	"context"
	"io"
	"os"
	"time"
)

// followInterval is how soon Follow sees a new record: soon enough for somebody who watches.
const followInterval = 200 * time.Millisecond

// Follow calls show for each record that is written to the log in dir after the given line (the zero Line: from the
// beginning), until ctx ends or show returns an error.
func Follow(ctx context.Context, dir string, after Line, show func(Line) error) error {
	at, offset := Segment{}, int64(0)
	if after.File != "" {
		segments, err := Segments(dir)
		if err != nil {
			return err
		}
		for _, s := range segments {
			if s.Path == after.File {
				at, offset = s, after.Offset+int64(len(after.Text))+1
			}
		}
	}
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	for {
		segments, err := Segments(dir)
		if err != nil {
			return err
		}
		for _, s := range segments {
			if s.First < at.First {
				continue
			}
			if s.Path != at.Path {
				at, offset = s, 0
			}
			if offset, err = showFrom(s, offset, show); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// showFrom shows the whole lines of a segment after offset and returns where it stopped.
func showFrom(s Segment, offset int64, show func(Line) error) (int64, error) {
	f, err := os.Open(s.Path)
	if err != nil {
		return offset, err
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return offset, err
	}
	header := offset == 0
	for line, err := range readLines(f, s.Path) {
		if err != nil {
			return offset, err
		}
		if line.Unfinished {
			break
		}
		offset += int64(len(line.Text)) + 1
		if header {
			header = false
			continue
		}
		if err := show(line); err != nil {
			return offset, err
		}
	}
	return offset, nil
}
