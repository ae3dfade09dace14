package track_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/test/forge"
	"github.com/commitgate/commitgate/track"
)

// Signed commits become the truth, each recorded before it does, and what did not change keeps its commit.
func TestSignedCommitsBecomeTheTruth(t *testing.T) {
	w := newWorld(t)
	o := &witness{}
	tr := w.start(o)
	o.tracker = func() *track.Tracker { return tr }
	w.once(tr)
	w.at(tr, w.anchor)
	old := tr.Truth().Current

	first := w.publish(w.alice, "add pay", map[string]string{"apps/pay/pay.yaml": configMap("pay", "1")})
	w.once(tr)
	w.at(tr, first)
	second := w.publish(w.bob, "cart: 2", map[string]string{"apps/cart.yaml": configMap("cart", "2")})
	w.once(tr)
	w.at(tr, second)
	if value(tr, "cart") != "2" || value(tr, "pay") != "1" {
		t.Errorf("cart is %s, pay is %s", value(tr, "cart"), value(tr, "pay"))
	}
	o.saw(t, "shop "+w.anchor.Short(), "shop "+first.Short(), "shop "+second.Short())
	for i, want := range []git.ID{"", w.anchor, first} {
		if o.before[i] != want {
			t.Errorf("while publication %d was recorded the truth was %q, want %q", i, o.before[i], want)
		}
	}
	recent := tr.Truth().Recent
	cart := manifest.Key{Kind: "ConfigMap", Namespace: "shop", Name: "cart"}
	if len(recent) != 2 || recent[1].Lookup(cart) != old.Lookup(cart) || recent[0].Lookup(cart) == tr.Truth().Current.Lookup(cart) {
		t.Errorf("%d superseded snapshots are kept, want the two before", len(recent))
	}
	for _, s := range recent { // or memory grows with revisions times objects
		if len(s.Rendered.Objects) > 0 || len(s.Rendered.Builds) != 1 || s.Rendered.Builds[0].Owner.Agent != "ci" || len(s.Rendered.Builds[0].Objects) > 0 {
			t.Errorf("a superseded snapshot keeps %+v", s.Rendered)
		}
	}

	third := w.publish(w.bob, "pay is gone", map[string]string{"apps/pay/pay.yaml": ""})
	w.once(tr)
	w.at(tr, third)
	if value(tr, "pay") != "none" {
		t.Error("pay is still declared")
	}
	w.clock.pass(w.gate.Window.Duration + time.Second)
	w.once(tr)
	if n := len(tr.Truth().Recent); n != 0 {
		t.Errorf("%d superseded snapshots are kept after the window", n)
	}
}

// A commit that changes nothing that is declared is the new revision at once, and costs nothing else.
func TestCommitBesideTheRoots(t *testing.T) {
	w := newWorld(t)
	tr := w.start(nil)
	w.once(tr)
	before := tr.Truth().Current
	id := w.publish(w.alice, "docs", map[string]string{"README.md": "still the shop\n"})
	w.once(tr)
	w.at(tr, id)
	after := tr.Truth().Current
	if !after.Published.Equal(before.Published) || len(tr.Truth().Recent) != 0 {
		t.Error("the declared objects are said to have changed")
	}
	for e := range before.All() {
		if after.Lookup(e.Key) != e {
			t.Errorf("%s was made anew", e.Key)
		}
	}
}

// What is not accepted leaves the truth as it was, says why and where, and is healed by a good commit on top where that is right.
func TestWhatIsNotAccepted(t *testing.T) {
	type push func(w *world) git.ID
	one := func(who func(*world) *forge.Person, files map[string]string) push {
		return func(w *world) git.ID { return w.publish(who(w), "change", files) }
	}
	alice := func(w *world) *forge.Person { return w.alice }
	cart2 := map[string]string{"apps/cart.yaml": configMap("cart", "2")}
	for name, c := range map[string]struct {
		push  push
		stage track.Stage
		words []string
		heals bool // a good signed commit on top brings the truth on
	}{
		"an unsigned commit": {
			push: one(func(w *world) *forge.Person { return w.nobody }, cart2), stage: track.StageVerify,
		},
		"a commit by a key that nobody trusts": {
			push: one(func(w *world) *forge.Person { return w.mallory }, cart2), stage: track.StageVerify,
		},
		"a file that is no YAML": {
			push: one(alice, map[string]string{"apps/pay.yaml": "kind: ConfigMap\n\tdata: x\n"}), stage: track.StageRender,
			words: []string{"apps/pay.yaml"}, heals: true,
		},
		"an object that its kind does not take": {
			push:  one(alice, map[string]string{"apps/pay.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: pay, namespace: shop}\ndata: [1]\n"}),
			stage: track.StageRender, words: []string{"apps/pay.yaml"}, heals: true,
		},
		"a policy that does not compile": {
			push: one(alice, map[string]string{"policies/images.rego": "package images\n\ndeny contains msg if { msg := }\n"}), stage: track.StagePolicy,
			words: []string{"policies/images.rego:3"}, heals: true,
		},
		"a policy whose own test fails": {
			push: one(alice, map[string]string{"policies/images_test.rego": "package images_test\n\ntest_never if false\n"}), stage: track.StagePolicy,
			words: []string{"policies/images_test.rego:3"}, heals: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.gate.Policies = []v1alpha1.PolicySource{{Repository: "shop", Path: "policies"}}
			good := w.publish(w.alice, "policies", map[string]string{"policies/images.rego": policyFile})
			o := &witness{}
			tr := w.start(o)
			w.once(tr)
			w.at(tr, good)
			policies := tr.Truth().Current.Policies

			bad := c.push(w)
			w.once(tr)
			w.once(tr) // told once, however often it is looked at
			w.at(tr, good)
			w.refused(tr, c.stage, bad, c.words...)
			if tr.Truth().Current.Policies != policies || value(tr, "cart") != "1" {
				t.Error("something of the refused commit is in the truth")
			}
			if len(o.refused) != 1 {
				t.Errorf("the refusal was told %d times", len(o.refused))
			}

			revert := map[string]string{"apps/cart.yaml": configMap("cart", "3"), "policies/images.rego": policyFile}
			for _, added := range []string{"apps/pay.yaml", "policies/images_test.rego"} {
				if _, err := w.repo.Read(added); err == nil {
					revert[added] = ""
				}
			}
			fixed := w.publish(w.bob, "mend", revert)
			w.clock.pass(time.Minute)
			w.once(tr)
			if !c.heals {
				w.at(tr, good) // a good commit on top does not wash a bad one
				w.refused(tr, c.stage, bad)
				return
			}
			w.at(tr, fixed)
			if r := tr.Status()[0].Refused; r != nil {
				t.Errorf("still refused: %v", r)
			}
		})
	}
}

const policyFile = `package images

deny contains msg if {
	endswith(input.object.spec.image, ":latest")
	msg := "no latest"
}
`

// The good commits before a bad one are taken.
func TestGoodCommitsBeforeABadOne(t *testing.T) {
	w := newWorld(t)
	tr := w.start(nil)
	w.once(tr)
	good := w.publish(w.alice, "cart: 2", map[string]string{"apps/cart.yaml": configMap("cart", "2")})
	bad := w.publish(w.nobody, "cart: 3", map[string]string{"apps/cart.yaml": configMap("cart", "3")})
	w.publish(w.alice, "cart: 4", map[string]string{"apps/cart.yaml": configMap("cart", "4")})
	w.once(tr)
	w.at(tr, good)
	w.refused(tr, track.StageVerify, bad)
	if value(tr, "cart") != "2" {
		t.Errorf("cart is %s", value(tr, "cart"))
	}
}

// A branch that was rewritten is refused, by a running gate, by one that was down meanwhile, by one whose mirror was lost, and by one whose state was lost.
func TestForcePush(t *testing.T) {
	for name, lose := range map[string]func(w *world, tr *track.Tracker) *track.Tracker{
		"while the gate runs": func(_ *world, tr *track.Tracker) *track.Tracker { return tr },
		"while the gate is down": func(w *world, tr *track.Tracker) *track.Tracker {
			w.stop(tr)
			return nil
		},
		"while the gate is down, and its mirror is lost": func(w *world, tr *track.Tracker) *track.Tracker {
			w.stop(tr)
			remove(w.t, filepath.Join(w.dir, "mirrors"))
			return nil
		},
		"while the gate is down, and its state is lost": func(w *world, tr *track.Tracker) *track.Tracker {
			w.stop(tr)
			remove(w.t, filepath.Join(w.dir, "state.json"))
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tr := w.start(nil)
			old := w.publish(w.alice, "cart: 2", map[string]string{"apps/cart.yaml": configMap("cart", "2")})
			head := w.publish(w.alice, "cart: 3", map[string]string{"apps/cart.yaml": configMap("cart", "3")})
			w.once(tr)
			w.at(tr, head)
			tr = lose(w, tr)
			w.force(old)
			rewritten := w.publish(w.bob, "cart: 4", map[string]string{"apps/cart.yaml": configMap("cart", "4")})
			if tr == nil {
				tr = w.start(nil)
			}
			w.once(tr)
			w.refused(tr, track.StageFetch, rewritten, head.Short(), "does not descend")
			if s := tr.Truth().Current; s != nil && s.Revisions["shop"].Commit.ID != head {
				t.Errorf("the truth went to %s", s.Revisions["shop"].Commit.ID)
			}

			w.force(head)
			next := w.publish(w.bob, "cart: 5", map[string]string{"apps/cart.yaml": configMap("cart", "5")})
			w.once(tr)
			w.at(tr, next)
		})
	}
}

func (w *world) force(to git.ID) {
	w.t.Helper()
	if err := errors.Join(w.repo.Reset(w.t.Context(), to), w.repo.Push(w.t.Context(), true)); err != nil {
		w.t.Fatal(err)
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// A gate that starts while the Git host is away is ready with what it verified last, and does not record it again.
func TestRestartWithoutTheGitHost(t *testing.T) {
	w := newWorld(t)
	o := &witness{}
	tr := w.start(o)
	head := w.publish(w.alice, "cart: 2", map[string]string{"apps/cart.yaml": configMap("cart", "2")})
	w.once(tr)
	heard := tr.Status()[0].Heard
	bad := w.publish(w.alice, "broken", map[string]string{"apps/pay.yaml": "}"})
	w.once(tr)
	w.refused(tr, track.StageRender, bad)
	w.stop(tr)

	w.forge.SetDown(true)
	o = &witness{}
	tr = w.start(o)
	err := tr.Once(t.Context())
	if err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("the Git host is down, and the error is %v", err)
	}
	w.at(tr, head) // the newest verified commit does not render; the one before it was the truth, and is again
	w.refused(tr, track.StageRender, bad)
	o.saw(t)
	s := tr.Status()[0]
	if s.FetchError == "" || s.Heard.Before(heard) || !s.Heard.Before(w.clock.Now().Add(time.Second)) {
		t.Errorf("fetch error %q, heard %s, want about %s", s.FetchError, s.Heard, heard)
	}
	if got := tr.Truth().Current.Revisions["shop"].Fetched; !got.Equal(s.Heard) {
		t.Errorf("the truth was heard of at %s, the status says %s", got, s.Heard)
	}

	w.forge.SetDown(false)
	next := w.publish(w.alice, "mend", map[string]string{"apps/pay.yaml": ""})
	w.once(tr)
	w.at(tr, next)
	o.saw(t, "shop "+next.Short())
}

// A state file that is not what was written stops the gate: going on without it could mean going back.
func TestDamagedState(t *testing.T) {
	w := newWorld(t)
	tr := w.start(nil)
	w.once(tr)
	w.stop(tr)
	file := filepath.Join(w.dir, "state.json")
	whole := ok[[]byte](t)(os.ReadFile(file))
	for name, damaged := range map[string][]byte{
		"empty":             {},
		"cut off":           whole[:len(whole)-3],
		"one byte changed":  []byte(strings.Replace(string(whole), string(w.anchor[:4]), "0000", 1)),
		"without its sum":   whole[65:],
		"with another line": append(whole[:len(whole):len(whole)], '\n'),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(file, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			tr, err := track.New(w.config(nil))
			if err == nil {
				_ = tr.Close()
				t.Fatal("a gate starts with it")
			}
			if !strings.Contains(err.Error(), "state.json") {
				t.Errorf("the error does not name the file: %v", err)
			}
		})
	}
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	w.once(w.start(nil))
}

// Two processes in one folder would take each other's marks back.
func TestOneProcessAlone(t *testing.T) {
	w := newWorld(t)
	tr := w.start(nil)
	if second, err := track.New(w.config(nil)); err == nil {
		_ = second.Close()
		t.Fatal("a second tracker opened the folder")
	}
	w.stop(tr)
	w.stop(w.start(nil))
}

// A publication that cannot be recorded does not happen, and happens once it can.
func TestPublicationThatCannotBeRecorded(t *testing.T) {
	w := newWorld(t)
	o := &witness{}
	tr := w.start(o)
	w.once(tr)
	o.fail = errors.New("disk full")
	id := w.publish(w.alice, "cart: 2", map[string]string{"apps/cart.yaml": configMap("cart", "2")})
	w.once(tr)
	w.at(tr, w.anchor)
	w.refused(tr, track.StagePublish, id, "disk full")
	o.fail = nil
	w.clock.pass(time.Minute)
	w.once(tr)
	w.at(tr, id)
}

// What was verified by keys that the configuration trusts no more is not taken back silently: the gate says what to do.
func TestSignerTakenOutOfTheConfiguration(t *testing.T) {
	w := newWorld(t)
	tr := w.start(nil)
	id := w.publish(w.alice, "cart: 2", map[string]string{"apps/cart.yaml": configMap("cart", "2")})
	w.once(tr)
	w.at(tr, id)
	w.stop(tr)
	w.repositories[0].Spec.Signers = []v1alpha1.Signer{w.bob.Signer()}
	tr = w.start(nil)
	w.once(tr)
	if tr.Truth().Current != nil {
		t.Error("the gate went back behind what it had verified")
	}
	w.refused(tr, track.StageVerify, id, "move the anchor", id.Short())

	w.stop(tr)
	w.repositories[0].Spec.Anchor.Commit = string(id)
	tr = w.start(nil)
	w.once(tr)
	w.at(tr, id)
}

// An anchor on a rewritten history is the operator's word: the gate begins anew.
func TestAnchorOnAnotherHistory(t *testing.T) {
	w := newWorld(t)
	tr := w.start(nil)
	w.publish(w.alice, "cart: 2", map[string]string{"apps/cart.yaml": configMap("cart", "2")})
	w.once(tr)
	w.stop(tr)
	w.force(w.anchor)
	id := w.publish(w.alice, "cart: 3", map[string]string{"apps/cart.yaml": configMap("cart", "3")})
	w.repositories[0].Spec.Anchor.Commit = string(id)
	tr = w.start(nil)
	w.once(tr)
	w.at(tr, id)
}

// Of two repositories a bad commit in one does not hold the other up.
func TestTwoRepositories(t *testing.T) {
	w := newWorld(t)
	other, anchor := w.create("base", map[string]string{"all/base.yaml": configMap("base", "1")})
	w.repositories = append(w.repositories, w.trusted("base", other, anchor))
	w.gate.Roots = append(w.gate.Roots, v1alpha1.Root{Repository: "base", Path: "all"})
	o := &witness{}
	tr := w.start(o)
	w.once(tr)
	w.attributed(tr.Truth().Current)
	bad := ok[git.ID](t)(other.Publish(t.Context(), w.alice, "broken", map[string]string{"all/base.yaml": "}"}))
	good := w.publish(w.alice, "cart: 2", map[string]string{"apps/cart.yaml": configMap("cart", "2")})
	w.once(tr)
	w.attributed(tr.Truth().Current)
	if value(tr, "cart") != "2" || value(tr, "base") != "1" {
		t.Errorf("cart is %s, base is %s", value(tr, "cart"), value(tr, "base"))
	}
	status := tr.Status() // base, shop
	if r := status[0].Refused; r == nil || r.Commit != bad || r.Stage != track.StageRender {
		t.Errorf("base: %+v", r)
	}
	if status[1].Refused != nil || status[1].Published != good {
		t.Errorf("shop: %+v", status[1])
	}

	// The same object in both is nobody's, and is refused.
	twice := w.publish(w.bob, "mine", map[string]string{"apps/base.yaml": configMap("base", "2")})
	w.clock.pass(time.Minute)
	w.once(tr)
	if r := tr.Status()[1].Refused; r == nil || r.Commit != twice || !strings.Contains(r.Why, "base") {
		t.Errorf("shop: %+v", r)
	}
}

// However many ask at once, the Git host is visited once for those who came before the visit, and once for those who came during it.
func TestManyAskAtOnce(t *testing.T) {
	w := newWorld(t)
	w.repositories[0].Spec.Interval.Duration = time.Hour
	cfg := w.config(nil)
	cfg.Now = time.Now
	tr := ok[*track.Tracker](t)(track.New(cfg))
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- tr.Run(ctx) }()
	t.Cleanup(func() { // before its folder is removed
		end()
		if err := errors.Join(<-ended, tr.Close()); err != nil {
			t.Error(err)
		}
	})
	if err := tr.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := w.publish(w.alice, "cart: 2", map[string]string{"apps/cart.yaml": configMap("cart", "2")})
	release, before := w.forge.Hold(), w.forge.Fetches()
	var all, come sync.WaitGroup
	come.Add(200)
	for range 200 {
		all.Go(func() {
			come.Done()
			if err := tr.Refresh(t.Context()); err != nil {
				t.Error(err)
			}
			if got := tr.Truth().Current.Revisions["shop"].Commit.ID; got != id {
				t.Errorf("after the refresh the truth is %s", got)
			}
		})
	}
	come.Wait()
	release() // the last of them may come only now: during the second visit
	all.Wait()
	if n := w.forge.Fetches() - before; n < 1 || n > 3 {
		t.Errorf("200 callers made %d visits", n)
	}
	release, before = w.forge.Hold(), w.forge.Fetches()
	for range 50 {
		tr.Hint()
	}
	release()
	if err := tr.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := w.forge.Fetches() - before; n > 3 {
		t.Errorf("hints made %d visits", n)
	}
}

// The configuration is refused before anything is done, naming all that is wrong.
func TestConfigurationThatCannotWork(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*track.Config){
		"no repository":         func(c *track.Config) { c.Repositories = nil },
		"an address of no kind": func(c *track.Config) { c.Repositories[0].Spec.URL = "gopher://example.com" },
		"a branch of no name":   func(c *track.Config) { c.Repositories[0].Spec.Branch = "../main" },
		"a key that is no key":  func(c *track.Config) { c.Repositories[0].Spec.Signers[0].SSH = []string{"ssh-ed25519 AAAA"} },
	} {
		t.Run(name, func(t *testing.T) {
			w.repositories = []v1alpha1.TrustedRepository{w.trusted("shop", w.repo, w.anchor)}
			cfg := w.config(nil)
			change(&cfg)
			if tr, err := track.New(cfg); err == nil {
				_ = tr.Close()
				t.Fatal("it is accepted")
			}
		})
	}
	w.repositories = []v1alpha1.TrustedRepository{w.trusted("shop", w.repo, w.anchor)}
	w.stop(w.start(nil)) // and leaves no lock behind
}

func ExampleRefusal() {
	r := &track.Refusal{Repository: "shop", Branch: "main", Commit: "3f2c1d9000000000000000000000000000000000", Stage: track.StageRender, Why: "shop:apps/cart.yaml:3: found a tab"}
	fmt.Println(r)
	// Output: shop: commit 3f2c1d9 is refused (render): shop:apps/cart.yaml:3: found a tab
}

// A key that has expired since does not take its owner's old commits along when the gate restarts, and signs nothing new.
func TestKeyThatExpires(t *testing.T) {
	w := newWorld(t)
	today := w.clock.Now()
	alice := w.alice.Signer()
	alice.SSH[0] = fmt.Sprintf(`valid-before="%sZ" %s`, today.Add(48*time.Hour).UTC().Format("200601021504"), alice.SSH[0])
	w.repositories[0].Spec.Signers = []v1alpha1.Signer{alice, w.bob.Signer()}
	tr := w.start(nil)
	w.once(tr)
	w.publish(w.alice, "cart: 2", map[string]string{"apps/cart.yaml": configMap("cart", "2")})
	w.once(tr)
	w.clock.pass(24 * time.Hour)
	w.publish(w.alice, "cart: 3", map[string]string{"apps/cart.yaml": configMap("cart", "3")})
	w.once(tr)
	w.clock.pass(48 * time.Hour)
	head := w.publish(w.bob, "cart: 4", map[string]string{"apps/cart.yaml": configMap("cart", "4")})
	w.once(tr)
	w.at(tr, head)
	for range 2 { // the second restart reads what the first wrote
		w.stop(tr)
		tr = w.start(nil)
		w.once(tr)
		w.at(tr, head)
	}
	late := w.publish(w.alice, "cart: 5", map[string]string{"apps/cart.yaml": configMap("cart", "5")})
	w.once(tr)
	w.at(tr, head)
	w.refused(tr, track.StageVerify, late)
}

// A crash may tear the file that says when commits were seen: what is torn counts as seen anew, and what follows is kept.
func TestTornSightings(t *testing.T) {
	w := newWorld(t)
	tr := w.start(nil)
	first := w.publish(w.alice, "cart: 2", map[string]string{"apps/cart.yaml": configMap("cart", "2")})
	w.once(tr)
	w.stop(tr)
	file := filepath.Join(w.dir, "seen-shop")
	whole := ok[[]byte](t)(os.ReadFile(file))
	if err := os.WriteFile(file, append(whole, "0123abc 17"...), 0o600); err != nil {
		t.Fatal(err)
	}
	tr = w.start(nil)
	second := w.publish(w.alice, "cart: 3", map[string]string{"apps/cart.yaml": configMap("cart", "3")})
	w.once(tr)
	w.at(tr, second)
	lines := strings.Split(strings.TrimSpace(string(ok[[]byte](t)(os.ReadFile(file)))), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], string(first)+" ") || !strings.HasPrefix(lines[1], string(second)+" ") {
		t.Errorf("the file holds %q", lines)
	}
}

// What a dashboard shows is what the status says.
func TestMetrics(t *testing.T) {
	w := newWorld(t)
	tr := w.start(nil)
	w.publish(w.alice, "cart: 2", map[string]string{"apps/cart.yaml": configMap("cart", "2")})
	w.publish(w.nobody, "cart: 3", map[string]string{"apps/cart.yaml": configMap("cart", "3")})
	w.once(tr)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(tr.Metrics()...)
	for name, want := range map[string]float64{
		"gate_commits_verified_total":  1,
		"gate_revisions_refused_total": 1,
		"gate_repository_refused":      1,
		"gate_snapshot_objects":        1,
		"gate_fetches_total":           1,
	} {
		if got := sum(t, registry, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if got, want := sum(t, registry, "gate_repository_heard_timestamp_seconds"), float64(tr.Status()[0].Heard.UnixMilli())/1000; got != want {
		t.Errorf("heard at %v, want %v", got, want)
	}
}

func sum(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return total
}

// Commits that come at once: an agent looked at the branch between two of them. What it applies is as acceptable here as to a replica that fetched more often,
// and one that does not render stands in nobody's way.
func TestCommitsThatComeAtOnceWereEachTheTruth(t *testing.T) {
	w := newWorld(t)
	const lately = 16 // commits behind the newest
	tracker := w.start(nil)
	w.once(tracker)
	var ids []git.ID
	for n := range lately + 4 {
		text := configMap("cart", fmt.Sprint(n+2))
		if n == lately {
			text = "kind: [unclosed\n"
		}
		ids = append(ids, w.publish(w.alice, "push", map[string]string{"apps/cart.yaml": text}))
	}
	w.once(tracker)
	w.at(tracker, ids[len(ids)-1])
	accepted := map[git.ID]bool{}
	for _, s := range tracker.Truth().Recent {
		for _, r := range s.Revisions {
			accepted[r.Commit.ID] = true
		}
	}
	for n, id := range ids[:len(ids)-1] {
		if want := n >= len(ids)-1-lately && n != lately; accepted[id] != want {
			t.Errorf("commit %d of %d: accepted %t", n+1, len(ids), accepted[id])
		}
	}
	w.clock.pass(w.gate.Window.Duration + time.Second)
	w.once(tracker)
	if n := len(tracker.Truth().Recent); n > 0 {
		t.Errorf("after the window %d are accepted still", n)
	}
}
