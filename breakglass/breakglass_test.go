package breakglass

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/test/forge"
)

var (
	begin = time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	night = begin.Add(time.Hour)
)

// responders are people with real keys, and a grant that a tired one of them wrote.
type responders struct {
	t          *testing.T
	alice, bob *forge.Person
	authority  *Authority
	dir        string
}

func newResponders(t *testing.T) *responders {
	t.Helper()
	f, err := forge.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &responders{t: t, dir: t.TempDir()}
	if r.alice, err = f.WithSSHKey(t.Context(), "Alice", "alice@example.org"); err != nil {
		t.Fatal(err)
	}
	if r.bob, err = f.WithSSHKey(t.Context(), "Bob", "bob@example.org"); err != nil {
		t.Fatal(err)
	}
	r.authority, err = NewAuthority(&v1alpha1.GateSpec{Cluster: "shop", BreakGlass: &v1alpha1.BreakGlass{
		Signers: []v1alpha1.Signer{r.alice.Signer(), r.bob.Signer()}, Threshold: 2, MaxDuration: metav1.Duration{Duration: 4 * time.Hour},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func incident() *v1alpha1.Grant {
	g := &v1alpha1.Grant{Spec: v1alpha1.GrantSpec{
		Cluster: "shop", Users: []string{"carol"}, Namespaces: []string{"shop"}, Kinds: []string{"Deployment"}, Operations: []string{"UPDATE"},
		From: metav1.NewTime(begin), Until: metav1.NewTime(begin.Add(2 * time.Hour)), Uses: 2, Reason: "the cart is down", Ticket: "INC-7", RequestedBy: "carol",
	}}
	g.Name = "inc-7"
	return g
}

// sign signs a text as ssh-keygen does.
func (r *responders) sign(p *forge.Person, namespace string, text []byte) string {
	r.t.Helper()
	file := filepath.Join(r.dir, "text")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		r.t.Fatal(err)
	}
	_ = os.Remove(file + ".sig")
	if out, err := exec.CommandContext(r.t.Context(), "ssh-keygen", "-Y", "sign", "-n", namespace, "-f", p.KeyFile(), file).CombinedOutput(); err != nil {
		r.t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	sig, err := os.ReadFile(file + ".sig")
	if err != nil {
		r.t.Fatal(err)
	}
	return string(sig)
}

func (r *responders) signed(g *v1alpha1.Grant, people ...*forge.Person) *v1alpha1.Grant {
	r.t.Helper()
	text, err := Statement(g)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range people {
		g.Signatures = append(g.Signatures, r.sign(p, Namespace, text))
	}
	return g
}

func TestJudge(t *testing.T) {
	r := newResponders(t)
	tests := map[string]struct {
		grant func() *v1alpha1.Grant
		want  string // "" is good
	}{
		"two people sign":        {func() *v1alpha1.Grant { return r.signed(incident(), r.alice, r.bob) }, ""},
		"one person signs":       {func() *v1alpha1.Grant { return r.signed(incident(), r.alice) }, "1 of 2 signatures"},
		"one person signs twice": {func() *v1alpha1.Grant { return r.signed(incident(), r.alice, r.alice) }, "1 of 2 signatures"},
		"it is widened after it is signed": {func() *v1alpha1.Grant {
			g := r.signed(incident(), r.alice, r.bob)
			g.Spec.Namespaces = []string{"*"}
			return g
		}, "0 of 2"},
		"it is renamed after it is signed": {func() *v1alpha1.Grant { g := r.signed(incident(), r.alice, r.bob); g.Name = "again"; return g }, "0 of 2"},
		"signed for another cluster":       {func() *v1alpha1.Grant { g := incident(); g.Spec.Cluster = "bank"; return r.signed(g, r.alice, r.bob) }, `for cluster "bank"`},
		"for everybody": {func() *v1alpha1.Grant {
			g := incident()
			g.Spec.Groups = []string{"system:authenticated"}
			return r.signed(g, r.alice, r.bob)
		}, "is everybody"},
		"an operation in lower case, which would cover nothing": {func() *v1alpha1.Grant {
			g := incident()
			g.Spec.Operations = []string{"update"}
			return r.signed(g, r.alice, r.bob)
		}, `operation "update": want`},
		"a pattern that never matches": {func() *v1alpha1.Grant {
			g := incident()
			g.Spec.Names = []string{"cart["}
			return r.signed(g, r.alice, r.bob)
		}, `pattern "cart["`},
		"for longer than the gate allows": {func() *v1alpha1.Grant {
			g := incident()
			g.Spec.Until = metav1.NewTime(begin.Add(24 * time.Hour))
			return r.signed(g, r.alice, r.bob)
		}, "more than 4h"},
		"a commit's signature": {func() *v1alpha1.Grant {
			g := incident()
			text, _ := Statement(g)
			g.Signatures = []string{r.sign(r.alice, "git", text), r.sign(r.bob, "git", text)}
			return g
		}, `made for "git"`},
		"a signature of its revocation": {func() *v1alpha1.Grant {
			g := incident()
			text, _ := RevocationStatement(g, "")
			g.Signatures = []string{r.sign(r.alice, Namespace, text), r.sign(r.bob, Namespace, text)}
			return g
		}, "0 of 2"},
		"revoked by one": {func() *v1alpha1.Grant { return r.revoked(r.alice) }, ""},
		"revoked by nobody": {func() *v1alpha1.Grant {
			g := r.signed(incident(), r.alice, r.bob)
			g.Revocation = &v1alpha1.Revocation{Reason: "x"}
			return g
		}, "signed by nobody"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := r.authority.Judge(tt.grant(), night)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func (r *responders) revoked(by *forge.Person) *v1alpha1.Grant {
	g := r.signed(incident(), r.alice, r.bob)
	text, err := RevocationStatement(g, "the cart is up")
	if err != nil {
		r.t.Fatal(err)
	}
	g.Revocation = &v1alpha1.Revocation{Reason: "the cart is up", Signatures: []string{r.sign(by, Namespace, text)}}
	return g
}

var cart = manifest.Key{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "cart"}

func TestCovering(t *testing.T) {
	r := newResponders(t)
	s, err := Open(r.authority, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Observe(r.signed(incident(), r.alice, r.bob), night); err != nil {
		t.Fatal(err)
	}
	good := Question{User: "carol", Operation: "UPDATE", Object: cart}
	tests := map[string]struct {
		change func(*Question)
		at     time.Time
		want   bool
	}{
		"what it says":                  {func(*Question) {}, night, true},
		"another user":                  {func(q *Question) { q.User = "mallory" }, night, false},
		"another operation":             {func(q *Question) { q.Operation = "DELETE" }, night, false},
		"another namespace":             {func(q *Question) { q.Object.Namespace = "bank" }, night, false},
		"another kind":                  {func(q *Question) { q.Object.Kind = "Secret" }, night, false},
		"a subresource":                 {func(q *Question) { q.Subresource = "scale" }, night, false},
		"a way to the agent's identity": {func(q *Question) { q.AgentIdentity = true }, night, false},
		"a cluster-scoped object":       {func(q *Question) { q.Object.Namespace = "" }, night, false},
		"before its time":               {func(*Question) {}, begin.Add(-time.Second), false},
		"when its time is over":         {func(*Question) {}, begin.Add(2 * time.Hour), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := good
			tt.change(&q)
			if got := s.Set().Covering(q, tt.at) != nil; got != tt.want {
				t.Errorf("covered: %t", got)
			}
		})
	}
}

// A grant that was used up, revoked or deleted stays over: after a restart, with the clock set back, and brought again.
func TestOverIsOver(t *testing.T) {
	r := newResponders(t)
	dir := t.TempDir()
	open := func() *Store {
		s, err := Open(r.authority, dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Observe(r.signed(incident(), r.alice, r.bob), night); err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	if err := s.Use(t.Context(), "inc-7", night); err != nil {
		t.Fatal(err)
	}
	s = open()
	if err := s.Use(t.Context(), "inc-7", night.Add(30*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := open().Use(t.Context(), "inc-7", night); err == nil {
		t.Error("a grant of two uses is used three times, by a restart")
	}
	q := Question{User: "carol", Operation: "UPDATE", Object: cart}
	if g := open().Set().Covering(q, night); g != nil {
		t.Error("a used up grant covers")
	}

	longer := incident()
	longer.Name, longer.Spec.Uses = "inc-8", 0
	s = open()
	if err := s.Observe(r.signed(longer, r.alice, r.bob), night); err != nil {
		t.Fatal(err)
	}
	if err := s.Use(t.Context(), "inc-8", night); err != nil {
		t.Fatal(err)
	}
	if err := s.Use(t.Context(), "inc-8", begin.Add(3*time.Hour)); err == nil {
		t.Error("a grant is used after its end")
	}
	if err := s.Observe(r.revoked(r.bob), night); err != nil {
		t.Fatal(err)
	}
	for _, st := range s.Set().Standings(night) {
		if st.Name == "inc-7" && st.State != Revoked {
			t.Errorf("%s is %s", st.Name, st.State)
		}
	}
	if err := s.Forget("inc-8"); err != nil {
		t.Fatal(err)
	}
	if err := s.Use(t.Context(), "inc-8", night); err == nil {
		t.Error("a deleted grant is used")
	}
	if err := os.WriteFile(filepath.Join(dir, "uses.json"), []byte(`{"schema":1`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(r.authority, dir); err == nil {
		t.Error("damaged counts are forgotten")
	}
}

// A grant that ended is signed as well as ever. Whoever kept the file brings it again: without its revocation, after it was deleted (also while the
// gate was down), or with a clock set back to before its end.
func TestGrantBroughtAgain(t *testing.T) {
	r := newResponders(t)
	unlimited := func() *v1alpha1.Grant {
		g := incident()
		g.Spec.Uses = 0
		return r.signed(g, r.alice, r.bob)
	}
	revoked := func() *v1alpha1.Grant {
		g := unlimited()
		text, err := RevocationStatement(g, "the cart is up")
		if err != nil {
			t.Fatal(err)
		}
		g.Revocation = &v1alpha1.Revocation{Reason: "the cart is up", Signatures: []string{r.sign(r.bob, Namespace, text)}}
		return g
	}
	tests := map[string]struct {
		end  func(s *Store) error
		down func(s *Store) error // after a restart
		want State
	}{
		"revoked":                         {end: func(s *Store) error { return s.Observe(revoked(), night) }, want: Revoked},
		"deleted":                         {end: func(s *Store) error { return s.Forget("inc-7") }, want: Deleted},
		"deleted while the gate was down": {down: (*Store).Listed, want: Deleted},
		"over, and the clock is set back": {end: func(s *Store) error { return s.Settle(begin.Add(2 * time.Hour)) }, want: Expired},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			open := func() *Store {
				s, err := Open(r.authority, dir)
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			s := open()
			if err := s.Observe(unlimited(), night); err != nil {
				t.Fatal(err)
			}
			q := Question{User: "carol", Operation: "UPDATE", Object: cart}
			if s.Set().Covering(q, night) == nil {
				t.Fatal("a good grant does not cover")
			}
			if tt.end != nil {
				if err := tt.end(s); err != nil {
					t.Fatal(err)
				}
				over(t, s, unlimited(), q, tt.want)
			}
			s = open()
			if tt.down != nil {
				if err := tt.down(s); err != nil {
					t.Fatal(err)
				}
			}
			over(t, s, unlimited(), q, tt.want)
			if err := s.Set().Judge(revoked(), night); err != nil {
				t.Errorf("a revocation is refused: %v", err)
			}
		})
	}
}

func over(t *testing.T, s *Store, again *v1alpha1.Grant, q Question, want State) {
	t.Helper()
	if err := s.Set().Judge(again, night); !errors.Is(err, ErrSpent) {
		t.Errorf("the document is welcome again: %v", err)
	}
	if err := s.Observe(again, night); !errors.Is(err, ErrSpent) {
		t.Errorf("observed again: %v", err)
	}
	if g := s.Set().Covering(q, night); g != nil {
		t.Error("it covers")
	}
	if err := s.Use(t.Context(), again.Name, night); !errors.Is(err, ErrExhausted) {
		t.Errorf("it is used: %v", err)
	}
	if st := s.Set().Standings(night); len(st) != 1 || st[0].State != want {
		t.Errorf("it stands as %v, want %s", st, want)
	}
}

// A grant that could not be remembered as over could be used for ever: with a disk that takes nothing, none opens, but each still ends.
func TestDiskFull(t *testing.T) {
	r := newResponders(t)
	dir := filepath.Join(t.TempDir(), "grants")
	s, err := Open(r.authority, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Observe(r.signed(incident(), r.alice, r.bob), night); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Use(t.Context(), "inc-7", night); err == nil || errors.Is(err, ErrExhausted) {
		t.Errorf("a use that is not durable: %v", err)
	}
	other := incident()
	other.Name = "inc-8"
	if err := s.Observe(r.signed(other, r.alice, r.bob), night); err == nil {
		t.Error("a grant opens that cannot be remembered")
	}
	if err := s.Forget("inc-7"); err == nil {
		t.Error("the end of a grant is lost without a word")
	}
	if g := s.Set().Covering(Question{User: "carol", Operation: "UPDATE", Object: cart}, night); g != nil {
		t.Errorf("%s covers", g.Name)
	}
}
