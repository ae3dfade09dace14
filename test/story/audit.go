package story

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/commitgate/commitgate/git"
)

// putBack makes a commit the head of the branch again, whatever was pushed since.
func (s *Stage) putBack(ctx context.Context, good git.ID) error {
	return errors.Join(s.Repository.Reset(ctx, good), s.Repository.Push(ctx, true))
}

func errorsJoin(err, other error) error {
	if other == nil {
		return err
	}
	return errors.Join(err, other)
}

// shown is how many records the story shows of a log that has many more.
const shown = 8

func auditTail(ctx context.Context, s *Stage) (Answer, error) {
	out, status, err := s.Gate.Run(ctx, "audit", "tail", "--lines=200", s.Gate.AuditLog())
	if err != nil {
		return nil, err
	}
	lines := Answer(strings.Split(strings.TrimSpace(out), "\n"))
	head, err := s.Repository.Head(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case status != 0:
		return lines, fmt.Errorf("exit status %d", status)
	case !strings.Contains(out, head.Short()):
		return lines, fmt.Errorf("no record of %s", head.Short())
	}
	return lines[max(0, len(lines)-shown):], nil
}

func auditVerify(ctx context.Context, s *Stage) (Answer, error) {
	out, status, err := s.Gate.Run(ctx, "audit", "verify", s.Gate.AuditLog())
	if err == nil && status != 0 {
		err = fmt.Errorf("exit status %d", status)
	}
	return strings.Split(strings.TrimSpace(out), "\n"), err
}

// auditFlipped flips one byte in the middle of a copy of the log. The verification must fail and name the record.
func auditFlipped(ctx context.Context, s *Stage) (Answer, error) {
	dir, err := os.MkdirTemp(s.Dir, "flipped-")
	if err != nil {
		return nil, err
	}
	if err := os.CopyFS(dir, os.DirFS(s.Gate.AuditLog())); err != nil {
		return nil, err
	}
	if err := flip(dir); err != nil {
		return nil, err
	}
	out, status, err := s.Gate.Run(ctx, "audit", "verify", dir)
	switch {
	case err != nil:
		return nil, err
	case status != 1:
		err = fmt.Errorf("exit status %d, want 1", status)
	case !strings.Contains(out, "record"):
		err = errors.New("the answer does not name the record")
	}
	return strings.Split(strings.TrimSpace(out), "\n"), err
}

// flip changes one bit in the middle of the largest file below dir: a segment of the log.
func flip(dir string) error {
	var largest string
	var size int64
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Size() > size {
			largest, size = path, info.Size()
		}
		return err
	})
	if err != nil {
		return err
	}
	data, err := os.ReadFile(largest)
	if err != nil {
		return err
	}
	data[len(data)/2] ^= 1
	return os.WriteFile(largest, data, 0o600)
}
