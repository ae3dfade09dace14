package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
)

// Line is one line of a log as it lies on disk, without its line feed. Text is valid until the next line is read.
type Line struct {
	Text   []byte
	File   string
	Number int   // from 1
	Offset int64 // of the first byte in the file
	// Unfinished: the file ends without a line feed. Such a line was never acknowledged.
	Unfinished bool
}

// Decode reads the record of a line.
func (l Line) Decode() (Record, error) {
	r, err := ParseRecord(l.Text)
	if err != nil {
		return r, fmt.Errorf("%s:%d: %w", l.File, l.Number, err)
	}
	return r, nil
}

// errTooLong is returned for a line that no writer of ours made.
var errTooLong = errors.New("line is longer than a record can be")

// Lines reads the lines of one file, in constant memory. A line that is too long ends the reading with an error.
func Lines(path string) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield(Line{File: path}, err)
			return
		}
		defer f.Close()
		for line, err := range readLines(f, path) {
			if !yield(line, err) {
				return
			}
		}
	}
}

func readLines(r io.Reader, name string) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		in := bufio.NewReaderSize(r, 4*MaxRecord)
		line := Line{File: name}
		for {
			text, err := in.ReadSlice('\n')
			line.Number++
			switch {
			case errors.Is(err, bufio.ErrBufferFull):
				yield(line, fmt.Errorf("%s:%d: %w", name, line.Number, errTooLong))
				return
			case err == io.EOF && len(text) == 0:
				return
			case err != nil && err != io.EOF:
				yield(line, err)
				return
			}
			line.Text = bytes.TrimSuffix(text, []byte{'\n'})
			line.Unfinished = err == io.EOF
			if !yield(line, nil) || err == io.EOF {
				return
			}
			line.Offset += int64(len(text))
		}
	}
}

// Records reads the records of the segments in order, undecoded and without headers. A line that is not finished
// ends the last segment silently: it was never acknowledged.
func Records(segments []Segment) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		for _, s := range segments {
			for line, err := range Lines(s.Path) {
				if err == nil && (line.Number == 1 || line.Unfinished) {
					continue
				}
				if !yield(line, err) || err != nil {
					return
				}
			}
		}
	}
}

// readHeader reads the header of a segment.
func readHeader(path string) (Header, error) {
	for line, err := range Lines(path) {
		if err != nil {
			return Header{}, err
		}
		var h Header
		if err := json.Unmarshal(line.Text, &h); err != nil {
			return h, fmt.Errorf("%s:1: %w", path, err)
		}
		if h.Format != Format {
			return h, fmt.Errorf("%s:1: format %q: want %q", path, h.Format, Format)
		}
		return h, nil
	}
	return Header{}, fmt.Errorf("%s: empty", path)
}
