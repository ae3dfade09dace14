package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/test/cluster"
)

// TestEverythingThatControllersDoForGitPasses lives the life of a shop: applied, rolled out, scaled, pruned and deleted, with every
// controller of Kubernetes at work and nothing exempt.
func TestEverythingThatControllersDoForGitPasses(t *testing.T) {
	t.Run("each controller by its own credentials", func(t *testing.T) { life(t, cluster.Config{}) })
	t.Run("all controllers by one", func(t *testing.T) { life(t, cluster.Config{SharedCredentials: true}) })
}

func life(t *testing.T, c cluster.Config) {
	g := start(t, c, "")
	node := g.startNode()
	k := g.person("flux")
	shop, widget := read(t, "shop.yaml"), read(t, "widget.yaml")

	g.declare(shop, widget)
	g.eventually("applied", func() error { return k.try(shop) })
	g.eventually("the custom resource is served", func() error { return k.try(widget) })
	for resource, want := range map[string]string{
		"deployment/web={.status.readyReplicas}":                     "2",
		"deployment/scaled={.status.readyReplicas}":                  "3",
		"statefulset/db={.status.readyReplicas}":                     "2",
		"daemonset/log={.status.numberReady}":                        "1",
		"replicationcontroller/old={.status.readyReplicas}":          "1",
		"pod/alone={.status.phase}":                                  "Running",
		"persistentvolume/disk-0={.status.phase}":                    "Bound",
		"poddisruptionbudget/web={.status.currentHealthy}":           "2",
		"widget/gear={.spec.replicas}":                               "2",
		"clusterrole/all-shops={.rules[0].resources[0]}":             "configmaps",
		"endpoints/web={.subsets[0].ports[0].port}":                  "8080",
		"jobs={.items[?(@.metadata.name=='migrate')].metadata.name}": "",
		"resourcequota/all={.status.used.configmaps}":                "2",
	} {
		k.becomes(resource, want)
	}
	k.becomes("endpointslices={.items[?(@.metadata.generateName=='elsewhere-')].endpoints[0].addresses[0]}", "192.0.2.7")
	g.eventually("the CronJob ran", func() error {
		if k.get("cronjob/report={.status.lastSuccessfulTime}") == "" {
			return errors.New("not yet")
		}
		return nil
	})
	g.expectNoRefusals("the shop opens")

	rolled := strings.NewReplacer("web:1", "web:2", "db:1", "db:2", "log:1", "log:2", "team: red", "team: blue", "replicas: 2\n  selector: {matchLabels: {app: web}}", "replicas: 3\n  selector: {matchLabels: {app: web}}").Replace(shop)
	g.declare(rolled, widget)
	k.apply(rolled)
	k.becomes("deployment/web={.status.readyReplicas} {.status.updatedReplicas} {.status.replicas}", "3 3 3")
	k.becomes("pods={.items[?(@.metadata.labels.app=='db')].spec.containers[0].image}", "registry.example/db:2 registry.example/db:2")
	k.becomes("statefulset/db={.status.readyReplicas} {.status.replicas}", "2 2")
	k.becomes("daemonset/log={.status.updatedNumberScheduled}", "1")
	g.expectNoRefusals("a new version rolls out")

	held := strings.NewReplacer("db:2", "db:3", "  serviceName: db\n", "  serviceName: db\n  updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 2}}\n").Replace(rolled)
	g.declare(held, widget)
	k.apply(held)
	before := k.get("pod/db-0={.metadata.uid}")
	if err := node.Kubelet.CoreV1().Pods("shop").Delete(t.Context(), "db-0", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	g.eventually("the pod is remade from the older revision", func() error {
		if now := k.get("pod/db-0={.metadata.uid} {.spec.containers[0].image} {.status.phase}"); !strings.HasSuffix(now, " registry.example/db:2 Running") || strings.HasPrefix(now, before) {
			return errors.New(now)
		}
		return nil
	})
	g.expectNoRefusals("a rollout is held back")

	orphans := []string{"name: scaled, namespace: shop}\nspec:\n  selector", "kind: DaemonSet"}
	g.declare(without(held, orphans...), widget)
	k.run("delete", "deployment/scaled", "daemonset/log", "--cascade=orphan")
	k.becomes("replicasets={.items[?(@.metadata.labels.app=='scaled')].metadata.ownerReferences}", "")
	g.declare(held, widget)
	k.apply(held)
	k.becomes("replicasets={.items[?(@.metadata.labels.app=='scaled')].metadata.ownerReferences[0].kind}", "Deployment")
	k.becomes("daemonset/log={.status.numberReady}", "1")
	g.expectNoRefusals("orphans are adopted")

	g.declare("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}")
	k.run("delete", "deployment/web", "--cascade=background", "--wait=false")
	k.run("delete", "statefulset/db", "--cascade=foreground", "--wait=false")
	k.run("delete", "daemonset/log", "--cascade=orphan", "--wait=false")
	k.run("delete", "persistentvolumeclaim/cache", "crd/widgets.example.com", "persistentvolume/disk-0", "--wait=false")
	k.becomes("replicasets={.items[?(@.metadata.labels.app=='web')].metadata.name}", "")
	k.becomes("pods={.items[?(@.metadata.labels.app=='db')].metadata.name}", "")
	k.becomes("persistentvolumeclaims={.items[?(@.metadata.labels.app=='db')].metadata.name}", "")
	k.becomes("pods={.items[?(@.metadata.labels.app=='log')].metadata.ownerReferences}", "")
	k.becomes("crd={.items[*].metadata.name}", "")
	g.expectNoRefusals("the shop is pruned")

	g.declare("apiVersion: v1\nkind: Namespace\nmetadata: {name: other}")
	k.run("delete", "namespace/shop", "--wait=false")
	k.becomes("namespaces={.items[?(@.metadata.name=='shop')].metadata.name}", "")
	g.expectNoRefusals("its namespace goes")
	for _, line := range slices.Sorted(maps.Keys(g.asked)) {
		t.Logf("%5d %s", g.asked[line], line)
	}
}

// without leaves out the documents that hold one of these texts.
func without(documents string, texts ...string) string {
	var kept []string
	for _, d := range strings.Split(documents, "\n---\n") {
		if !slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(d, text) }) {
			kept = append(kept, d)
		}
	}
	return strings.Join(kept, "\n---\n")
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// person is somebody with kubectl.
type person struct {
	*gate
	kubeconfig string
}

// person is a member of system:masters by this name.
func (g *gate) person(name string) *person {
	g.t.Helper()
	user, err := g.cluster.User(name, "system:masters")
	if err != nil {
		g.t.Fatal(err)
	}
	kubeconfig, err := g.cluster.Kubeconfig(name, user)
	if err != nil {
		g.t.Fatal(err)
	}
	return &person{g, kubeconfig}
}

// try applies documents as Flux does.
func (p *person) try(documents string) error {
	var out []string
	for _, text := range strings.Split(documents, "\n---\n") {
		content := parse(p.t, text)
		meta, _ := content["metadata"].(map[string]any)
		all, _ := meta["labels"].(map[string]any)
		if all == nil {
			all = map[string]any{}
		}
		for k, v := range labels {
			all[k] = v
		}
		meta["labels"] = all
		b, err := yaml.Marshal(content)
		if err != nil {
			return err
		}
		out = append(out, string(b))
	}
	_, err := p.cluster.Kubectl(p.t.Context(), p.kubeconfig, strings.Join(out, "---\n"), "apply", "--server-side", "--force-conflicts", "--field-manager=kustomize-controller", "-f", "-")
	return err
}

func (p *person) apply(documents string) {
	p.t.Helper()
	if err := p.try(documents); err != nil {
		p.t.Fatal(err)
	}
}

// run is kubectl in the shop.
func (p *person) run(args ...string) {
	p.t.Helper()
	if _, err := p.kubectl(p.t.Context(), args...); err != nil {
		p.t.Error(err)
	}
}

func (p *person) kubectl(ctx context.Context, args ...string) (string, error) {
	return p.cluster.Kubectl(ctx, p.kubeconfig, "", append([]string{"--namespace=shop"}, args...)...)
}

// get is what a resource shows at a path, as RESOURCE=JSONPATH.
func (p *person) get(what string) string {
	resource, path, _ := strings.Cut(what, "=")
	out, err := p.kubectl(p.t.Context(), "get", resource, "-o", "jsonpath="+path)
	var refused *cluster.KubectlError
	if errors.As(err, &refused) {
		return refused.Stderr
	}
	return out
}

func (p *person) becomes(what, want string) {
	p.t.Helper()
	p.eventually(what, func() error {
		if got := p.get(what); got != want {
			return fmt.Errorf("%q, want %q", got, want)
		}
		return nil
	})
}
