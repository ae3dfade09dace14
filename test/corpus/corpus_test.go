// Package corpus replays recorded admission traffic through the gate's own code.
package corpus

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/replay"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/track"
	"github.com/commitgate/commitgate/webhook"
)

var update = flag.Bool("update", false, "rewrite verdicts.txt")

// firstCommit is in force where a recording names none.
const firstCommit = "599da88123d17a72b238d1a7dbda230ecf4373a9"

const config = `
apiVersion: commitgate.dev/v1alpha1
kind: TrustedRepository
metadata: {name: flux}
spec:
  url: http://127.0.0.1:18080/flux.git
  branch: main
  anchor: {commit: %s}
---
apiVersion: commitgate.dev/v1alpha1
kind: Gate
metadata: {name: corpus}
spec:
  cluster: corpus
  scope: Declared
  agents:
  - name: flux
    preset: Flux
    users: ["system:serviceaccount:flux-system:kustomize-controller", "system:serviceaccount:flux-system:source-controller"]
    impersonates: ["system:serviceaccount:flux-system:team-a-reconciler"]
---
# What a person made outside Git beside the bootstrap, and Kustomization subst takes values from.
apiVersion: v1
kind: ConfigMap
metadata: {name: cluster-vars, namespace: flux-system}
data: {cluster_name: test-1, tag: 1.2.3}
---
`

// want is the verdict that a class of reviews must get; a class that is not here is decided by configuration.
func want(class string) (admit.Outcome, bool) {
	switch class {
	case "human-drift-of-git-object", "human-delete-of-git-object":
		return admit.Deny, true
	case "agent-apply-matches-git", "agent-prune", "agent-bookkeeping", "agent-noop-or-managedfields-only", "agent-dry-run",
		"human-noop-on-git-object", "human-write-equal-to-git", "human-object-not-in-git":
		return admit.Allow, true
	}
	if strings.HasPrefix(class, "controller-") || class == "node-or-scheduler" {
		return admit.Allow, true
	}
	return admit.Deny, false
}

type recorded struct {
	Marker string          `json:"marker"`
	Review json.RawMessage `json:"review"`
	Label  struct {
		Class string `json:"class"`
		Git   *struct {
			Commit string `json:"commit"`
		} `json:"git"`
	} `json:"label"`
}

// wantEverything is the verdict where no change passes that is not from Git: what people made beside Git is refused, and so is what controllers make of
// that. The answers of each recording are in verdicts.txt, to be read like code.
func wantEverything(class string, got replay.Result) (admit.Outcome, bool) {
	reason := v1alpha1.Reason(got.Reason)
	switch {
	case class == "human-object-not-in-git":
		return admit.Deny, reason != v1alpha1.ReasonUnchanged
	case reason == v1alpha1.ReasonOwnerNotDeclared || reason == v1alpha1.ReasonOwnerUnknown:
		return admit.Deny, false
	}
	return want(class)
}

func TestCorpus(t *testing.T) {
	files, err := filepath.Glob("*.jsonl.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	var verdicts strings.Builder
	for _, scope := range []v1alpha1.Scope{v1alpha1.ScopeDeclared, v1alpha1.ScopeEverything} {
		for _, file := range files {
			name := strings.TrimSuffix(file, ".jsonl.gz")
			t.Run(string(scope)+"/"+name, func(t *testing.T) {
				counts := replayFile(t, file, scope)
				for _, k := range slices.Sorted(maps.Keys(counts)) {
					fmt.Fprintf(&verdicts, "%-10s %-22s %6d  %s\n", scope, name, counts[k], k)
				}
			})
		}
	}
	if *update {
		if err := os.WriteFile("verdicts.txt", []byte(verdicts.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile("verdicts.txt")
	if err != nil {
		t.Fatal(err)
	}
	if t.Failed() || string(golden) == verdicts.String() {
		return
	}
	was, is := strings.Split(string(golden), "\n"), strings.Split(verdicts.String(), "\n")
	for _, line := range was {
		if !slices.Contains(is, line) {
			t.Errorf("not any more: %s", line)
		}
	}
	for _, line := range is {
		if !slices.Contains(was, line) {
			t.Errorf("now: %s", line)
		}
	}
	t.Log("-update rewrites verdicts.txt: read the difference")
}

// replayFile judges a recording, and counts the answers by class of review, verdict and reason.
func replayFile(t *testing.T, file string, scope v1alpha1.Scope) map[string]int {
	items, lines := readFile(t, file)
	crds := replay.CRDs(items)
	truths := map[string]*snapshot.Truth{}
	commit := firstCommit
	for _, l := range lines {
		if l.Label.Git != nil && l.Label.Git.Commit != "" {
			commit = l.Label.Git.Commit
			break
		}
	}
	builtin, err := account.NewTypes(crds)
	if builtin == nil {
		t.Fatal(err)
	}
	load := func(commit string) *v1alpha1.Config {
		cfg := load(t, commit)
		cfg.Gate.Spec.Scope = scope
		return cfg
	}
	player := &replay.Player{Gate: admit.New(load(commit), builtin), Live: new(live.Store), Now: time.Now()}
	counts := map[string]int{}
	checked := 0
	for i, l := range lines {
		if l.Label.Git != nil && l.Label.Git.Commit != "" {
			commit = l.Label.Git.Commit
		}
		if truths[commit] == nil {
			truths[commit] = truthAt(t, load(commit), crds)
		}
		player.Truth = truths[commit]
		if items[i].Err != nil {
			t.Fatalf("line %d: %v", i+1, items[i].Err)
		}
		got := player.Judge(t.Context(), items[i].Request)
		if again, err := webhook.Decode(l.Review); err != nil || !reflect.DeepEqual(again, items[i].Request) {
			t.Errorf("review %d (%s): judging changed what was read, in which an object and its old one share what is equal", i+1, l.Label.Class)
		}
		if got.Verdict == admit.Error.String() {
			t.Errorf("review %d (%s): %s", i+1, l.Label.Class, got.Message)
		}
		counts[fmt.Sprintf("%-34s %-5s %s", l.Label.Class, got.Verdict, got.Reason)]++
		verdict, decided := want(l.Label.Class)
		if scope == v1alpha1.ScopeEverything {
			verdict, decided = wantEverything(l.Label.Class, got)
		}
		if !decided || guardsIdentity(got) {
			continue
		}
		checked++
		if got.Verdict != verdict.String() {
			t.Errorf("review %d (%s): %s %s %s/%s by %s: %s, want %s\n%s", i+1, l.Label.Class, got.Operation, got.Resource+"/"+got.Subresource, got.Namespace, got.Name,
				got.User, got.Verdict, verdict, got.Message)
		}
	}
	if checked < len(lines)/3 {
		t.Errorf("only %d of %d reviews have a class that says what is right", checked, len(lines))
	}
	return counts
}

// A commit of the recording left a conflict's markers in one kustomization. Flux applied all the others; so of this commit they are what Git declares.
func TestAPartThatDoesNotRenderIsLeftOut(t *testing.T) {
	cfg := load(t, "512146fc7ee5d7a4248a4c17c073dd9195110dc8")
	truth := truthAt(t, cfg, nil)
	declared := func(kind, namespace, name string) bool {
		return truth.Current.Lookup(manifest.Key{Group: "apps", Kind: kind, Namespace: namespace, Name: name}) != nil
	}
	if !declared("Deployment", "fx-plain", "web-v2") || !declared("Deployment", "fx-team-a", "tenant-app") {
		t.Error("what renders is not declared")
	}
	if declared("Deployment", "fx-prod", "api") {
		t.Error("what does not render is declared")
	}
	if left := truth.Current.Rendered.Unfollowed; len(left) != 1 || !strings.Contains(left[0].String(), "apps/overlays/prod/kustomization.yaml:5: ") || !strings.Contains(left[0].What, "flux-system/prod is left out") {
		t.Errorf("left out: %v", left)
	}
	at := track.AtConfig{Gate: cfg.Gate.Spec, Repositories: cfg.Repositories, Paths: map[string]string{"flux": "flux.bundle"}, Engine: manifest.InProcess{}, Revisions: map[string]string{"flux": cfg.Repositories[0].Spec.Anchor.Commit}}
	var refused *track.Refusal
	if _, err := track.At(t.Context(), at); !errors.As(err, &refused) || refused.Stage != track.StageRender {
		t.Errorf("as a running gate judges it: %v, want a refusal", err)
	}
}

// guardsIdentity: the labels know nothing of the paths to the agent's identity, which are guarded in every scope: whoever may run a pod as the agent
// is the agent.
func guardsIdentity(r replay.Result) bool {
	return r.Reason == string(v1alpha1.ReasonAgentIdentityGuarded)
}

func readFile(t testing.TB, file string) (items []replay.Item, lines []recorded) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(z)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		var l recorded
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if l.Marker != "" {
			continue
		}
		r, err := webhook.Decode(l.Review)
		items, lines = append(items, replay.Item{Line: len(items) + 1, Request: r, Err: err}), append(lines, l)
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	return items, lines
}

func load(t testing.TB, commit string) *v1alpha1.Config {
	t.Helper()
	bootstrap, err := os.ReadFile("flux.bootstrap.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := v1alpha1.Parse("gate.yaml", []byte(fmt.Sprintf(config, commit)+string(bootstrap)))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func truthAt(t testing.TB, cfg *v1alpha1.Config, crds []map[string]any) *snapshot.Truth {
	t.Helper()
	commit := cfg.Repositories[0].Spec.Anchor.Commit
	truth, err := track.At(t.Context(), track.AtConfig{
		Gate: cfg.Gate.Spec, Repositories: cfg.Repositories, Paths: map[string]string{"flux": "flux.bundle"}, Revisions: map[string]string{"flux": commit}, CRDs: crds, Engine: manifest.InProcess{}, Partial: true,
	})
	if err != nil {
		t.Fatalf("at %s: %v", commit, err)
	}
	return truth
}
