package controllers

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/ssa/jsondiff"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/syncagent"
)

// before is what the shop was before Flux came: another image, a variable and a port that Git does not say, and marks of what applied it.
const before = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
  labels: {team: ops}
  annotations: {note: by hand}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "registry.example/web:0", env: [{name: A, value: a}, {name: OLD, value: x}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}, {name: old, port: 81}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {currency: USD, old: x}
`

// after is what Git says.
const after = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "registry.example/web:1", env: [{name: A, value: b}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {currency: EUR}
`

const shopNamespace = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
`

// objectsOf are documents as Flux reads them.
func objectsOf(t *testing.T, documents string) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for _, content := range parseAll(t, documents) {
		out = append(out, &unstructured.Unstructured{Object: content})
	}
	return out
}

// forget lets nothing but the current revision be the truth.
func (g *gate) forget() {
	truth := *g.Truth()
	truth.Recent = nil
	g.truth.Store(&truth)
}

// flux is kustomize-controller with the identity of the agent, for one Kustomization.
func (g *gate) flux(name string) *syncagent.Flux {
	g.t.Helper()
	user, err := g.cluster.User(agentUser, "system:masters")
	if err != nil {
		g.t.Fatal(err)
	}
	f, err := syncagent.NewFlux(user, "flux-system", name, syncagent.Source{})
	if err != nil {
		g.t.Fatal(err)
	}
	return f
}

// TestFluxTakesOver: objects that others applied before come under Git. Flux first patches their managedFields, and the annotation of kubectl away, while
// they still hold what Git does not say.
func TestFluxTakesOver(t *testing.T) {
	g := start(t, cluster.Config{}, withPipeline)
	ci := g.person("ci")
	run := func(stdin string, args ...string) {
		t.Helper()
		if _, err := g.cluster.Kubectl(t.Context(), ci.kubeconfig, stdin, args...); err != nil {
			t.Fatalf("kubectl %v: %v", args, err)
		}
	}
	say := func(agent string, documents ...string) {
		t.Helper()
		g.publish(declared{documents: strings.Join(documents, "\n---\n"), agent: agent, lastApplied: agent != ""})
		g.forget()
	}
	oldFlux := strings.NewReplacer("labels: {team: ops}", "labels: {team: ops, fluxcd.io/sync-gc-mark: sha256.x, kustomize.toolkit.fluxcd.io/name: old, kustomize.toolkit.fluxcd.io/namespace: flux-system}",
		"{note: by hand}", "{note: by hand, kustomize.toolkit.fluxcd.io/checksum: x, fluxcd.io/sync-checksum: x}").Replace(before)
	helms := strings.NewReplacer("labels: {team: ops}", "labels: {team: ops, app.kubernetes.io/managed-by: Helm}",
		"{note: by hand}", "{note: by hand, meta.helm.sh/release-name: web, meta.helm.sh/release-namespace: shop}").Replace(before)
	for i, w := range []struct {
		name, before string
		by           func(documents string)
		keeps        bool // what Git does not say, for it belongs to a manager that Flux leaves alone
	}{
		{"kubectl apply", before, func(d string) { run(d, "apply", "-f", "-") }, false},
		{"kubectl create", before, func(d string) { run(d, "create", "-f", "-") }, false},
		{"kubectl apply --server-side", before, func(d string) { run(d, "apply", "--server-side", "--force-conflicts", "-f", "-") }, false},
		{"kubectl apply, and then edit", before, func(d string) {
			more := strings.Replace(d, "replicas: 3", "replicas: 5", 1)
			say("ci", shopNamespace, more)
			run(more, "apply", "-f", "-")
			say("ci", shopNamespace, d)
			run("", "patch", "deployment/web", "--namespace=w4", "--field-manager=kubectl-edit", "--type=merge", `--patch={"spec":{"replicas":3}}`)
		}, false},
		{"Flux of old, for another Kustomization", oldFlux, func(d string) { run(d, "apply", "--field-manager=kustomize-controller", "-f", "-") }, false},
		{"helm", helms, func(d string) { run(d, "create", "--field-manager=helm", "-f", "-") }, true},
		{"somebody whose managed fields were cleared", before, func(d string) {
			run(d, "apply", "-f", "-")
			for _, object := range []string{"deployment/web", "service/web", "configmap/settings"} {
				run("", "patch", object, "--namespace=w7", "--type=merge", `--patch={"metadata":{"managedFields":[{}]}}`)
			}
			run(d, "apply", "--server-side", "--force-conflicts", "--field-manager=other", "-f", "-")
		}, true},
	} {
		t.Run(w.name, func(t *testing.T) {
			here := strings.NewReplacer("namespace: shop", fmt.Sprint("namespace: w", i+1), "{name: shop}", fmt.Sprintf("{name: w%d}", i+1))
			namespace := fmt.Sprint("--namespace=w", i+1)
			home, old, git := here.Replace(shopNamespace), here.Replace(w.before), here.Replace(after)
			say("ci", home, old)
			run(home, "apply", "-f", "-")
			w.by(old)
			g.expectNoRefusals(w.name)
			say("", home, git)
			if i == 0 {
				g.onlyMarksMayGo(namespace)
			}
			flux := g.flux("shop")
			if done, err := flux.Apply(t.Context(), objectsOf(t, home+"\n---\n"+git)); err != nil {
				t.Errorf("Flux did %q: %v", done, err)
			}
			g.expectNoRefusals("the takeover")
			live, err := g.cluster.Kubectl(t.Context(), ci.kubeconfig, "", "get", "deployment/web", "service/web", "configmap/settings", namespace, "-o", "jsonpath={.items[*].metadata}{.items[*].spec}{.items[*].data}")
			if err != nil {
				t.Fatal(err)
			}
			gone := []string{"web:0", `"replicas":3`, "USD", "last-applied-configuration", "checksum", "gc-mark", `toolkit.fluxcd.io/name":"old"`}
			if !w.keeps {
				gone = append(gone, "OLD", "by hand", `"port":81`)
			}
			for _, text := range gone {
				if strings.Contains(live, text) {
					t.Errorf("%q is still there:\n%s", text, live)
				}
			}
			if done, err := flux.Apply(t.Context(), objectsOf(t, home+"\n---\n"+git)); err != nil || len(done) > 0 {
				t.Errorf("Flux did %q once more: %v", done, err)
			}
			g.expectNoRefusals("the next reconciliation")
		})
	}
}

// onlyMarksMayGo has the agent, and another, do what looks like a takeover. The deployment still is what kubectl made of it.
func (g *gate) onlyMarksMayGo(namespace string) {
	g.t.Helper()
	const mark = `{"op":"remove","path":"/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration"}`
	for what, c := range map[string]struct{ who, object, patch, want string }{
		"an image with it":            {agentUser, "deployment/web", `[` + mark + `,{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"evil"}]`, "image"},
		"another annotation with it":  {agentUser, "deployment/web", `[` + mark + `,{"op":"remove","path":"/metadata/annotations/note"}]`, "FieldsDiffer"},
		"a label with it":             {agentUser, "deployment/web", `[` + mark + `,{"op":"add","path":"/metadata/labels/more","value":"x"}]`, "labels[more]"},
		"another value of it":         {agentUser, "deployment/web", `[` + strings.Replace(mark, `"remove"`, `"replace","value":"{}"`, 1) + `]`, "last-applied-configuration"},
		"a mark that was not there":   {agentUser, "deployment/web", `[{"op":"add","path":"/metadata/annotations/fluxcd.io~1sync-checksum","value":"x"}]`, "sync-checksum"},
		"an object that is not Git's": {agentUser, "serviceaccount/default", `[{"op":"add","path":"/metadata/annotations","value":{"fluxcd.io/sync-checksum":"x"}}]`, "NotDeclared"},
		"somebody else":               {"carol", "deployment/web", `[` + mark + `]`, "NotFromSyncAgent"},
		"another agent":               {"ci", "deployment/web", `[` + mark + `]`, "WrongAgent"},
	} {
		_, err := g.cluster.Kubectl(g.t.Context(), g.person(c.who).kubeconfig, "", "patch", c.object, namespace, "--type=json", "--patch="+c.patch)
		if err == nil || !strings.Contains(err.Error(), "denied the request") || !strings.Contains(err.Error(), c.want) {
			g.t.Errorf("%s: got %v, want a refusal with %q", what, err, c.want)
		}
	}
	g.refusals()
}

const annotated = `
apiVersion: v1
kind: ConfigMap
metadata: {name: merged, namespace: shop, annotations: {kustomize.toolkit.fluxcd.io/ssa: Merge}}
data: {currency: EUR}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: once, namespace: shop, annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}}
data: {currency: EUR}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: new, namespace: shop, annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}}
data: {currency: EUR}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: ignored, namespace: shop, annotations: {kustomize.toolkit.fluxcd.io/ssa: Ignore}}
data: {currency: EUR}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: paused, namespace: shop, annotations: {kustomize.toolkit.fluxcd.io/reconcile: disabled}}
data: {currency: EUR}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kept, namespace: shop, annotations: {kustomize.toolkit.fluxcd.io/prune: disabled}}
data: {currency: EUR}
`

// replaced cannot be changed into what it was not: Flux deletes it, and creates it again.
const replaced = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, annotations: {kustomize.toolkit.fluxcd.io/force: enabled}}
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec: {containers: [{name: web, image: "registry.example/web:1"}]}
`

// TestFluxHeedsItsAnnotations: what Flux does with objects that kubectl has applied before, by what Git says of how to apply them.
func TestFluxHeedsItsAnnotations(t *testing.T) {
	g := start(t, cluster.Config{}, withPipeline)
	ci := g.person("ci")
	old := strings.ReplaceAll(annotated, "{currency: EUR}", "{currency: USD, old: x}")
	old = old[:strings.Index(old, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: new")] + old[strings.Index(old, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: ignored"):]
	web := strings.NewReplacer("app: shop", "app: web", ", annotations: {kustomize.toolkit.fluxcd.io/force: enabled}", "").Replace(replaced)
	all := strings.Join([]string{shopNamespace, old, web}, "\n---\n")
	g.publish(declared{documents: all, agent: "ci", lastApplied: true})
	for _, documents := range []string{shopNamespace, old + "\n---\n" + web} {
		if _, err := g.cluster.Kubectl(t.Context(), ci.kubeconfig, documents, "apply", "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	g.expectNoRefusals("kubectl apply")

	git := strings.Join([]string{shopNamespace, annotated, web}, "\n---\n")
	flux := g.flux("shop")
	g.publish(declared{documents: git})
	g.forget()
	if done, err := flux.Apply(t.Context(), objectsOf(t, git)); err != nil {
		t.Errorf("Flux did %q: %v", done, err)
	}
	g.expectNoRefusals("what Flux does with its annotations")
	for name, want := range map[string]string{
		"merged": `{"currency":"EUR","old":"x"}`, "once": `{"currency":"USD","old":"x"}`, "new": `{"currency":"EUR"}`,
		"ignored": `{"currency":"USD","old":"x"}`, "paused": `{"currency":"USD","old":"x"}`, "kept": `{"currency":"EUR"}`,
	} {
		if have := ci.get("configmap/" + name + "={.data}"); have != want {
			t.Errorf("%s holds %s, want %s", name, have, want)
		}
	}

	for _, forced := range []bool{false, true} {
		git, apply := replaced, agent.Apply{Recreate: true}
		if flux.Force = forced; forced { // by the Kustomization, in place of the object
			git = strings.NewReplacer("app: shop", "app: again", ", annotations: {kustomize.toolkit.fluxcd.io/force: enabled}", "").Replace(git)
		}
		g.publish(declared{documents: shopNamespace}, declared{documents: git})
		g.forget()
		if _, err := flux.Apply(t.Context(), objectsOf(t, git)); err == nil || !strings.Contains(err.Error(), "StillDeclared") {
			t.Errorf("a replacement that Git does not say: %v", err)
		}
		g.refusals()
		g.publish(declared{documents: shopNamespace}, declared{documents: git, apply: apply})
		g.forget()
		if done, err := flux.Apply(t.Context(), objectsOf(t, git)); err != nil {
			t.Errorf("Flux did %q: %v", done, err)
		}
		g.expectNoRefusals("a replacement that Git says")
	}
	if have := ci.get("deployment/web={.spec.selector.matchLabels.app}"); have != "again" {
		t.Errorf("the deployment selects %s", have)
	}
}

// TestHelmControllerCorrectsDrift: with drift detection, helm-controller sends the difference between what is live and what its release says as a JSON patch.
func TestHelmControllerCorrectsDrift(t *testing.T) {
	g := start(t, cluster.Config{}, withPipeline)
	ci := g.person("ci")
	drifted := strings.Replace(web, "replicas: 1", "replicas: 4", 1)
	drifted = strings.NewReplacer("web:1", "web:0", "value: b", "value: z").Replace(drifted)
	all := shopNamespace + "\n---\n" + drifted
	g.publish(declared{documents: all, agent: "ci", lastApplied: true})
	for _, documents := range []string{shopNamespace, drifted} {
		if _, err := g.cluster.Kubectl(t.Context(), ci.kubeconfig, documents, "apply", "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	g.expectNoRefusals("what it was")
	g.publish(declared{documents: shopNamespace + "\n---\n" + web})
	g.forget()

	user, err := g.cluster.User(agentUser, "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(user, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	release := objectsOf(t, web)[0]
	release.SetLabels(labels)
	diff, err := jsondiff.Unstructured(t.Context(), c, release, jsondiff.FieldOwner("helm-controller"), jsondiff.Rationalize(true))
	if err != nil {
		t.Fatal(err)
	}
	if diff.Type != jsondiff.DiffTypeUpdate || len(diff.Patch) < 3 {
		t.Fatalf("%s: %v", diff.Type, diff.Patch)
	}
	send := func(patch any) error {
		b, err := json.Marshal(patch)
		if err != nil {
			t.Fatal(err)
		}
		return c.Patch(t.Context(), release.DeepCopy(), client.RawPatch(types.JSONPatchType, b), client.FieldOwner("helm-controller"))
	}
	if err := send(diff.Patch[:len(diff.Patch)-1]); err == nil || !strings.Contains(err.Error(), "FieldsDiffer") {
		t.Errorf("a part of the difference: %v", err)
	}
	g.refusals()
	if err := send(diff.Patch); err != nil {
		t.Errorf("the difference: %v", err)
	}
	g.expectNoRefusals("the correction")
	if have := ci.get("deployment/web={.spec.replicas} {.spec.template.spec.containers[0].image} {.spec.template.spec.containers[0].env[1].value}"); have != "1 registry.example/web:1 b" {
		t.Errorf("the deployment is %s", have)
	}
}
