// Package ship copies a sealed audit log to where the writer has no power over it: an object store with Object Lock, or a database.
//
// Only what a checkpoint covers is shipped, so that a copy is never ahead of what a crash leaves of the log. The destination itself says how far it
// is: there is no cursor that could be lost, and a copy that was interrupted goes on without a gap and without a repetition. It trusts the log that it
// reads; the copy is verified by whoever reads it, with the checkpoints that are shipped beside the records.
package ship

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/exhibit"
	"github.com/commitgate/commitgate/audit/seal"
)

// Batch is some consecutive records of one segment.
type Batch struct {
	Origin, Shard string
	Segment       uint64 // first record of the segment
	First, Last   uint64
	// Lines are whole lines. Those of the first batch of a segment begin with the segment's header, so that its batches one after the
	// other are the file.
	Lines []byte
}

// A Destination takes batches and checkpoints.
type Destination interface {
	// Last is the last record of the log that is there; 0: none.
	Last(ctx context.Context, origin string) (uint64, error)
	// Put stores a batch, whole or not at all. When it returns nil, the batch is durable. One log has one shipper.
	Put(ctx context.Context, b Batch) error
	// PutCheckpoint stores a checkpoint of a shard, beside those that are there.
	PutCheckpoint(ctx context.Context, origin, shard string, cp *seal.Checkpoint) error
	// Exhibits are the file names of the exhibits of the log that are there.
	Exhibits(ctx context.Context, origin string) (map[string]bool, error)
	// PutExhibit stores one, durably.
	PutExhibit(ctx context.Context, origin, name string, content []byte) error
	// KeepExhibits sees to it that exhibits that are there stay at least as long as records that are put now: these may name them.
	KeepExhibits(ctx context.Context, origin string, names []string) error
	Close() error
}

// maxBatch is when a batch is full, in bytes: large enough for few requests, small enough to hold in memory and to send again.
const maxBatch = 4 << 20

// Result says what was shipped.
type Result struct {
	Origin  string `json:"origin"`
	Before  uint64 `json:"before"` // last record that was there
	Last    uint64 `json:"last"`   // and is there now
	Records uint64 `json:"records"`
	Batches int    `json:"batches"`
}

// Log ships what the destination does not have of the log in dir, up to its latest checkpoints: before its records, the exhibits that these may name.
func Log(ctx context.Context, dir string, to Destination) (Result, error) {
	segments, err := audit.Segments(dir)
	if err != nil {
		return Result{}, err
	}
	origin, err := originOf(segments)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", dir, err)
	}
	s := shipper{to: to, dir: dir, Result: Result{Origin: origin}}
	if s.Before, err = to.Last(ctx, origin); err != nil {
		return s.Result, fmt.Errorf("ask the destination: %w", err)
	}
	s.Last = s.Before
	for i := 0; i < len(segments); {
		n := i
		for n < len(segments) && segments[n].Shard == segments[i].Shard {
			n++
		}
		if err := s.shard(ctx, dir, segments[i:n]); err != nil {
			return s.Result, fmt.Errorf("ship %s: %w", segments[i].Shard, err)
		}
		i = n
	}
	return s.Result, nil
}

// errNoLog is returned for a folder without records.
var errNoLog = errors.New("no audit log here")

func originOf(segments []audit.Segment) (string, error) {
	for line, err := range audit.Records(segments) {
		if err != nil {
			return "", err
		}
		r, err := line.Decode()
		if err == nil && r.Writer == nil {
			err = errNoLog
		}
		if err != nil {
			return "", err
		}
		return r.Writer.Log, nil
	}
	return "", errNoLog
}

// shipper ships one log.
type shipper struct {
	Result
	to        Destination
	dir       string
	exhibited bool // the exhibits are there
}

// exhibits ships the exhibits that are not there, once, and keeps those that are. A record is written after what it names.
func (s *shipper) exhibits(ctx context.Context) error {
	if s.exhibited {
		return nil
	}
	names, err := exhibit.Names(s.dir)
	if err != nil || len(names) == 0 {
		return err
	}
	there, err := s.to.Exhibits(ctx, s.Origin)
	if err != nil {
		return err
	}
	var old []string
	for _, name := range names {
		if there[name] {
			old = append(old, name)
			continue
		}
		content, err := exhibit.Read(s.dir, "sha256:"+name)
		if err != nil {
			return err
		}
		if err := s.to.PutExhibit(ctx, s.Origin, name, content); err != nil {
			return err
		}
	}
	if err := s.to.KeepExhibits(ctx, s.Origin, old); err != nil {
		return err
	}
	s.exhibited = true
	return nil
}

// shard ships what is sealed of a shard.
func (s *shipper) shard(ctx context.Context, dir string, segments []audit.Segment) error {
	b, err := os.ReadFile(filepath.Join(dir, segments[0].Shard, "checkpoint"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not sealed yet
	}
	if err != nil {
		return err
	}
	cp, err := seal.Unverified(b)
	if err != nil {
		return err
	}
	end := segments[0].First + uint64(cp.Size) - 1 // the last record that is sealed
	if cp.Size == 0 || end <= s.Last {
		return nil
	}
	for i, seg := range segments {
		if i+1 < len(segments) && segments[i+1].First <= s.Last+1 || seg.First > end {
			continue // it is there already, or not sealed
		}
		if err := s.segment(ctx, seg, end); err != nil {
			return err
		}
	}
	return s.to.PutCheckpoint(ctx, s.Origin, segments[0].Shard, cp)
}

// segment ships the records of a segment up to end.
func (s *shipper) segment(ctx context.Context, seg audit.Segment, end uint64) error {
	batch := Batch{Origin: s.Origin, Shard: seg.Shard, Segment: seg.First}
	var lines bytes.Buffer
	send := func() error {
		if batch.First == 0 {
			return nil
		}
		if err := s.exhibits(ctx); err != nil {
			return fmt.Errorf("exhibits: %w", err)
		}
		batch.Lines = lines.Bytes()
		if err := s.to.Put(ctx, batch); err != nil {
			return fmt.Errorf("records %d to %d: %w", batch.First, batch.Last, err)
		}
		s.Records += batch.Last - batch.First + 1
		s.Last = batch.Last
		s.Batches++
		batch.First = 0
		lines.Reset()
		return nil
	}
	for line, err := range audit.Lines(seg.Path) {
		if err != nil {
			return err
		}
		if line.Unfinished {
			break
		}
		f, err := audit.ParseFrame(line.Text)
		if err != nil {
			return fmt.Errorf("%s:%d: %w: %w", seg.Path, line.Number, seal.ErrTampered, err)
		}
		switch {
		case f.Header && s.Last >= seg.First, !f.Header && f.Seq <= s.Last:
			continue
		case !f.Header && f.Seq > end:
			return send()
		}
		lines.Write(line.Text)
		lines.WriteByte('\n')
		if f.Header {
			continue
		}
		if batch.First == 0 {
			batch.First = f.Seq
		}
		if batch.Last = f.Seq; lines.Len() >= maxBatch {
			if err := send(); err != nil {
				return err
			}
		}
	}
	return send()
}
