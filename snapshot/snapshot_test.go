package snapshot_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
)

func entry(kind, name string) *snapshot.Entry {
	e := new(snapshot.Entry)
	e.Key = manifest.Key{Kind: kind, Namespace: "shop", Name: name}
	e.Source.Repository = "fleet"
	return e
}

// check compares everything that can be asked of a snapshot with a plain map.
func check(t *testing.T, s *snapshot.Snapshot, want map[manifest.Key]*snapshot.Entry) {
	t.Helper()
	got := make(map[manifest.Key]*snapshot.Entry)
	for e := range s.All() {
		got[e.Key] = e
	}
	if !maps.Equal(got, want) || s.Len() != len(want) {
		t.Fatalf("the snapshot holds %d entries, says %d, want %d", len(got), s.Len(), len(want))
	}
	kinds := make(map[string]int)
	for k, e := range want {
		if s.Lookup(k) != e {
			t.Fatalf("%s is not found", k)
		}
		kinds[k.Kind]++
	}
	for _, kind := range []string{"A", "B", "C"} {
		list := s.OfKind("", kind)
		seen := make(map[*snapshot.Entry]bool)
		for _, e := range list {
			if want[e.Key] != e || seen[e] {
				t.Fatalf("kind %s lists %s, which is not there or listed twice", kind, e.Key)
			}
			seen[e] = true
		}
		if len(list) != kinds[kind] {
			t.Fatalf("kind %s lists %d entries, want %d", kind, len(list), kinds[kind])
		}
	}
}

// Every snapshot of a long line is what a plain map says, also after the next ones were made from it.
func TestSnapshotsDoNotChangeEachOther(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	want := make(map[manifest.Key]*snapshot.Entry)
	s := snapshot.New(snapshot.Parts{}, nil)
	type made struct {
		s    *snapshot.Snapshot
		want map[manifest.Key]*snapshot.Entry
	}
	line := []made{{s, maps.Clone(want)}}
	for range 200 {
		var put []*snapshot.Entry
		var gone []manifest.Key
		for range r.IntN(8) {
			e := entry(string(rune('A'+r.IntN(3))), fmt.Sprint(r.IntN(40)))
			put = append(put, e)
		}
		for range r.IntN(4) {
			gone = append(gone, entry(string(rune('A'+r.IntN(3))), fmt.Sprint(r.IntN(40))).Key)
		}
		for _, k := range gone {
			delete(want, k)
		}
		for _, e := range put {
			want[e.Key] = e
		}
		s = s.Next(snapshot.Parts{}, put, gone)
		line = append(line, made{s, maps.Clone(want)})
	}
	for _, m := range line {
		check(t, m.s, m.want)
	}
}

// A record must name the revision that was the truth, not the one with which an entry first came.
func TestRevisionOfIsTheNewestThatHoldsTheEntry(t *testing.T) {
	at := func(id git.ID) snapshot.Parts {
		return snapshot.Parts{Revisions: map[string]*snapshot.Revision{"fleet": {Repository: "fleet", Commit: &git.Commit{ID: id}}}}
	}
	kept, replaced, now := entry("A", "kept"), entry("A", "changed"), entry("A", "changed")
	first := snapshot.New(at("1"), []*snapshot.Entry{kept, replaced})
	second := first.Next(at("2"), []*snapshot.Entry{now}, nil)
	truth := &snapshot.Truth{Current: second, Recent: []*snapshot.Snapshot{first}}
	for e, want := range map[*snapshot.Entry]git.ID{kept: "2", now: "2", replaced: "1"} {
		if r := truth.RevisionOf(e); r.Commit.ID != want {
			t.Errorf("%s is of revision %s, want %s", e.Key, r.Commit.ID, want)
		}
	}
}

// A lookup must not slow down with the size of the cluster.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var entries []*snapshot.Entry
			for i := range n {
				entries = append(entries, entry("A", fmt.Sprint(i)))
			}
			s := snapshot.New(snapshot.Parts{}, entries)
			for i := 0; b.Loop(); i++ {
				if s.Lookup(entries[i%n].Key) == nil {
					b.Fatal("not found")
				}
			}
		})
	}
}
