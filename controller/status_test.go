package controller

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/track"
)

const documents = `
apiVersion: commitgate.dev/v1alpha1
kind: Gate
metadata: {name: demo}
spec:
  agents: [{name: flux, preset: Flux, users: [flux]}]
  roots: [{repository: infra, path: .}]
  exemptions:
  - {name: hpa, fields: [spec.replicas], reason: autoscaling}
  - {name: ops, users: [ops], reason: moving house, expires: "2026-12-01T00:00:00Z"}
---
apiVersion: commitgate.dev/v1alpha1
kind: TrustedRepository
metadata: {name: infra}
spec: {url: /srv/infra.git, branch: main, staleAfter: 1h, anchor: {commit: "1111111111111111111111111111111111111111"}}
`

var (
	now    = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	first  = git.ID(strings.Repeat("1", 40))
	second = git.ID(strings.Repeat("2", 40))
)

func served(t *testing.T) State {
	t.Helper()
	cfg, err := v1alpha1.Parse("gate.yaml", []byte(documents))
	if err != nil {
		t.Fatal(err)
	}
	return State{Config: cfg, Truth: new(snapshot.Truth), Repositories: []track.Status{
		{Repository: "infra", Head: first, Heard: now, Verified: first, Published: first},
	}}
}

// what is a condition in a word: its reason, with - before it if it does not hold and ? if nobody knows.
func what(list []metav1.Condition, kind string) string {
	c := meta.FindStatusCondition(list, kind)
	switch {
	case c == nil:
		return ""
	case c.Status == metav1.ConditionFalse:
		return "-" + c.Reason
	case c.Status == metav1.ConditionUnknown:
		return "?" + c.Reason
	}
	return c.Reason
}

func TestRepositoryStatus(t *testing.T) {
	for name, test := range map[string]struct {
		change                           func(*State, *v1alpha1.TrustedRepository)
		fetched, verified, ready, served string
		says                             string
	}{
		"all is well": {fetched: "Current", verified: "Current", ready: "Current", served: "Current"},
		"before the first fetch": {
			change:  func(s *State, _ *v1alpha1.TrustedRepository) { s.Repositories[0] = track.Status{Repository: "infra"} },
			fetched: "?Waiting", verified: "?Waiting", ready: "-Waiting", served: "Current",
		},
		"the Git host has gone, the truth stays": {
			change:  func(s *State, _ *v1alpha1.TrustedRepository) { s.Repositories[0].FetchError = "connection refused" },
			fetched: "-Failed", verified: "Current", ready: "Current", served: "Current", says: "connection refused",
		},
		"the Git host has been gone for too long": {
			change:  func(s *State, _ *v1alpha1.TrustedRepository) { s.Repositories[0].Heard = now.Add(-2 * time.Hour) },
			fetched: "Current", verified: "Current", ready: "-Stale", served: "Current",
		},
		"a commit that nobody trusted signed": {
			change: func(s *State, _ *v1alpha1.TrustedRepository) {
				s.Repositories[0].Head = second
				s.Repositories[0].Refused = &track.Refusal{Commit: second, Stage: track.StageVerify, Why: "no signature"}
			},
			fetched: "Current", verified: "-Refused", ready: "-Refused", served: "Current", says: "commit 2222222 is refused (verify): no signature",
		},
		"a signed commit that does not render": {
			change: func(s *State, _ *v1alpha1.TrustedRepository) {
				s.Repositories[0].Head, s.Repositories[0].Verified = second, second
				s.Repositories[0].Refused = &track.Refusal{Commit: second, Stage: track.StageRender, Why: "a.yaml:3: no kind"}
			},
			fetched: "Current", verified: "Current", ready: "-Refused", served: "Current", says: "a.yaml:3",
		},
		"the object says another branch than the gate goes by": {
			change:  func(_ *State, r *v1alpha1.TrustedRepository) { r.Spec.Branch = "other" },
			fetched: "Current", verified: "Current", ready: "Current", served: "-Differs", says: "spec.branch",
		},
		"the gate has another repository": {
			change: func(_ *State, r *v1alpha1.TrustedRepository) { r.Name = "other" },
			ready:  "-Unknown", served: "-Unknown",
		},
		"a changed configuration was not taken": {
			change: func(s *State, r *v1alpha1.TrustedRepository) {
				r.Spec.Branch, s.Invalid = "refs/heads/x", "spec.branch: without refs/heads/"
			},
			fetched: "Current", verified: "Current", ready: "Current", served: "-Invalid", says: "without refs/heads/",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := served(t)
			r := s.Config.Repositories[0].DeepCopy()
			r.Generation = 7
			if test.change != nil {
				test.change(&s, r)
			}
			got := repositoryStatus(r, s, now)
			have := [...]string{what(got.Conditions, "Fetched"), what(got.Conditions, "Verified"), what(got.Conditions, "Ready"), what(got.Conditions, "Served")}
			if want := [...]string{test.fetched, test.verified, test.ready, test.served}; have != want {
				t.Errorf("conditions %v, want %v", have, want)
			}
			said := ""
			for _, c := range got.Conditions {
				said += c.Message + "\n"
			}
			if !strings.Contains(said, test.says) {
				t.Errorf("the messages do not say %q:\n%s", test.says, said)
			}
			if got.ObservedGeneration != 7 {
				t.Errorf("observed generation %d", got.ObservedGeneration)
			}
		})
	}
}

// A status in which nothing changed is not written: times stay, and that of the last answer moves in steps.
func TestStatusRests(t *testing.T) {
	s := served(t)
	r := s.Config.Repositories[0].DeepCopy()
	r.Status = repositoryStatus(r, s, now)
	s.Repositories[0].Heard = now.Add(time.Minute)
	again := repositoryStatus(r, s, now.Add(time.Minute))
	if !again.Heard.Equal(r.Status.Heard) || !again.Conditions[0].LastTransitionTime.Equal(&r.Status.Conditions[0].LastTransitionTime) {
		t.Errorf("a fetch changed the status:\n%v\n%v", r.Status, again)
	}
	s.Repositories[0].Heard = now.Add(time.Hour)
	if later := repositoryStatus(r, s, now.Add(time.Hour)); !later.Heard.Time.Equal(now.Add(time.Hour)) {
		t.Errorf("heard %v", later.Heard)
	}
}

func TestGateStatus(t *testing.T) {
	s := served(t)
	g := s.Config.Gate.DeepCopy()
	g.Spec.Mode, g.Spec.Scope, g.Spec.Window = "", "", metav1.Duration{} // as people write it: the rest are defaults
	got := gateStatus(g, s, now)
	if what(got.Conditions, "Ready") != "Current" || what(got.Conditions, "Served") != "Current" || got.Exemptions != "2, next ends 2026-12-01" {
		t.Errorf("have %+v", got)
	}
	if got := gateStatus(g, s, now.AddDate(0, 1, 0)); got.Exemptions != "1; 1 ended" {
		t.Errorf("after one has ended: %q", got.Exemptions)
	}
	g.Spec.Exemptions[1].Expires = nil // somebody prolongs it in the cluster only
	if got := gateStatus(g, s, now); what(got.Conditions, "Served") != "-Differs" {
		t.Errorf("have %+v", got)
	}
	s.Repositories[0].Published = ""
	if got := gateStatus(g, s, now); what(got.Conditions, "Ready") != "-Waiting" {
		t.Errorf("have %+v", got)
	}
	s.Invalid = "spec.agents: required"
	if got := gateStatus(g, s, now); what(got.Conditions, "Ready") != "-Invalid" || what(got.Conditions, "Served") != "-Invalid" {
		t.Errorf("have %+v", got)
	}
}

// Whoever looks at the Gate sees that an agent will ask as somebody whom it does not list, and where Git says so.
func TestAGateSaysWhomItDoesNotList(t *testing.T) {
	s := served(t)
	g := s.Config.Gate.DeepCopy()
	if got := what(gateStatus(g, s, now).Conditions, "Listed"); got != "?Waiting" {
		t.Errorf("before the first revision: %q", got)
	}
	set := new(manifest.Set)
	s.Truth = &snapshot.Truth{Current: snapshot.New(snapshot.Parts{Rendered: set}, nil)}
	if got := what(gateStatus(g, s, now).Conditions, "Listed"); got != "Current" {
		t.Errorf("with nobody to list: %q", got)
	}
	set.Unlisted = []manifest.Unlisted{{Agent: "flux", User: "system:serviceaccount:teams:deployer", Problem: manifest.Problem{Repository: "infra", Path: "clusters/shop.yaml", Line: 2, What: "it acts as somebody"}}}
	if c := meta.FindStatusCondition(gateStatus(g, s, now).Conditions, "Listed"); c == nil || c.Status != metav1.ConditionFalse || c.Reason != "Unlisted" || c.Message != "infra:clusters/shop.yaml:2: it acts as somebody" {
		t.Errorf("with somebody who is not: %+v", c)
	}
}

// A grant of a gate that knows nobody who may sign opens nothing, and its status says so.
func TestGrantStatus(t *testing.T) {
	got := grantStatus(&v1alpha1.Grant{}, served(t), now)
	if got.State != "Refused" || !strings.Contains(got.Message, "no breakGlass") {
		t.Errorf("have %+v", got)
	}
}

func TestMessagesAreBounded(t *testing.T) {
	if got := short(strings.Repeat("é", maxMessage)); len(got) > maxMessage+len("…") || !strings.HasSuffix(got, "é…") {
		t.Errorf("%d bytes, ending %q", len(got), got[len(got)-8:])
	}
}
