package track_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/test/forge"
	"github.com/commitgate/commitgate/track"
)

// allowed is a signer list in OpenSSH's own format.
func allowed(people ...*forge.Person) string {
	list := ""
	for _, p := range people {
		s := p.Signer()
		list += fmt.Sprintf("%s %s\n", s.Principal, s.SSH[0])
	}
	return list
}

func digestOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// An auditor asks of any commit by which list of signers it was judged: the observer is told, and has the bytes.
func TestTheObserverHasEachListThatJudges(t *testing.T) {
	w := newWorld(t)
	w.repositories[0].Spec.SignerList = "signers"
	w.repositories[0].Spec.Rules = []v1alpha1.Rule{{Paths: []string{"signers"}}, {}} // one person may change the list here
	o := &witness{}
	tracker := w.start(o)
	w.once(tracker)
	trust := digestOf(string(o.told[0].Trust))
	if p := o.told[0]; p.Judged != nil || p.Next.Digest != trust || p.Next.Path != "" || len(p.Relisted) > 0 {
		t.Errorf("the anchor, with the configuration's signers: judged by %v, next %+v, relisted %v", p.Judged, p.Next, p.Relisted)
	}

	alone, both := allowed(w.alice), allowed(w.alice, w.bob)
	first := w.publish(w.alice, "alice alone", map[string]string{"signers": alone})
	changed := w.publish(w.alice, "another value", map[string]string{"apps/cart.yaml": configMap("cart", "2")})
	second := w.publish(w.alice, "bob, too", map[string]string{"signers": both})
	w.once(tracker)
	w.at(tracker, second)
	if len(o.told) != 4 { // they came at once, and are told of one by one
		t.Fatalf("%d publications", len(o.told))
	}
	p := o.told[3]
	if p.Judged.Digest != digestOf(alone) || p.Next.Digest != digestOf(both) {
		t.Errorf("judged by %s, next %s", p.Judged.Digest, p.Next.Digest)
	}
	relisted := slices.Concat(o.told[1].Relisted, o.told[2].Relisted, p.Relisted)
	if len(relisted) != 2 || relisted[0].Commit != first || relisted[0].Before != trust || relisted[1].Commit != second || relisted[1].Path != "signers" {
		t.Errorf("relisted: %+v", relisted)
	}
	for e := range tracker.Truth().Current.All() {
		if e.Changed.ID == changed && e.SignerList != digestOf(alone) {
			t.Errorf("%s: judged by %s", e.Key, e.SignerList)
		}
	}
	w.hasBytes(o, trust, digestOf(alone), digestOf(both))

	refused := w.publish(w.mallory, "mine", map[string]string{"apps/cart.yaml": configMap("cart", "3")})
	w.once(tracker)
	if len(o.refused) != 1 || o.refused[0].Commit != refused || o.refused[0].Judged.Digest != digestOf(both) || o.refused[0].Trust == nil {
		t.Errorf("refused: %+v", o.refused)
	}
	w.stop(tracker)

	again := &witness{}
	tracker = w.start(again)
	w.once(tracker)
	w.at(tracker, second)
	if len(again.restored) != 1 || len(again.told) != 0 || again.restored[0].Judged.Digest != digestOf(alone) || len(again.restored[0].Relisted) != 0 {
		t.Errorf("after a restart: restored %+v, published %v", again.restored, again.published)
	}
	w.hasBytes(again, trust, digestOf(alone), digestOf(both))
	w.stop(tracker)

	// What cannot be recorded is not restored.
	deaf := &witness{fail: errors.New("the disk is full")}
	tracker = w.start(deaf)
	if err := tracker.Once(t.Context()); err == nil && tracker.Truth().Current != nil {
		t.Error("a truth whose judges could not be recorded was restored")
	}
}

// A merge is judged by the lists of all its parents: by that of a branch from before a signer was let in, too, and by one that only the branch had.
func TestTheObserverHasTheListsOfWhatWasMerged(t *testing.T) {
	w := newWorld(t)
	w.repositories[0].Spec.SignerList = "signers"
	w.repositories[0].Spec.Rules = []v1alpha1.Rule{{Paths: []string{"signers"}}, {}}
	run := func(args ...string) {
		t.Helper()
		if _, err := w.repo.Git(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	merge := func(branch string) git.ID {
		t.Helper()
		id, err := w.repo.Merge(t.Context(), w.alice, branch, "merge "+branch)
		if err == nil {
			err = w.repo.Push(t.Context(), false)
		}
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	commit := func(files map[string]string) {
		t.Helper()
		for path, content := range files {
			if err := w.repo.Write(path, content); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.repo.Commit(t.Context(), w.alice, "on a branch"); err != nil {
			t.Fatal(err)
		}
	}
	alone, both, reordered := allowed(w.alice), allowed(w.alice, w.bob), allowed(w.bob, w.alice)
	w.publish(w.alice, "alice alone", map[string]string{"signers": alone})
	run("checkout", "--quiet", "-b", "old")
	commit(map[string]string{"apps/cart.yaml": configMap("cart", "2")})
	run("checkout", "--quiet", forge.Branch)
	w.publish(w.alice, "bob, too", map[string]string{"signers": both})
	run("checkout", "--quiet", "-b", "relisted")
	commit(map[string]string{"signers": reordered})
	commit(map[string]string{"apps/till.yaml": configMap("till", "1")})
	run("checkout", "--quiet", forge.Branch)

	o := &witness{}
	tracker := w.start(o)
	w.once(tracker)
	last := func() track.Publication { return o.told[len(o.told)-1] }
	if p := last(); len(p.Merged) != 0 {
		t.Errorf("a commit with one parent: %+v", p.Merged)
	}
	for _, c := range []struct{ branch, merged, next string }{{"old", alone, both}, {"relisted", reordered, reordered}} {
		id := merge(c.branch)
		w.once(tracker)
		w.at(tracker, id)
		p := last()
		if p.Judged.Digest != digestOf(both) || len(p.Merged) != 1 || p.Merged[0].Digest != digestOf(c.merged) || p.Next.Digest != digestOf(c.next) {
			t.Errorf("%s: judged by %+v and %+v, next %+v", c.branch, p.Judged, p.Merged, p.Next)
		}
		w.hasBytes(o, digestOf(both), digestOf(c.merged))
		for e := range tracker.Truth().Current.All() {
			if e.Changed.ID == id && !slices.Equal(e.MergedSignerLists, []string{digestOf(c.merged)}) {
				t.Errorf("%s, %s: %q", c.branch, e.Key, e.MergedSignerLists)
			}
		}
	}
	w.stop(tracker)
	again := &witness{}
	tracker = w.start(again)
	w.once(tracker)
	if p := again.restored[0]; len(p.Merged) != 1 || p.Merged[0].Digest != digestOf(reordered) {
		t.Errorf("after a restart: %+v", p.Merged)
	}
	w.hasBytes(again, digestOf(alone), digestOf(both), digestOf(reordered))
}

func (w *world) hasBytes(o *witness, digests ...string) {
	w.t.Helper()
	for _, d := range digests {
		if digestOf(o.given[d]) != d {
			w.t.Errorf("the list %s was not handed over", d)
		}
	}
}
