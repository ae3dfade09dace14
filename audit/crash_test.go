package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// writerEnv makes the test binary a writer that prints each id once it is acknowledged, until it is killed.
const writerEnv = "COMMITGATE_TEST_AUDIT_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerEnv); dir != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func writeUntilKilled(dir string) error {
	l, err := Open(Config{Dir: dir, Origin: "gate.test/cluster/gate-0", SegmentSize: 32 << 10})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for range 4 {
		go func() {
			for i := 0; ; i++ {
				r := decision(i)
				r.Decision.Message = strings.Repeat("x", i%2000)
				r, err := l.Append(context.Background(), r)
				if err != nil {
					failed <- err
					return
				}
				os.Stdout.WriteString(r.ID + "\n") // one write: whole, or not at all
			}
		}()
	}
	return <-failed
}

// TestKilledAtAnyMomentNoAcknowledgedRecordIsLost: the budget's "kill -9 at any byte". Every other writer is killed while it begins, the rest after their first
// record: on a busy machine no writer comes that far in a fixed time.
func TestKilledAtAnyMomentNoAcknowledgedRecordIsLost(t *testing.T) {
	dir := testConfig(t).Dir
	var acked []string
	for round := range 12 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerEnv+"="+dir)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if round%2 == 1 && lines.Scan() {
			acked = append(acked, lines.Text())
		}
		kill := time.AfterFunc(20*time.Millisecond+rand.N(120*time.Millisecond), func() { cmd.Process.Kill() })
		for lines.Scan() {
			acked = append(acked, lines.Text())
		}
		kill.Stop()
		if cmd.Wait(); stderr.Len() > 0 {
			t.Fatalf("the writer ended by itself: %s", stderr.String())
		}
	}
	if len(acked) == 0 {
		t.Fatal("nothing was acknowledged: the test shows nothing")
	}
	cfg := testConfig(t)
	cfg.Dir = dir
	open(t, cfg).Close()
	r := check(t, dir, acked...)
	t.Logf("%d acknowledged, %d records in %d segments", len(acked), r.Records, r.Segments)
}

// TestCutAtAnyByteTheRestIsRecovered cuts the file where a kill could have, and opens the log.
func TestCutAtAnyByteTheRestIsRecovered(t *testing.T) {
	cfg := testConfig(t)
	cfg.SegmentSize = 1 << 20
	l := open(t, cfg)
	r1 := mustAppend(t, l, decision(1))
	segment := segmentPath(cfg.Dir, Quarter.shard(time.Now()), 1)
	st, err := os.Stat(segment)
	if err != nil {
		t.Fatal(err)
	}
	durable := int(st.Size())
	mustAppend(t, l, decision(2))
	l.Close()
	whole, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	for at := durable; at < len(whole); at += 7 {
		for name, tail := range map[string][]byte{
			"cut":       whole[:at],
			"with hole": append(slices.Clone(whole[:at]), make([]byte, len(whole)-at)...),
		} {
			if err := os.WriteFile(segment, tail, 0o600); err != nil {
				t.Fatal(err)
			}
			l, err := Open(cfg)
			if err != nil {
				t.Fatalf("%s at byte %d: %v", name, at, err)
			}
			l.Close()
			check(t, cfg.Dir, r1.ID)
			if at != durable && whole[at-1] != '\n' && count(t, cfg.Dir, func(r Record) bool { return r.Type == TypeRecovered }) != 1 {
				t.Fatalf("%s at byte %d: the log does not say what was cut", name, at)
			}
		}
	}
}

// smallLog writes a log of two segments and returns its files.
func smallLog(t *testing.T) (dir string, segments []Segment) {
	cfg := testConfig(t)
	cfg.SegmentSize = 4 << 10
	l := open(t, cfg)
	for i := range 5 {
		mustAppend(t, l, decision(i))
	}
	l.Close()
	segments, err := Segments(cfg.Dir)
	if err != nil || len(segments) != 2 {
		t.Fatalf("%d segments, %v: the test wants two", len(segments), err)
	}
	return cfg.Dir, segments
}

// TestAFlippedBitIsNamed: at every byte of a log.
func TestAFlippedBitIsNamed(t *testing.T) {
	dir, segments := smallLog(t)
	for _, s := range segments {
		whole, err := os.ReadFile(s.Path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range whole {
			altered := slices.Clone(whole)
			altered[i] ^= 1 << (i % 8)
			if err := os.WriteFile(s.Path, altered, 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := Verify(dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			line := bytes.Count(whole[:i], []byte("\n")) + 1
			last := i == len(whole)-1 && s == segments[1]
			switch {
			case last: // the line feed at the very end: an unfinished write, and the log ends with it
				if len(r.Notes) == 0 {
					t.Errorf("byte %d of %s: nothing noted", i, s.Path)
				}
			case len(r.Problems) == 0:
				t.Fatalf("byte %d of %s: not noticed", i, s.Path)
			case r.Problems[0].File != s.Path || r.Problems[0].Line != line:
				t.Fatalf("byte %d of %s, line %d: the first problem is %s", i, s.Path, line, r.Problems[0])
			}
		}
		if err := os.WriteFile(s.Path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatWasDoneToALogIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(lines [][]byte) [][]byte // of the first segment
		want string
	}{
		"a record is dropped":               {func(l [][]byte) [][]byte { return slices.Delete(l, 3, 4) }, "record 4: FILE:4: missing before it: record 3"},
		"two records are swapped":           {func(l [][]byte) [][]byte { l[3], l[4] = l[4], l[3]; return l }, "record 4: FILE:4: missing before it: record 3"},
		"a record is there twice":           {func(l [][]byte) [][]byte { return slices.Insert(l, 4, l[3]) }, "record 3: FILE:5: out of place: it stands after record 3"},
		"the end of the segment is cut off": {func(l [][]byte) [][]byte { return l[:3] }, "missing before it"},
		"the segment is empty":              {func(l [][]byte) [][]byte { return nil }, "FILE: truncated: the file is empty"},
		"the header is removed":             {func(l [][]byte) [][]byte { return l[1:] }, "record 1: FILE:1: out of place: a header within a file, or a file without one"},
		"a record is cut in the middle":     {func(l [][]byte) [][]byte { return append(l[:3], l[3][:100]) }, "record 3: FILE:4: altered: not a record"},
		"a record is one line too long": {func(l [][]byte) [][]byte {
			l[2] = bytes.Repeat([]byte("x"), 5*MaxRecord)
			return l
		}, "record 2: FILE:3: FILE:3: line is longer than a record can be"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, segments := smallLog(t)
			path := segments[0].Path
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			lines := c.do(bytes.Split(bytes.TrimSuffix(whole, []byte("\n")), []byte("\n")))
			out := bytes.Join(lines, []byte("\n"))
			if len(lines) > 0 {
				out = append(out, '\n')
			}
			if err := os.WriteFile(path, out, 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := Verify(dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Problems) == 0 {
				t.Fatal("not noticed")
			}
			if got := strings.ReplaceAll(r.Problems[0].String(), path, "FILE"); !strings.Contains(got, c.want) {
				t.Errorf("first problem %q, want %q", got, c.want)
			}
		})
	}
	t.Run("a whole segment is removed", func(t *testing.T) {
		cfg := testConfig(t)
		cfg.SegmentSize = 4 << 10
		l := open(t, cfg)
		for i := range 12 {
			mustAppend(t, l, decision(i))
		}
		l.Close()
		segments, _ := Segments(cfg.Dir)
		os.Remove(segments[1].Path)
		r, err := Verify(cfg.Dir, nil)
		if err != nil || len(r.Problems) == 0 || !strings.Contains(r.Problems[0].What, "missing before it: records") {
			t.Errorf("%v, %v", r.Problems, err)
		}
	})
}

// TestADamagedLogIsNotWrittenTo: only what a crash explains is cut at start; a record that was acknowledged never is.
func TestADamagedLogIsNotWrittenTo(t *testing.T) {
	dir, segments := smallLog(t)
	path := segments[1].Path
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole[len(whole)-40] ^= 1
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(t)
	cfg.Dir = dir
	if _, err := Open(cfg); !errors.Is(err, ErrCorrupt) {
		t.Errorf("opened: %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(after, whole) {
		t.Error("Open changed the evidence")
	}
}

func FuzzParseFrame(f *testing.F) {
	r := decision(1)
	f.Add(newDraft(&r).line(nil, &r))
	f.Add([]byte(`{"first":1,"prev":"","sum":"00","time":"2026-11-21T10:00:00Z"}`))
	f.Add([]byte(`{"a":{"b":[1,"}"]},"sum":"","z":0}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		fr, err := ParseFrame(line)
		if err == nil && fr.Sound() && len(fr.Sum) != 64 {
			t.Errorf("sound without a sum: %q", line)
		}
	})
}
