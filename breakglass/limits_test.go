package breakglass

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/manifest"
)

// What a grant asks for beyond the limits nobody can sign away.
func TestLimits(t *testing.T) {
	r := newResponders(t)
	r.authority.limits = Limits{v1alpha1.GrantLimits{
		MaxUses: 3, Subjects: []v1alpha1.SubjectKind{v1alpha1.SubjectUser}, Namespaces: []string{"shop", "shop-*"}, Kinds: []string{"Deployment.apps", "Pod", "Secret"},
		Operations: []string{"UPDATE", "CONNECT"}, Subresources: []string{"scale", "exec"}, NoAgentIdentity: true,
		Never: []v1alpha1.GrantNever{{Kinds: []string{"Secret"}}, {Namespaces: []string{"shop-bank"}, Operations: []string{"UPDATE"}}},
	}}
	tests := map[string]struct {
		change func(*v1alpha1.GrantSpec)
		want   string // "" is good
	}{
		"within":                                    {func(*v1alpha1.GrantSpec) {}, ""},
		"more uses":                                 {func(s *v1alpha1.GrantSpec) { s.Uses = 4 }, "at most 3"},
		"any number of uses":                        {func(s *v1alpha1.GrantSpec) { s.Uses = 0 }, "any number"},
		"a group":                                   {func(s *v1alpha1.GrantSpec) { s.Groups = []string{"oncall"} }, "it is for a Group"},
		"a service account":                         {func(s *v1alpha1.GrantSpec) { s.Users = []string{"system:serviceaccount:ci:bot"} }, "it is for a ServiceAccount"},
		"a namespace by a pattern of the limits":    {func(s *v1alpha1.GrantSpec) { s.Namespaces = []string{"shop-a"} }, ""},
		"a narrower pattern":                        {func(s *v1alpha1.GrantSpec) { s.Namespaces = []string{"shop-a*"} }, ""},
		"another namespace":                         {func(s *v1alpha1.GrantSpec) { s.Namespaces = []string{"shop", "bank"} }, `"bank" is beyond`},
		"a pattern that reaches further":            {func(s *v1alpha1.GrantSpec) { s.Namespaces = []string{"sho*"} }, `"sho*" is beyond`},
		"a pattern that could reach further":        {func(s *v1alpha1.GrantSpec) { s.Namespaces = []string{"shop-?", "[s]hop"} }, `"[s]hop" is beyond`},
		"cluster-scoped objects":                    {func(s *v1alpha1.GrantSpec) { s.Namespaces = []string{""} }, "beyond"},
		"every kind":                                {func(s *v1alpha1.GrantSpec) { s.Kinds = []string{"*"} }, `"*" is beyond`},
		"a kind of every group, where one is bound": {func(s *v1alpha1.GrantSpec) { s.Kinds = []string{"Deployment"} }, `"Deployment" is beyond`},
		"every operation":                           {func(s *v1alpha1.GrantSpec) { s.Operations = []string{"*"} }, `"*" is beyond`},
		"a subresource":                             {func(s *v1alpha1.GrantSpec) { s.Subresources = []string{"ephemeralcontainers"} }, "beyond"},
		"the agent's identity":                      {func(s *v1alpha1.GrantSpec) { s.AgentIdentity = true }, "identity"},
		"nothing but what is never granted":         {func(s *v1alpha1.GrantSpec) { s.Kinds = []string{"Secret"} }, "names what no grant covers: Secret"},
		"the same, among others":                    {func(s *v1alpha1.GrantSpec) { s.Kinds = []string{"Secret", "Pod"} }, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := incident()
			g.Spec.Kinds = []string{"Deployment.apps"}
			tt.change(&g.Spec)
			_, err := r.authority.Judge(r.signed(g, r.alice, r.bob), night)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("have %v, want %q", err, tt.want)
			}
		})
	}

	wide := incident()
	wide.Spec.Namespaces, wide.Spec.Kinds = []string{"shop-*"}, []string{"Secret", "Pod"}
	s, err := Open(r.authority, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Observe(r.signed(wide, r.alice, r.bob), night); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		object manifest.Key
		want   bool
	}{
		"what it names":                           {manifest.Key{Kind: "Pod", Namespace: "shop-a"}, true},
		"a kind that is never granted":            {manifest.Key{Kind: "Secret", Namespace: "shop-a"}, false},
		"a namespace in which nothing is granted": {manifest.Key{Kind: "Pod", Namespace: "shop-bank"}, false},
	} {
		if got := s.Set().Covering(Question{User: "carol", Operation: "UPDATE", Object: tt.object}, night) != nil; got != tt.want {
			t.Errorf("%s: covered: %t", name, got)
		}
	}
}

// counterFunc counts as a function does.
type counterFunc func(known, limit int) (int, error)

func (f counterFunc) Claim(_ context.Context, _ string, known, limit int) (int, error) {
	return f(known, limit)
}

// A replica that cannot agree with the others lets no counted grant pass: each would count by itself, and together they would let too many.
func TestAUseThatCannotBeCountedAmongTheReplicasDoesNotPass(t *testing.T) {
	r := newResponders(t)
	s, err := Open(r.authority, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	uncounted := incident()
	uncounted.Name, uncounted.Spec.Uses = "inc-8", 0
	for _, g := range []*v1alpha1.Grant{incident(), uncounted} {
		if err := s.Observe(r.signed(g, r.alice, r.bob), night); err != nil {
			t.Fatal(err)
		}
	}
	away := errors.New("connection refused")
	s.CountWith(counterFunc(func(int, int) (int, error) { return 0, away }))
	if err := s.Use(t.Context(), "inc-7", night); !errors.Is(err, ErrUncounted) || !errors.Is(err, away) {
		t.Errorf("the API server is away: %v", err)
	}
	if err := s.Use(t.Context(), "inc-8", night); err != nil {
		t.Errorf("a grant without a count needs no API server: %v", err)
	}
	s.CountWith(counterFunc(func(known, limit int) (int, error) {
		if known != 0 || limit != 2 {
			t.Errorf("asked with %d of %d", known, limit)
		}
		return 1, nil
	}))
	if err := s.Use(t.Context(), "inc-7", night); err != nil {
		t.Error(err)
	}
	s.CountWith(counterFunc(func(int, int) (int, error) { return 0, ErrExhausted }))
	if err := s.Use(t.Context(), "inc-7", night); !errors.Is(err, ErrExhausted) || errors.Is(err, ErrUncounted) {
		t.Errorf("another replica took the last one: %v", err)
	}
	if g := s.Set().Covering(Question{User: "carol", Operation: "UPDATE", Object: cart}, night); g == nil || g.Name != "inc-8" {
		t.Errorf("the grant that others used up still covers: %v", g)
	}
	again := incident()
	again.Name = "inc-9"
	if err := s.Observe(r.signed(again, r.alice, r.bob), night); err != nil {
		t.Fatal(err)
	}
	s.CountWith(counterFunc(func(int, int) (int, error) { return 1, s.Forget("inc-9") }))
	if err := s.Use(t.Context(), "inc-9", night); !errors.Is(err, ErrExhausted) {
		t.Errorf("deleted while it was counted: %v", err)
	}
}
