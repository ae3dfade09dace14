// Package corpus replays recorded admission traffic through the gate's own code.
package corpus

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/replay"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/track"
	"github.com/commitgate/commitgate/webhook"
)

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

func TestCorpus(t *testing.T) {
	files, err := filepath.Glob("*.jsonl.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(file, ".jsonl.gz"), func(t *testing.T) { replayFile(t, file) })
	}
}

func replayFile(t *testing.T, file string) {
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
	player := &replay.Player{Gate: admit.New(load(t, commit), builtin), Live: new(live.Store), Now: time.Now()}
	checked := 0
	for i, l := range lines {
		if l.Label.Git != nil && l.Label.Git.Commit != "" {
			commit = l.Label.Git.Commit
		}
		if truths[commit] == nil {
			truths[commit] = truthAt(t, load(t, commit), crds)
		}
		player.Truth = truths[commit]
		if items[i].Err != nil {
			t.Fatalf("line %d: %v", i+1, items[i].Err)
		}
		got := player.Judge(t.Context(), items[i].Request)
		if got.Verdict == admit.Error.String() {
			t.Errorf("review %d (%s): %s", i+1, l.Label.Class, got.Message)
		}
		verdict, decided := want(l.Label.Class)
		if !decided || guardsIdentity(got) {
			continue
		}
		checked++
		if got.Verdict != verdict.String() {
			t.Errorf("review %d (%s): %s %s %s/%s by %s: %s, want %s\n%s", i+1, l.Label.Class, got.Operation, got.Resource+"/"+got.Subresource, got.Namespace, got.Name,
				got.User, got.Verdict, verdict, got.Message)
		}
	}
	if checked < len(lines)/2 {
		t.Errorf("only %d of %d reviews have a class that says what is right", checked, len(lines))
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
		Gate: cfg.Gate.Spec, Repositories: cfg.Repositories, Paths: map[string]string{"flux": "flux.bundle"}, Revisions: map[string]string{"flux": commit}, CRDs: crds,
	})
	if err != nil {
		t.Fatalf("at %s: %v", commit, err)
	}
	return truth
}
