package syncagent_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/forge"
	"github.com/commitgate/commitgate/test/syncagent"
)

func TestMain(m *testing.M) { os.Exit(cluster.Isolated(m.Run)) }

func manifests(namespace string) map[string]string {
	return map[string]string{
		"apps/" + namespace + "/namespace.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + namespace + "}\n",
		"apps/" + namespace + "/config.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: ` + namespace + `}
data: {currency: EUR}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: ` + namespace + `}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
`,
		"apps/" + namespace + "/cart.yaml": `apiVersion: apps/v1
kind: Deployment
metadata: {name: cart, namespace: ` + namespace + `}
spec:
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart}}
    spec: {containers: [{name: cart, image: "cart:1"}]}
`,
	}
}

// What makes an agent's requests recognizable, and what accounting must explain, must be as in the recorded traffic of the real ones.
func TestAgentsApplyAndPruneAsTheRealOnesDo(t *testing.T) {
	ctx := t.Context()
	c, err := cluster.Start(ctx, cluster.Config{Dir: t.TempDir()})
	if errors.Is(err, cluster.ErrNotBuilt) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	check(t, err)
	t.Cleanup(func() { check(t, c.Stop()) })
	f, err := forge.New(t.TempDir())
	check(t, err)
	t.Cleanup(func() { check(t, f.Close()) })
	repository, err := f.Create(ctx, "infra")
	check(t, err)
	author := forge.WithoutKey("Alice", "alice@example.com")
	source := func(path string) syncagent.Source {
		return syncagent.Source{URL: repository.URL(), Branch: forge.Branch, Path: path}
	}
	admin, err := c.Kubeconfig("admin", c.Admin())
	check(t, err)
	flux, err := syncagent.NewFlux(c.Admin(), "flux-system", "shop", source("apps/shop"))
	check(t, err)
	argo := syncagent.NewArgoCD(c, admin, "pay", "pay", source("apps/pay"))

	tests := map[string]struct {
		namespace string
		sync      func() ([]string, error)
		marks     []string // in the live object
		created   int
	}{
		"Flux labels and applies on the server's side": {
			namespace: "shop",
			sync:      func() ([]string, error) { return flux.Sync(ctx) },
			marks: []string{"kustomize.toolkit.fluxcd.io/name: shop", "kustomize.toolkit.fluxcd.io/namespace: flux-system",
				"manager: kustomize-controller", "operation: Apply"},
			created: 4,
		},
		"Argo CD annotates and applies on the client's side": {
			namespace: "pay",
			sync:      func() ([]string, error) { return argo.Sync(ctx) },
			marks: []string{"argocd.argoproj.io/tracking-id: pay:apps/Deployment:pay/cart", "manager: argocd-controller", "operation: Update",
				"kubectl.kubernetes.io/last-applied-configuration"},
			created: 4,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := repository.Publish(ctx, author, "add "+test.namespace, manifests(test.namespace))
			check(t, err)
			done, err := test.sync()
			check(t, err)
			if len(done) != test.created {
				t.Errorf("the first sync did %q, want %d objects", done, test.created)
			}
			live, err := c.Kubectl(ctx, admin, "", "get", "deployment", "cart", "--namespace="+test.namespace, "-o", "yaml", "--show-managed-fields")
			check(t, err)
			for _, mark := range test.marks {
				if !strings.Contains(live, mark) {
					t.Errorf("no %q in\n%s", mark, live)
				}
			}
			if done, err := test.sync(); err != nil || len(done) > 0 {
				t.Errorf("a second sync with nothing new did %q: %v", done, err)
			}
			_, err = repository.Publish(ctx, author, "drop "+test.namespace, map[string]string{"apps/" + test.namespace + "/config.yaml": ""})
			check(t, err)
			done, err = test.sync()
			check(t, err)
			pruned := func(line string) bool { return strings.Contains(line, "settings") && strings.Contains(line, "deleted") }
			if !slices.ContainsFunc(done, pruned) {
				t.Errorf("the sync after a file was dropped did %q, want ConfigMap settings deleted", done)
			}
			for began := time.Now(); ; time.Sleep(100 * time.Millisecond) { // what is deleted in the foreground goes when the garbage collector has looked
				out, err := c.Kubectl(ctx, admin, "", "get", "role", "reader", "--namespace="+test.namespace, "--ignore-not-found", "--output=name")
				check(t, err)
				if out == "" {
					break
				}
				if time.Since(began) > 3*time.Minute {
					t.Fatal("the role is still there after the prune")
				}
			}
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
