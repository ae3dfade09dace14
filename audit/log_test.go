package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	jcs "github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
)

// testConfig writes small segments below a folder of the test.
func testConfig(t testing.TB) Config {
	return Config{
		Dir: filepath.Join(t.TempDir(), "log"), Origin: "gate.test/cluster/gate-0",
		Writer: Writer{Name: "gate-0", Version: "test"}, SegmentSize: 16 << 10,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

func open(t testing.TB, cfg Config) *Log {
	t.Helper()
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func decision(i int) Record {
	return Record{
		Type:     TypeDecision,
		Request:  &Request{UID: fmt.Sprint("uid-", i), Operation: "UPDATE", Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments", Namespace: "shop", Name: fmt.Sprint("cart-", i)},
		Actor:    &Actor{Username: "system:serviceaccount:flux-system:kustomize-controller", Groups: []string{"system:authenticated"}, Role: "agent"},
		Decision: &Decision{Outcome: "allow", Verdict: "allow", Mode: "Enforce", Reason: "Traced", Micros: 120},
		Origin:   &Origin{Repository: "infra", Branch: "main", Revision: "3f2c1d9a00000000000000000000000000000000", Commit: "3f2c1d9a00000000000000000000000000000000", Path: "apps/shop/cart.yaml", Signers: []Signer{{Principal: "ada@example.com", Kind: "ssh"}}},
	}
}

func mustAppend(t testing.TB, l *Log, r Record) Record {
	t.Helper()
	got, err := l.Append(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// check re-proves everything that must hold of the log in dir, and that it holds the records of these ids.
func check(t testing.TB, dir string, ids ...string) Report {
	t.Helper()
	have := map[string]bool{}
	r, err := Verify(dir, func(_ Segment, f Frame, l Line) {
		have[f.ID] = true
		canonical, err := jcs.Transform(l.Text)
		if err != nil || !bytes.Equal(canonical, l.Text) {
			t.Errorf("record %d is not canonical JSON: %v", f.Seq, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Problems {
		t.Error(p)
	}
	for _, id := range ids {
		if !have[id] {
			t.Errorf("acknowledged record %s is lost", id)
		}
	}
	return r
}

func TestRecordsComeBackAsTheyWereWritten(t *testing.T) {
	cfg := testConfig(t)
	l := open(t, cfg)
	var want []Record
	for i := range 100 {
		want = append(want, mustAppend(t, l, decision(i)))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r := check(t, cfg.Dir)
	if r.Segments < 3 {
		t.Errorf("%d segments: the test wants rotation", r.Segments)
	}
	segments, _ := Segments(cfg.Dir)
	i := 0
	for line, err := range Records(segments) {
		if err != nil {
			t.Fatal(err)
		}
		got, err := line.Decode()
		if err != nil {
			t.Fatal(err)
		}
		if got.Type != TypeDecision {
			continue
		}
		if !reflect.DeepEqual(got, want[i]) {
			t.Fatalf("record %d:\n got %+v\nwant %+v", i, got, want[i])
		}
		i++
	}
	if i != len(want) {
		t.Errorf("%d decisions, want %d", i, len(want))
	}
}

func TestALogGoesOnAfterARestart(t *testing.T) {
	cfg := testConfig(t)
	var last uint64
	for range 5 {
		l := open(t, cfg)
		r := mustAppend(t, l, decision(0))
		if r.Seq <= last {
			t.Fatalf("seq %d after %d", r.Seq, last)
		}
		last = r.Seq
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	check(t, cfg.Dir)
}

func TestASecondProcessIsRefused(t *testing.T) {
	cfg := testConfig(t)
	open(t, cfg)
	if _, err := Open(cfg); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("second Open: %v; want ErrInUse with the owner", err)
	}
}

func TestManyCallersGetContiguousNumbers(t *testing.T) {
	cfg := testConfig(t)
	l := open(t, cfg)
	var wg sync.WaitGroup
	ids := make([]string, 64*20)
	for c := range 64 {
		wg.Go(func() {
			for i := range 20 {
				r, err := l.Append(t.Context(), decision(i))
				if err != nil {
					t.Error(err)
				}
				ids[c*20+i] = r.ID
			}
		})
	}
	wg.Wait()
	l.Close()
	check(t, cfg.Dir, ids...)
}

func TestHostileTextIsBoundedAndHarmless(t *testing.T) {
	cfg := testConfig(t)
	cfg.SegmentSize = 1 << 20
	l := open(t, cfg)
	r := decision(0)
	r.Decision.Message = "a\x1b[2Jb\u202ec\u2028d\xffe\nf\x00\"\\" + strings.Repeat("é", 100_000)
	for i := range 10_000 {
		r.Decision.Fields = append(r.Decision.Fields, strings.Repeat(fmt.Sprint(i, "\""), 500))
		r.Decision.Violations = append(r.Decision.Violations, Violation{Policy: strings.Repeat("p", 5000), Controls: r.Decision.Fields})
	}
	r = mustAppend(t, l, r)
	l.Close()
	check(t, cfg.Dir, r.ID)
	segments, _ := Segments(cfg.Dir)
	for line, err := range Records(segments) {
		if err != nil {
			t.Fatal(err)
		}
		if len(line.Text)+1 > MaxRecord {
			t.Errorf("line of %d bytes", len(line.Text))
		}
		got, _ := line.Decode()
		if got.ID != r.ID {
			continue
		}
		if !got.Truncated || !strings.Contains(got.Decision.Message, "bytes)") {
			t.Errorf("no mark: %t %q", got.Truncated, got.Decision.Message)
		}
		if strings.ContainsAny(got.Decision.Message, "\x1b\u202e\u2028\x00") {
			t.Errorf("text that moves a terminal came through: %q", got.Decision.Message)
		}
	}
}

// TestRecordsAreCanonical fills every field of the schema and compares with an independent canonicalizer.
func TestRecordsAreCanonical(t *testing.T) {
	var r Record
	fill(reflect.ValueOf(&r).Elem())
	r.ID, r.Prev = "01J", "ab"
	r.Schema, r.Time = 1, time.Date(2026, 11, 21, 10, 0, 0, 123000000, time.UTC)
	line := newDraft(&r).line(nil, &r)
	r.Sum = strings.Clone(r.Sum)
	plain, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	want, err := jcs.Transform(plain)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(bytes.TrimSuffix(line, []byte("\n"))); got != string(want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	f, err := ParseFrame(bytes.TrimSuffix(line, []byte("\n")))
	if err != nil || !f.Sound() || f.Seq != r.Seq || f.ID != r.ID || !f.Time.Equal(r.Time) {
		t.Errorf("frame %+v, %v", f, err)
	}
}

// TestTheLongestRecordFits fills every field with as much as it can hold.
func TestTheLongestRecordFits(t *testing.T) {
	var r Record
	fill(reflect.ValueOf(&r).Elem())
	stretch(reflect.ValueOf(&r).Elem())
	if n := newDraft(&r).size(); n > MaxRecord {
		t.Errorf("%d bytes", n)
	}
}

// fill sets every field that v reaches to something that is not zero.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("a \"é\" \\ <&> \n\t z")
	case reflect.Int, reflect.Int64:
		v.SetInt(1234567)
	case reflect.Uint64:
		v.SetUint(77)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0))
		fill(v.Index(1))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"b": "1", "a": "2", "é": "3"}))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	}
}

// stretch makes all text and lists long.
func stretch(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(strings.Repeat("\"", 10_000))
	case reflect.Pointer:
		stretch(v.Elem())
	case reflect.Slice:
		stretch(v.Index(0))
		for range 300 {
			v.Set(reflect.Append(v, v.Index(0)))
		}
	case reflect.Map:
		for i := range 300 {
			v.SetMapIndex(reflect.ValueOf(fmt.Sprintf("%d%s", i, strings.Repeat("k", 5000))), reflect.ValueOf(strings.Repeat("\"", 5000)))
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			stretch(v.Field(i))
		}
	}
}

// brokenFile fails on demand.
type brokenFile struct {
	file
	mu    sync.Mutex
	write func(p []byte) (int, error)
	sync  func() error
}

func (f *brokenFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.write != nil {
		return f.write(p)
	}
	return f.file.Write(p)
}

func (f *brokenFile) Sync() error {
	f.mu.Lock()
	broken := f.sync
	f.mu.Unlock()
	if broken != nil {
		return broken()
	}
	return f.file.Sync()
}

func TestAfterAFaultNothingIsWrittenAndNothingAcknowledgedIsLost(t *testing.T) {
	for name, fault := range map[string]func(t *testing.T, f *brokenFile, dir string){
		"a write fails in the middle of a record": func(t *testing.T, f *brokenFile, _ string) {
			f.write = func(p []byte) (int, error) {
				n, _ := f.file.Write(p[:len(p)/2])
				return n, syscall.EIO
			}
		},
		"the disk is full although space was reserved": func(t *testing.T, f *brokenFile, _ string) {
			f.write = func(p []byte) (int, error) { return 0, syscall.ENOSPC }
		},
		"fdatasync fails, and would succeed if it were tried again": func(t *testing.T, f *brokenFile, _ string) {
			once := true
			f.sync = func() error {
				if once {
					once = false
					return syscall.EIO
				}
				return nil
			}
		},
		"the file is removed": func(t *testing.T, _ *brokenFile, dir string) {
			segments, _ := Segments(dir)
			os.Rename(segments[0].Path, filepath.Join(dir, "elsewhere"))
		},
		"the file is replaced by a copy": func(t *testing.T, _ *brokenFile, dir string) {
			segments, _ := Segments(dir)
			b, _ := os.ReadFile(segments[0].Path)
			os.WriteFile(segments[0].Path+".new", b, 0o600)
			os.Rename(segments[0].Path+".new", segments[0].Path)
		},
		"somebody else appends to the file": func(t *testing.T, _ *brokenFile, dir string) {
			segments, _ := Segments(dir)
			f, _ := os.OpenFile(segments[0].Path, os.O_APPEND|os.O_WRONLY, 0)
			f.WriteString("{}\n")
			f.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			cfg.SegmentSize = 1 << 20
			var broken *brokenFile
			cfg.wrap = func(f file) file { broken = &brokenFile{file: f}; return broken }
			l := open(t, cfg)
			acked := []string{mustAppend(t, l, decision(1)).ID, mustAppend(t, l, decision(2)).ID}
			broken.mu.Lock()
			fault(t, broken, cfg.Dir)
			broken.mu.Unlock()
			for i := range 3 {
				if r, err := l.Append(t.Context(), decision(3+i)); !errors.Is(err, ErrPoisoned) {
					t.Fatalf("append %d after the fault: %v, %v; want ErrPoisoned", i, r.Seq, err)
				}
			}
			if !errors.Is(l.Health().Err, ErrPoisoned) {
				t.Error("the log says it is well")
			}
			l.Close()
			if name == "somebody else appends to the file" {
				if _, err := Open(cfg); !errors.Is(err, ErrCorrupt) {
					t.Errorf("a log with somebody else's line was opened: %v", err)
				}
				return
			}
			if elsewhere := filepath.Join(cfg.Dir, "elsewhere"); exists(elsewhere) { // the person on call puts it back
				segment := segmentPath(cfg.Dir, cfg.Period.shard(time.Now()), 1)
				os.Rename(elsewhere, segment)
			}
			cfg.wrap = nil
			l = open(t, cfg)
			acked = append(acked, mustAppend(t, l, decision(9)).ID)
			l.Close()
			check(t, cfg.Dir, acked...)
		})
	}
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

func TestAFileRemovedWhileNobodyWritesIsNoticed(t *testing.T) {
	cfg := testConfig(t)
	l := open(t, cfg)
	segments, _ := Segments(cfg.Dir)
	os.Remove(segments[0].Path)
	for range 1200 {
		if l.Health().Err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Error("not noticed in two minutes")
}

// late is a context whose deadline passes when it is told so.
type late struct {
	context.Context
	passed chan struct{}
}

func (c late) Done() <-chan struct{} { return c.passed }

func (c late) Err() error {
	select {
	case <-c.passed:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// TestAHangingDiskHoldsNobodyLongerThanTheirDeadline: and the decision that was not answered is taken back.
func TestAHangingDiskHoldsNobodyLongerThanTheirDeadline(t *testing.T) {
	cfg := testConfig(t)
	var broken *brokenFile
	cfg.wrap = func(f file) file { broken = &brokenFile{file: f}; return broken }
	l := open(t, cfg)
	release := make(chan struct{})
	broken.mu.Lock()
	ctx := late{t.Context(), make(chan struct{})}
	expire := sync.OnceFunc(func() { close(ctx.passed) })
	broken.sync = func() error { expire(); <-release; return broken.file.Sync() }
	broken.mu.Unlock()
	r, err := l.Append(ctx, decision(1))
	if !errors.Is(err, ErrNotDurable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("append on a hanging disk: %v", err)
	}
	close(release)
	l.Close()
	check(t, cfg.Dir, r.ID)
	if n := count(t, cfg.Dir, func(s Record) bool { return s.Type == TypeSuperseded && s.Event.Details["record"] == r.ID }); n != 1 {
		t.Errorf("%d records take the decision back, want 1", n)
	}
}

func count(t testing.TB, dir string, want func(Record) bool) (n int) {
	t.Helper()
	segments, err := Segments(dir)
	if err != nil {
		t.Fatal(err)
	}
	for line, err := range Records(segments) {
		if err != nil {
			t.Fatal(err)
		}
		r, err := line.Decode()
		if err != nil {
			t.Fatal(err)
		}
		if want(r) {
			n++
		}
	}
	return n
}

func TestTooManyWaitingRecordsAreRefusedAtOnce(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxPending = 4 << 10
	var broken *brokenFile
	cfg.wrap = func(f file) file { broken = &brokenFile{file: f}; return broken }
	l := open(t, cfg)
	release := make(chan struct{})
	broken.mu.Lock()
	broken.sync = func() error { <-release; return nil }
	broken.mu.Unlock()
	var wg sync.WaitGroup
	refused := make(chan struct{}, 100)
	for i := range 100 {
		wg.Go(func() {
			if _, err := l.Append(t.Context(), decision(i)); errors.Is(err, ErrOverloaded) {
				refused <- struct{}{}
			}
		})
	}
	<-refused
	close(release)
	wg.Wait()
}

func TestAShardEndsWithItsPeriodAndIsRemovedWithItsRetention(t *testing.T) {
	cfg := testConfig(t)
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	cfg.now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	cfg.Period, cfg.Retention = Month, 60*24*time.Hour
	l := open(t, cfg)
	for range 5 {
		mustAppend(t, l, decision(1))
		mu.Lock()
		now = now.AddDate(0, 1, 0)
		mu.Unlock()
	}
	mustAppend(t, l, decision(2))
	if r := check(t, cfg.Dir); strings.Join(r.Shards, " ") != "2026-11 2026-12 2027-01 2027-02 2027-03 2027-04" {
		t.Errorf("shards %v", r.Shards)
	}
	removed, err := l.Prune(t.Context())
	if err != nil || strings.Join(removed, " ") != "2026-11 2026-12" {
		t.Errorf("removed %v, %v", removed, err)
	}
	l.Close()
	r := check(t, cfg.Dir)
	if r.First == 1 || len(r.Notes) != 1 {
		t.Errorf("first record %d, notes %q", r.First, r.Notes)
	}
	cfg.now = func() time.Time { return now.AddDate(-1, 0, 0) } // the clock goes back: the shard stays
	l = open(t, cfg)
	mustAppend(t, l, decision(3))
	l.Close()
	check(t, cfg.Dir)
}

func TestAShorterLogThanVouchedForIsNotOpened(t *testing.T) {
	cfg := testConfig(t)
	l := open(t, cfg)
	mustAppend(t, l, decision(1))
	l.Close()
	cfg.Floor = 50
	if _, err := Open(cfg); !errors.Is(err, ErrCorrupt) {
		t.Errorf("rolled back log: %v", err)
	}
}

// sinkFunc is a Sink.
type sinkFunc func(context.Context, []byte) error

func (f sinkFunc) Write(ctx context.Context, b []byte) error { return f(ctx, b) }

func TestCopies(t *testing.T) {
	t.Run("a copy that hangs delays nobody", func(t *testing.T) {
		cfg := testConfig(t)
		hang := make(chan struct{})
		defer close(hang)
		cfg.Copies = []Copy{{Name: "hang", Timeout: 10 * time.Millisecond, Sink: sinkFunc(func(context.Context, []byte) error { <-hang; return nil })}}
		l := open(t, cfg)
		for i := range 2 * copyQueue {
			mustAppend(t, l, decision(i))
		}
	})
	t.Run("a required copy that fails refuses, and the decision is taken back", func(t *testing.T) {
		cfg := testConfig(t)
		var fail bool
		var mu sync.Mutex
		cfg.Copies = []Copy{{Name: "second", Required: true, Timeout: time.Minute, Sink: sinkFunc(func(context.Context, []byte) error {
			mu.Lock()
			defer mu.Unlock()
			if fail {
				return errors.New("refused")
			}
			return nil
		})}}
		l := open(t, cfg)
		mustAppend(t, l, decision(1))
		mu.Lock()
		fail = true
		mu.Unlock()
		r, err := l.Append(t.Context(), decision(2))
		if !errors.Is(err, ErrCopy) {
			t.Fatalf("got %v", err)
		}
		l.Close()
		if n := count(t, cfg.Dir, func(s Record) bool { return s.Type == TypeSuperseded && s.Event.Details["record"] == r.ID }); n != 1 {
			t.Errorf("%d records take the decision back, want 1", n)
		}
	})
	t.Run("a copy in a file holds every record", func(t *testing.T) {
		cfg := testConfig(t)
		path := filepath.Join(t.TempDir(), "copy.jsonl")
		sink, err := OpenFileSink(path)
		if err != nil {
			t.Fatal(err)
		}
		defer sink.Close()
		cfg.Copies = []Copy{{Name: "file", Required: true, Timeout: time.Minute, Sink: sink}}
		l := open(t, cfg)
		for i := range 30 {
			mustAppend(t, l, decision(i))
			if i == 10 { // logrotate comes by
				os.Rename(path, path+".1")
			}
		}
		l.Close()
		first, _ := os.ReadFile(path + ".1")
		b, _ := os.ReadFile(path)
		b = append(first, b...)
		if got, want := uint64(bytes.Count(b, []byte("\n"))), check(t, cfg.Dir).Records; got != want {
			t.Errorf("%d lines in the copy, %d records", got, want)
		}
	})
}
