package library_test

import (
	"context"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/commitgate/commitgate/policy"
	"github.com/commitgate/commitgate/policy/library"
)

// noon is the time of all tests.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func TestEveryRulePassesItsTestsAndTheyReachAllOfIt(t *testing.T) {
	report, err := policy.Test(context.Background(), library.FS(), ".", policy.TestOptions{Coverage: true, Now: noon})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		if r.Outcome != policy.TestPass {
			t.Errorf("%s:%d: %s: %s %s", r.File, r.Line, r.Name, r.Outcome, r.Msg)
		}
	}
	for _, c := range report.Coverage {
		if c.Missed > 0 {
			t.Errorf("%s: lines %v are not reached", c.File, c.Lines)
		}
	}
}

// copied is what the command copies for some rules.
func copied(t *testing.T, names ...string) fstest.MapFS {
	t.Helper()
	files, err := library.Files(names...)
	if err != nil {
		t.Fatal(err)
	}
	out := fstest.MapFS{}
	for _, name := range files {
		text, err := fs.ReadFile(library.FS(), name)
		if err != nil {
			t.Fatal(err)
		}
		out["policies/"+name] = &fstest.MapFile{Data: text}
	}
	return out
}

// A rule must be good by itself: with its settings as they come, the gate accepts it, and it says what it is.
func TestEveryRuleCanBeCopiedAlone(t *testing.T) {
	rules, err := library.Rules()
	if err != nil || len(rules) < 11 {
		t.Fatalf("%d rules, %v", len(rules), err)
	}
	for _, r := range rules {
		t.Run(r.Name, func(t *testing.T) {
			s, err := policy.LoadUnverified(context.Background(), copied(t, r.Name), "policies", true)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(s.Rules()); n != 1 || s.Rules()[0].Policy != "commitgate."+r.Name {
				t.Errorf("%d policies: %+v", n, s.Rules())
			}
			if r.Title == "" || r.Description == "" || len(r.Controls) == 0 {
				t.Errorf("it does not say what it is, or for which controls: %+v", r)
			}
		})
	}
}

func TestAllOfThemTogether(t *testing.T) {
	rules, err := library.Rules()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range rules {
		names = append(names, r.Name)
	}
	s, err := policy.LoadUnverified(context.Background(), copied(t, names...), "policies", true)
	if err != nil {
		t.Fatal(err)
	}
	in, err := policy.ReadInputs([]byte(careless), policy.Context{Time: noon, Cluster: "prod-1", Origin: []byte(alone)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Decide(context.Background(), in[0])
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range r.Denials {
		if f.Failed {
			t.Errorf("%+v", f)
		}
		found[f.ID] = true
	}
	for _, id := range []string{"four-eyes", "ticket", "image-digest", "no-latest", "resources", "pod-security"} {
		if !found[id] {
			t.Errorf("%s found nothing", id)
		}
	}
	if got := strings.Join(r.Controls(), " "); !strings.Contains(got, "SOC2-CC8.1") {
		t.Errorf("controls: %s", got)
	}
}

func TestANameThatIsNoRule(t *testing.T) {
	for _, name := range []string{"nothing", "../rules", ""} {
		if _, err := library.Files(name); err == nil {
			t.Errorf("%q is a rule", name)
		}
	}
}

const careless = `
apiVersion: v1
kind: Pod
metadata: {name: cart, namespace: shop}
spec:
  hostNetwork: true
  containers: [{name: web, image: nginx}]
`

const alone = `
repository: fleet
commit: 3333333333333333333333333333333333333333
path: apps/shop/cart.yaml
author: {name: Ada, email: ada@example.com, time: "2026-11-20T09:00:00Z"}
committer: {name: Ada, email: ada@example.com, time: "2026-11-20T09:00:00Z"}
message: "cart: a try"
signers: [ada@example.com]
`
