package evidence

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/seal"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// writer is one log with its key.
type writer struct {
	dir, origin, vkey string
	signers           []note.Signer
	verifiers         []note.Verifier
}

func newWriter(t testing.TB, name string) *writer {
	t.Helper()
	w := &writer{dir: filepath.Join(t.TempDir(), name), origin: "gate.test/prod/" + name}
	secret, vkey, err := seal.GenerateKey(w.origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	w.vkey, w.signers = vkey, []note.Signer{signer}
	if w.verifiers, err = seal.ParseVerifiers([]string{vkey}); err != nil {
		t.Fatal(err)
	}
	return w
}

// write appends n changes in a namespace, and seals. It returns the time after which they were written.
func (w *writer) write(t testing.TB, namespace string, n int) time.Time {
	t.Helper()
	var records []audit.Record
	for i := range n {
		records = append(records, audit.Record{
			Type:     audit.TypeDecision,
			Request:  &audit.Request{Operation: "UPDATE", Kind: "Deployment", Group: "apps", Namespace: namespace, Name: fmt.Sprint("app-", i)},
			Actor:    &audit.Actor{Username: "flux", Role: "agent"},
			Decision: &audit.Decision{Outcome: "allow", Verdict: "allow", Mode: "Enforce", Reason: "Declared"},
		})
	}
	return w.append(t, records...)
}

// append writes records, and seals. It returns the time after which they were written.
func (w *writer) append(t testing.TB, records ...audit.Record) time.Time {
	t.Helper()
	l, err := audit.Open(audit.Config{Dir: w.dir, Origin: w.origin, SegmentSize: 8 << 10, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Millisecond) // the records of this call are younger than those before
	began := time.Now().UTC()
	for _, r := range records {
		if _, err := l.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := seal.New(seal.Config{Dir: w.dir, Origin: w.origin, Durable: func() uint64 { return l.Health().Seq },
		Signers: w.signers, Verifiers: w.verifiers, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Seal(context.Background()); err != nil {
		t.Fatal(err)
	}
	return began
}

// pack writes an archive of the logs.
func pack(t testing.TB, f audit.Filter, dirs ...string) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := Write(t.Context(), &b, dirs, Options{Filter: f}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "evidence.zip")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func verify(t testing.TB, path string, keys []note.Verifier, anchors ...[]byte) Report {
	t.Helper()
	r, err := Verify(path, keys, anchors...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAnArchiveIsVerifiedWithNothingButAKey(t *testing.T) {
	a, b := newWriter(t, "gate-0"), newWriter(t, "gate-1")
	a.write(t, "shop", 30)
	middle := a.write(t, "bank", 30)
	end := a.write(t, "shop", 30)
	b.write(t, "shop", 5)
	keys := slices.Concat(a.verifiers, b.verifiers)
	for name, c := range map[string]struct {
		filter   audit.Filter
		dirs     []string
		count    uint64
		complete bool
	}{
		"everything":            {audit.Filter{}, []string{a.dir, b.dir}, 90 + 5 + 4*2 + 2, true}, // with starts, stops, and the first shards
		"a period in between":   {audit.Filter{From: middle, To: end}, []string{a.dir}, 30 + 2, true},
		"from some time on":     {audit.Filter{From: end}, []string{a.dir}, 30 + 1, true},
		"a period of nothing":   {audit.Filter{From: middle.Add(-time.Millisecond), To: middle.Add(-time.Microsecond)}, []string{a.dir}, 0, true},
		"after the last record": {audit.Filter{From: time.Now().Add(time.Hour)}, []string{a.dir}, 0, true},
		"before the first one":  {audit.Filter{To: time.Now().Add(-time.Hour)}, []string{a.dir}, 0, true},
		"one namespace":         {audit.Filter{Namespace: "bank"}, []string{a.dir}, 30, false},
		"one object, everywhere": {audit.Filter{Kind: "Deployment", Name: "app-3"}, []string{a.dir, b.dir},
			4, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := pack(t, c.filter, c.dirs...)
			r := verify(t, path, keys)
			if len(r.Problems) > 0 || r.Complete != c.complete || r.Count != c.count {
				t.Errorf("count %d, want %d; complete %t; problems %v; notes %v", r.Count, c.count, r.Complete, r.Problems, r.Notes)
			}
			if r.Shown+r.Hidden == 0 && c.count > 0 || r.Shown < int64(c.count) {
				t.Errorf("%d shown, %d hidden", r.Shown, r.Hidden)
			}
			again, err := os.ReadFile(pack(t, c.filter, c.dirs...))
			if err != nil {
				t.Fatal(err)
			}
			if once, err := os.ReadFile(path); err != nil || !bytes.Equal(once, again) {
				t.Errorf("the same question made two archives (%v)", err)
			}
		})
	}
}

func TestWhatIsNotSealedIsNoEvidence(t *testing.T) {
	w := newWriter(t, "gate-0")
	w.write(t, "shop", 3)
	if err := os.Remove(glob(t, w.dir, "*/checkpoint")); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(t.Context(), io.Discard, []string{w.dir}, Options{}); err == nil {
		t.Error("an archive was made of an unsealed log")
	}
}

func glob(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	return found[0]
}

// rewrite changes an archive, and the manifest with it where fix is set, as somebody would who wants it to look whole.
func rewrite(t *testing.T, path string, change func(files map[string][]byte), fix bool) string {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	files := map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if files[f.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	change(files)
	if fix {
		var m Manifest
		if err := json.Unmarshal(files[manifestName], &m); err != nil {
			t.Fatal(err)
		}
		m.Files = nil
		for name, b := range files {
			if name != manifestName {
				sum := sha256.Sum256(b)
				m.Files = append(m.Files, File{name, int64(len(b)), hex.EncodeToString(sum[:])})
			}
		}
		if files[manifestName], err = json.Marshal(m); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for name, b := range files {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		f.Write(b)
	}
	w.Close()
	bad := filepath.Join(t.TempDir(), "bad.zip")
	if err := os.WriteFile(bad, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return bad
}

// TestWhatWasDoneToAnArchiveIsNamed: whoever made the archive, or carried it to the auditor, is the attacker.
func TestWhatWasDoneToAnArchiveIsNamed(t *testing.T) {
	w, mallory := newWriter(t, "gate-0"), newWriter(t, "gate-0")
	w.write(t, "shop", 20)
	older, err := os.ReadFile(glob(t, w.dir, "*/checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	middle := w.write(t, "bank", 20)
	end := w.write(t, "shop", 20)
	latest, err := os.ReadFile(glob(t, w.dir, "*/checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	mallory.write(t, "shop", 62)
	period := pack(t, audit.Filter{From: middle, To: end}, w.dir)
	theirs := pack(t, audit.Filter{}, mallory.dir)
	find := func(files map[string][]byte, suffix string) string {
		for name := range files {
			if strings.HasSuffix(name, suffix) {
				return name
			}
		}
		t.Fatalf("no %s", suffix)
		return ""
	}
	lines := func(files map[string][]byte, edit func([]string) []string) {
		name := find(files, recordsName)
		files[name] = []byte(strings.Join(edit(strings.SplitAfter(strings.TrimSuffix(string(files[name]), "\n"), "\n")), ""))
	}
	for name, c := range map[string]struct {
		from   string
		change func(map[string][]byte)
		loose  bool // the manifest is not made to match
		want   string
	}{
		"a byte of a file":    {period, func(f map[string][]byte) { f[readmeName][0] ^= 1 }, true, "not what the manifest lists"},
		"a file is added":     {period, func(f map[string][]byte) { f["evil.exe"] = []byte("MZ") }, true, "does not list it"},
		"a file is taken out": {period, func(f map[string][]byte) { delete(f, controlsName) }, true, "missing"},
		"another name in a record": {period, func(f map[string][]byte) {
			lines(f, func(l []string) []string { l[5] = strings.Replace(l[5], "app-", "ape-", 1); return l })
		}, false, "does not match its sum"},
		"a record is taken out": {period, func(f map[string][]byte) {
			lines(f, func(l []string) []string { return slices.Delete(l, 5, 6) })
		}, false, "not what was sealed"},
		"two records change places": {period, func(f map[string][]byte) {
			lines(f, func(l []string) []string { l[5], l[6] = l[6], l[5]; return l })
		}, false, "out of place"},
		"a record is hidden behind its hash": {period, func(f map[string][]byte) { hide(t, f, find(f, recordsName), 5) }, false, "hidden within the period"},
		"the first record is hidden":         {period, func(f map[string][]byte) { hide(t, f, find(f, recordsName), 0) }, false, "may begin earlier"},
		"the last record is hidden":          {period, func(f map[string][]byte) { hide(t, f, find(f, recordsName), -1) }, false, "may end later"},
		"a hash is changed": {period, func(f map[string][]byte) {
			f[find(f, hiddenName)][3] ^= 1
		}, false, "not what was sealed"},
		"hashes are cut off": {period, func(f map[string][]byte) {
			n := find(f, hiddenName)
			f[n] = f[n][:len(f[n])-32]
		}, false, "fewer hashes"},
		"a row of the table": {period, func(f map[string][]byte) {
			f[populationName] = bytes.Replace(f[populationName], []byte("app-3"), []byte("app-4"), 1)
		}, false, "not what the records say"},
		"the question": {period, func(f map[string][]byte) {
			f[manifestName] = bytes.Replace(f[manifestName], []byte(`"from"`), []byte(`"was"`), 1)
		}, false, "may begin earlier"},
		"the log of another key":     {theirs, func(map[string][]byte) {}, false, "not a checkpoint that a known key signed"},
		"an older checkpoint stands": {period, func(f map[string][]byte) { f[find(f, "/"+checkpointName)] = older }, false, "another size or root"},
	} {
		t.Run(name, func(t *testing.T) {
			r := verify(t, rewrite(t, c.from, c.change, !c.loose), w.verifiers)
			if len(r.Problems) == 0 || r.Complete || !strings.Contains(fmt.Sprint(r.Problems), c.want) {
				t.Errorf("problems %v, want one with %q", r.Problems, c.want)
			}
		})
	}
	t.Run("rolled back to an older state, and the auditor kept a checkpoint", func(t *testing.T) {
		short := newWriter(t, "gate-0")
		short.signers, short.verifiers, short.origin = w.signers, w.verifiers, w.origin
		short.write(t, "shop", 5)
		path := pack(t, audit.Filter{}, short.dir)
		if r := verify(t, path, w.verifiers); len(r.Problems) > 0 {
			t.Fatalf("by itself it is sound: %v", r.Problems)
		}
		if r := verify(t, path, w.verifiers, latest); !strings.Contains(fmt.Sprint(r.Problems), "cut off") {
			t.Errorf("problems %v", r.Problems)
		}
	})
	t.Run("without a key", func(t *testing.T) {
		if r := verify(t, theirs, nil); len(r.Notes) == 0 || !strings.Contains(r.Notes[0], "no key was given") {
			t.Errorf("notes %v", r.Notes)
		}
	})
	for name, content := range map[string]string{"no archive": "hello", "another archive": "PK\x05\x06" + strings.Repeat("\x00", 18)} {
		path := filepath.Join(t.TempDir(), "x.zip")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(path, w.verifiers); err == nil {
			t.Errorf("%s: verified", name)
		}
	}
}

// hide replaces a record by its hash, at the right place.
func hide(t *testing.T, files map[string][]byte, records string, which int) {
	t.Helper()
	var m Manifest
	if err := json.Unmarshal(files[manifestName], &m); err != nil {
		t.Fatal(err)
	}
	sh := &m.Logs[0].Shards[0]
	lines := strings.SplitAfter(strings.TrimSuffix(string(files[records]), "\n"), "\n")
	if which < 0 {
		which += len(lines)
	}
	hidden := strings.TrimSuffix(records, recordsName) + hiddenName
	f, err := audit.ParseFrame([]byte(strings.TrimSuffix(lines[which], "\n")))
	if err != nil {
		t.Fatal(err)
	}
	leaf := sha256.Sum256([]byte("\x00" + strings.TrimSuffix(lines[which], "\n")))
	at := int(f.Seq-sh.First) - which // hidden records before it
	files[hidden] = slices.Insert(files[hidden], at*32, leaf[:]...)
	files[records] = []byte(strings.Join(slices.Delete(lines, which, which+1), ""))
	sh.Shown--
	m.Count--
	if files[manifestName], err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
}

func FuzzVerify(f *testing.F) {
	w := newWriter(f, "gate-0")
	w.write(f, "shop", 2)
	var b bytes.Buffer
	if _, err := Write(f.Context(), &b, []string{w.dir}, Options{}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "x.zip")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		Verify(path, w.verifiers)
	})
}
