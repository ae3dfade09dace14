package audit

import (
	"bytes"
	"context"
	"io"
	"os"
	"time"
)

// followInterval is how soon Follow sees a new record: soon enough for somebody who watches.
const followInterval = 200 * time.Millisecond

// Follow calls show for each record that is written to the log in dir after the line at the end of from, until ctx
// ends or show returns an error. from is what Segments returned; records up to there have been read already.
func Follow(ctx context.Context, dir string, from []Segment, show func(Line) error) error {
	at, offset := Segment{}, int64(0)
	if n := len(from); n > 0 {
		at = from[n-1]
		st, err := os.Stat(at.Path)
		if err != nil {
			return err
		}
		if offset, err = wholeLines(at.Path, st.Size()); err != nil {
			return err
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

// wholeLines is the offset after the last line feed before size.
func wholeLines(path string, size int64) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	from := max(0, size-MaxRecord)
	tail := make([]byte, size-from)
	if _, err := f.ReadAt(tail, from); err != nil && err != io.EOF {
		return 0, err
	}
	return from + int64(bytes.LastIndexByte(tail, '\n')) + 1, nil
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
