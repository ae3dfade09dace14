package track_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/track"
)

// What commits changed is found once, however they come, and many small pieces of it become few.
func TestWhatCommitsChangedIsKept(t *testing.T) {
	w := newWorld(t)
	const commits = 600
	w.grow(commits)
	past := ok[*track.Past](t)(track.OpenPast(t.Context(), track.AtConfig{
		Gate: w.gate, Repositories: w.repositories, Paths: map[string]string{"shop": w.repo.Work()},
	}))
	defer past.Close()
	list := func(file string, atATime int) (changed [][]git.Path, pieces int) {
		t.Helper()
		changed, pieces, err := past.Changes(t.Context(), "shop", file, atATime)
		if err != nil {
			t.Fatal(err)
		}
		return changed, pieces
	}
	dir := t.TempDir()
	want, _ := list(filepath.Join(dir, "all"), commits)
	if len(want) != commits || len(want[0]) != 100 || !slices.Equal(want[205], []git.Path{"zz/f05"}) {
		t.Fatalf("%d commits; the first changed %d files, another %q", len(want), len(want[0]), want[205])
	}
	file := filepath.Join(dir, "pushes")
	for _, step := range []struct{ atATime, pieces int }{{1, commits}, {commits, 1}, {commits, 1}} {
		if have, pieces := list(file, step.atATime); !reflect.DeepEqual(have, want) || pieces != step.pieces {
			t.Errorf("%d at a time: %d pieces, want %d; or something else is said to be changed", step.atATime, pieces, step.pieces)
		}
	}
}

// Whoever writes in the gate's folder must not be able to say which commit changed an object.
func TestWhatCommitsChangedIsNotBelievedFromAnyHand(t *testing.T) {
	for name, harm := range map[string]func(*testing.T, string, []byte){
		"as it was":               func(*testing.T, string, []byte) {},
		"a flipped bit":           flip(100),
		"a flipped name":          flip(3),
		"a length beyond all":     flip(32),
		"something at its end":    func(t *testing.T, file string, text []byte) { write(t, file, append(text, "apps/cart.yaml"...)) },
		"nothing":                 func(t *testing.T, file string, _ []byte) { write(t, file, nil) },
		"what another key sealed": nil,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.grow(20)
			w.publish(w.bob, "cart: 2", map[string]string{"apps/cart.yaml": configMap("cart", "2")})
			last := w.publish(w.alice, "pay", map[string]string{"apps/pay.yaml": configMap("pay", "1")})
			key := bytes.Repeat([]byte{1}, 32)
			tr, _, _ := w.restart(nil, key)
			w.at(tr, last)
			w.stop(tr)
			file := filepath.Join(w.dir, "changed-shop")
			text := ok[[]byte](t)(os.ReadFile(file))
			if bytes.Contains(text, []byte("cart")) {
				t.Error("the file says what the commits changed")
			}
			if harm != nil {
				harm(t, file, bytes.Clone(text))
			} else {
				key = bytes.Repeat([]byte{2}, 32)
			}
			tr, _, log := w.restart(nil, key)
			w.at(tr, last) // and every object has the commit that Git says
			said := fmt.Sprintf("it has %d bytes, and had %d; the log says %s", len(ok[[]byte](t)(os.ReadFile(file))), len(text), log)
			if same := bytes.Equal(ok[[]byte](t)(os.ReadFile(file)), text); same != (name == "as it was" || name == "something at its end") {
				t.Error(said) // what does not hold was found again
			}
		})
	}
}
