package track_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/track"
)

// The tools' truth of a local copy is the one that the loop publishes.
func TestAtIsTheTruthOfTheLoop(t *testing.T) {
	w := newWorld(t)
	w.publish(w.alice, "add pay", map[string]string{"apps/pay/pay.yaml": configMap("pay", "1")})
	w.publish(w.bob, "cart: 2", map[string]string{"apps/cart.yaml": configMap("cart", "2")})
	head := w.publish(w.bob, "docs", map[string]string{"README.md": "more\n"})
	tr := w.start(nil)
	w.once(tr)
	w.at(tr, head)
	bundle := filepath.Join(t.TempDir(), "shop.bundle")
	if _, err := w.repo.Git(t.Context(), "bundle", "create", bundle, "main"); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"a work tree": w.repo.Work(), "a bundle": bundle} {
		t.Run(name, func(t *testing.T) {
			got := ok[*snapshot.Truth](t)(track.At(t.Context(), track.AtConfig{
				Gate: w.gate, Repositories: w.repositories, Paths: map[string]string{"shop": path}, Engine: manifest.InProcess{},
			})).Current
			want := tr.Truth().Current
			if got.Len() != want.Len() || got.Revisions["shop"].Commit.ID != head {
				t.Fatalf("%d objects at %s", got.Len(), got.Revisions["shop"].Commit.ID)
			}
			for e := range want.All() {
				if g := got.Lookup(e.Key); g == nil || g.Changed.ID != e.Changed.ID || g.Source.Path != e.Source.Path {
					t.Errorf("%s is %+v, want %+v", e.Key, g, e)
				}
			}
		})
	}
}

// A revision that a gate would refuse is a Refusal; what cannot be told is another error.
func TestAtSaysWhy(t *testing.T) {
	w := newWorld(t)
	unsigned := w.publish(w.nobody, "cart: 2", map[string]string{"apps/cart.yaml": configMap("cart", "2")})
	at := func(revision, anchor, path string) (*snapshot.Truth, error) {
		repositories := w.repositories
		if anchor != "" {
			r := repositories[0]
			r.Spec.Anchor.Commit = anchor
			repositories = append(repositories[:0:0], r)
		}
		return track.At(t.Context(), track.AtConfig{
			Gate: w.gate, Repositories: repositories, Paths: map[string]string{"shop": path}, Revisions: map[string]string{"shop": revision}, Now: time.Now(),
			Engine: manifest.InProcess{},
		})
	}
	work := w.repo.Work()
	for name, c := range map[string]struct {
		revision, anchor, path string
		stage                  track.Stage // "" if it cannot be told
	}{
		"an unsigned commit":                    {"HEAD", "", work, track.StageVerify},
		"a commit before the anchor":            {string(w.anchor), string(unsigned), work, track.StageFetch},
		"a revision that is not there":          {"no-such-branch", "", work, ""},
		"no repository at the path":             {"HEAD", "", t.TempDir(), ""},
		"no path, and the address is elsewhere": {"HEAD", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			truth, err := at(c.revision, c.anchor, c.path)
			if err == nil {
				t.Fatalf("it is the truth: %v", truth)
			}
			var r *track.Refusal
			if errors.As(err, &r) != (c.stage != "") || r != nil && r.Stage != c.stage {
				t.Errorf("the error is %v", err)
			}
		})
	}
	// With the anchor at the revision nothing needs a signature: the configuration vouches for it.
	truth := ok[*snapshot.Truth](t)(at("HEAD", string(unsigned), work))
	if e := truth.Current.Lookup(manifest.Key{Kind: "ConfigMap", Namespace: "shop", Name: "cart"}); e == nil || e.Changed.ID != unsigned {
		t.Errorf("cart is %+v", e)
	}
}
