package track_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/track"
)

// counter counts what is rendered.
type counter struct {
	manifest.InProcess
	jobs atomic.Int32
}

func (c *counter) Do(ctx context.Context, tree fs.FS, job []byte) ([]byte, error) {
	c.jobs.Add(1)
	return c.InProcess.Do(ctx, tree, job)
}

// kustomizations are n folders, each with a kustomization of one ConfigMap and one Secret.
func kustomizations(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		dir := fmt.Sprintf("apps/k%d/", i)
		files[dir+"kustomization.yaml"] = fmt.Sprintf("resources: [a.yaml]\nnamespace: shop\nnameSuffix: -x%d\nsecretGenerator: [{name: s, literals: [password=hunter2-hunter2]}]\n", i)
		files[dir+"a.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {greeting: good-morning-good-morning}\n"
	}
	return files
}

// restart stops the tracker, if there is one, and starts another, and returns it with how much it rendered and what it logged.
func (w *world) restart(tr *track.Tracker, key []byte) (again *track.Tracker, jobs int, log string) {
	w.t.Helper()
	if tr != nil {
		w.stop(tr)
	}
	var logged bytes.Buffer
	count := &counter{}
	cfg := w.config(nil)
	cfg.CacheKey, cfg.Engine, cfg.Log = key, count, slog.New(slog.NewTextHandler(&logged, nil))
	again = ok[*track.Tracker](w.t)(track.New(cfg))
	w.t.Cleanup(func() { _ = again.Close() })
	w.once(again)
	return again, int(count.jobs.Load()), logged.String()
}

// What was rendered is not rendered again after a restart, but for what has changed meanwhile.
func TestARestartRendersWhatChangedOnly(t *testing.T) {
	w := newWorld(t)
	key := bytes.Repeat([]byte{1}, 32)
	first := w.publish(w.alice, "fill", kustomizations(4))
	tr, jobs, _ := w.restart(nil, key)
	w.is(tr, first)
	if jobs != 4 {
		t.Errorf("%d jobs at first", jobs)
	}
	before := contents(tr)
	tr, jobs, log := w.restart(tr, key)
	w.is(tr, first)
	if jobs != 0 || strings.Contains(log, "rendered") {
		t.Errorf("%d jobs after a restart: %s", jobs, log)
	}
	if after := contents(tr); after != before {
		t.Errorf("after the restart it is %s, before %s", after, before)
	}
	second := w.publish(w.alice, "change", map[string]string{"apps/k1/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {greeting: new}\n"})
	tr, jobs, _ = w.restart(tr, key)
	w.is(tr, second)
	if jobs != 1 || !strings.Contains(contents(tr), `"greeting":"new"`) {
		t.Errorf("%d jobs after a push", jobs)
	}
	for range 5 { // what is superseded does not stay
		w.publish(w.alice, "change", map[string]string{"apps/k1/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {greeting: \"" + strings.Repeat("x", 4_000_000) + "\"}\n"})
		w.once(tr)
		w.publish(w.alice, "change", map[string]string{"apps/k1/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {greeting: new}\n"})
		w.once(tr)
	}
	if size := ok[fs.FileInfo](t)(os.Stat(filepath.Join(w.dir, "rendered"))).Size(); size > 20<<20 {
		t.Errorf("the file has %d bytes", size)
	}
	if tr, jobs, _ = w.restart(tr, key); jobs != 0 {
		t.Errorf("%d jobs after it was written anew", jobs)
	}
}

// is checks that a commit is the truth.
func (w *world) is(tr *track.Tracker, commit git.ID) {
	w.t.Helper()
	if s := tr.Status()[0]; s.Published != commit {
		w.t.Fatalf("the truth is %s, want %s: %v", s.Published, commit, s.Refused)
	}
}

func contents(tr *track.Tracker) string {
	var lines []string
	for e := range tr.Truth().Current.All() {
		lines = append(lines, fmt.Sprintln(e.Key, e.Source, e.Content.JSON()))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// Whoever writes in the gate's folder must not be able to say what Git declares, nor read there what it does.
func TestWhatWasRenderedIsNotBelievedFromAnyHand(t *testing.T) {
	key := bytes.Repeat([]byte{1}, 32)
	tests := map[string]struct {
		harm func(t *testing.T, file string, text []byte) // to the file, which holds text
		key  []byte
		log  string
		kept bool // all that was rendered is still there
	}{
		"another key":         {key: bytes.Repeat([]byte{2}, 32), log: "of another key"},
		"a flipped bit":       {harm: flip(200), log: "tampered with"},
		"a flipped name":      {harm: flip(3)},
		"a length beyond all": {harm: flip(32), log: "damaged"},
		"a torn end": {harm: func(t *testing.T, file string, text []byte) {
			if err := os.Truncate(file, int64(len(text)-10)); err != nil {
				t.Fatal(err)
			}
		}, log: "the end of what was rendered before the restart is damaged"},
		"something else at its end": {harm: func(t *testing.T, file string, text []byte) {
			write(t, file, append(text, "apiVersion: v1\nkind: ConfigMap\n"...))
		}, log: "the end of what was rendered before the restart is damaged", kept: true},
		"something else altogether": {harm: func(t *testing.T, file string, text []byte) { write(t, file, bytes.Repeat([]byte("{}\n"), 100)) }, log: "damaged"},
		"the texts of two names exchanged": {harm: func(t *testing.T, file string, text []byte) {
			const head = 36
			one := head + int(text[34])<<8 + int(text[35])
			two := text[one : one+head+int(text[one+34])<<8+int(text[one+35])]
			write(t, file, append(append(append(append([]byte{}, text[:32]...), two[32:]...), two[:32]...), text[32:one]...))
		}, log: "tampered with"},
		"an older file": {harm: func(t *testing.T, file string, text []byte) { write(t, file, nil) }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id := w.publish(w.alice, "fill", kustomizations(2))
			tr, _, _ := w.restart(nil, key)
			want := contents(tr)
			file := filepath.Join(w.dir, "rendered")
			text := ok[[]byte](t)(os.ReadFile(file))
			for _, plain := range []string{"ConfigMap", "good-morning", "aHVudGVyMi1odW50ZXIy"} {
				if bytes.Contains(text, []byte(plain)) {
					t.Errorf("the file says %s", plain)
				}
			}
			w.stop(tr)
			if test.harm != nil {
				test.harm(t, file, text)
			}
			with := key
			if test.key != nil {
				with = test.key
			}
			tr, jobs, log := w.restart(nil, with)
			w.is(tr, id)
			if jobs == 0 != test.kept || !strings.Contains(log, test.log) {
				t.Errorf("%d jobs, and the log says %q", jobs, log)
			}
			if have := contents(tr); have != want {
				t.Errorf("it declares %s, want %s", have, want)
			}
			if _, jobs, _ = w.restart(tr, with); jobs != 0 {
				t.Errorf("%d jobs after another restart", jobs)
			}
		})
	}
}

func flip(at int) func(*testing.T, string, []byte) {
	return func(t *testing.T, file string, text []byte) {
		text[at] ^= 0x40
		write(t, file, text)
	}
}

func write(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Without a key nothing is kept: whoever could write the file could say what it holds.
func TestWithoutAKeyNothingThatWasRenderedIsKept(t *testing.T) {
	w := newWorld(t)
	w.publish(w.alice, "fill", kustomizations(2))
	tr, _, _ := w.restart(nil, nil)
	if _, jobs, _ := w.restart(tr, nil); jobs != 2 {
		t.Errorf("%d jobs after a restart", jobs)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "rendered")); err == nil {
		t.Error("there is a file")
	}
}
