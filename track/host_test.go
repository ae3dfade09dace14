package track_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/test/forge"
	"github.com/commitgate/commitgate/track"
)

// world is a Git host with people who sign, and a gate's configuration that trusts two of them.
type world struct {
	t            testing.TB
	forge        *forge.Forge
	repo         *forge.Repository
	alice, bob   *forge.Person // trusted
	mallory      *forge.Person // signs, but nobody trusts her
	nobody       *forge.Person // does not sign
	anchor       git.ID
	gate         v1alpha1.GateSpec
	repositories []v1alpha1.TrustedRepository
	clock        *clock
	dir          string
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func ok[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	ctx := t.Context()
	f := ok[*forge.Forge](t)(forge.New(t.TempDir()))
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	person := ok[*forge.Person](t)
	w := &world{
		t: t, forge: f, dir: t.TempDir(), clock: &clock{now: time.Now()},
		alice: person(f.WithSSHKey(ctx, "Alice", "alice@example.com")), bob: person(f.WithSSHKey(ctx, "Bob", "bob@example.com")),
		mallory: person(f.WithSSHKey(ctx, "Mallory", "mallory@example.com")), nobody: forge.WithoutKey("Nobody", "nobody@example.com"),
	}
	w.repo, w.anchor = w.create("shop", map[string]string{"apps/cart.yaml": configMap("cart", "1"), "README.md": "the shop\n"})
	w.gate = v1alpha1.GateSpec{
		Roots:  []v1alpha1.Root{{Repository: "shop", Path: "apps"}},
		Agents: []v1alpha1.Agent{{Name: "ci", Preset: v1alpha1.PresetPipeline, Users: []string{"system:serviceaccount:ci:deployer"}}},
		Window: metav1.Duration{Duration: 5 * time.Minute},
	}
	w.repositories = []v1alpha1.TrustedRepository{w.trusted("shop", w.repo, w.anchor)}
	return w
}

// create makes a repository with one commit that nobody signed: the anchor vouches for it.
func (w *world) create(name string, files map[string]string) (*forge.Repository, git.ID) {
	w.t.Helper()
	r := ok[*forge.Repository](w.t)(w.forge.Create(w.t.Context(), name))
	return r, ok[git.ID](w.t)(r.Publish(w.t.Context(), w.nobody, "begin", files))
}

func (w *world) trusted(name string, r *forge.Repository, anchor git.ID) v1alpha1.TrustedRepository {
	return v1alpha1.TrustedRepository{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.TrustedRepositorySpec{
			URL: r.URL(), Branch: forge.Branch, Anchor: v1alpha1.Anchor{Commit: string(anchor)},
			Signers: []v1alpha1.Signer{w.alice.Signer(), w.bob.Signer()},
			Rules:   []v1alpha1.Rule{{Paths: []string{"policies/**"}}, {}}, // one person may change policies here
		},
	}
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: shop}\ndata: {value: %q}\n", name, value)
}

func (w *world) publish(who *forge.Person, message string, files map[string]string) git.ID {
	w.t.Helper()
	return ok[git.ID](w.t)(w.repo.Publish(w.t.Context(), who, message, files))
}

func (w *world) config(o track.Observer) track.Config {
	return track.Config{Gate: w.gate, Repositories: w.repositories, Dir: w.dir, CacheKey: make([]byte, 32), Observer: o, Now: w.clock.Now, Engine: manifest.InProcess{}}
}

// start makes a tracker on the world's folder, as a gate that starts does.
func (w *world) start(o track.Observer) *track.Tracker {
	w.t.Helper()
	t := ok[*track.Tracker](w.t)(track.New(w.config(o)))
	w.t.Cleanup(func() { _ = t.Close() }) // a test that restarts has closed it
	return t
}

func (w *world) once(t *track.Tracker) {
	w.t.Helper()
	if err := t.Once(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) stop(t *track.Tracker) {
	w.t.Helper()
	if err := t.Close(); err != nil {
		w.t.Fatal(err)
	}
}

// at checks everything that must hold of a truth, and that it is of this commit.
func (w *world) at(t *track.Tracker, commit git.ID) {
	w.t.Helper()
	current := t.Truth().Current
	if current == nil {
		w.t.Fatalf("nothing is the truth, want %s: %+v", commit.Short(), t.Status()[0].Refused)
	}
	if got := current.Revisions["shop"].Commit.ID; got != commit {
		w.t.Fatalf("the truth is %s, want %s: %v", got.Short(), commit.Short(), t.Status()[0].Refused)
	}
	if s := t.Status()[0]; s.Published != commit {
		w.t.Fatalf("the status says that %s is the truth, want %s", s.Published.Short(), commit.Short())
	}
	w.attributed(current)
}

// attributed compares the commit of each entry with what git itself says about the file.
func (w *world) attributed(s *snapshot.Snapshot) {
	w.t.Helper()
	for e := range s.All() {
		if e.Source.Repository != "shop" || e.Changed.ID == w.anchor {
			continue // the anchor stands for everything before it
		}
		want, err := w.repo.Git(w.t.Context(), "log", "-1", "--format=%H", "--first-parent", string(s.Revisions["shop"].Commit.ID), "--", string(e.Source.Path))
		if err != nil {
			w.t.Fatal(err)
		}
		if string(e.Changed.ID) != want {
			w.t.Errorf("%s was last changed by %s, git says %s", e.Key, e.Changed.ID, want)
		}
		if len(e.Signatures) != 1 || e.Account == nil || e.Revision == nil {
			w.t.Errorf("%s: signatures %v, account %v, revision %v", e.Key, e.Signatures, e.Account, e.Revision)
		}
	}
}

// refused checks that the newest push is not accepted, at this stage, and that the reason holds some words.
func (w *world) refused(t *track.Tracker, stage track.Stage, commit git.ID, words ...string) {
	w.t.Helper()
	r := t.Status()[0].Refused
	if r == nil {
		w.t.Fatalf("%s is not refused", commit.Short())
	}
	if r.Stage != stage || r.Commit != commit {
		w.t.Errorf("refused is %s at %s, want %s at %s: %s", r.Commit.Short(), r.Stage, commit.Short(), stage, r.Why)
	}
	for _, word := range words {
		if !strings.Contains(r.Why, word) {
			w.t.Errorf("the reason does not say %q: %s", word, r.Why)
		}
	}
}

func value(t *track.Tracker, name string) string {
	e := t.Truth().Current.Lookup(manifest.Key{Kind: "ConfigMap", Namespace: "shop", Name: name})
	if e == nil {
		return "none"
	}
	return e.Content.Text("data", "value")
}

// witness is an observer that remembers, and can fail.
type witness struct {
	tracker   func() *track.Tracker
	published []string // "repository commit", short
	told      []track.Publication
	restored  []track.Publication
	given     map[string]string // signer lists, by digest
	refused   []track.Refusal
	fail      error
	before    []git.ID // what was the truth while a publication was being recorded
}

func (o *witness) Published(_ context.Context, p track.Publication) error {
	if o.fail != nil {
		return o.fail
	}
	o.published = append(o.published, p.Repository+" "+p.Commit.ID.Short())
	o.give(p)
	o.told = append(o.told, p)
	if o.tracker != nil {
		var was git.ID
		if s := o.tracker().Truth().Current; s != nil {
			was = s.Revisions[p.Repository].Commit.ID
		}
		o.before = append(o.before, was)
	}
	return nil
}

func (o *witness) Restored(_ context.Context, ps []track.Publication) error {
	for _, p := range ps {
		o.give(p)
	}
	o.restored = append(o.restored, ps...)
	return o.fail
}

func (o *witness) give(p track.Publication) {
	if o.given == nil {
		o.given = map[string]string{}
	}
	for _, l := range p.Lists {
		o.given[l.Digest] = string(l.Content)
	}
}

func (o *witness) Refused(_ context.Context, r track.Refusal) { o.refused = append(o.refused, r) }

func (o *witness) saw(t testing.TB, want ...string) {
	t.Helper()
	if !slices.Equal(o.published, want) {
		t.Errorf("published were %q, want %q", o.published, want)
	}
}
