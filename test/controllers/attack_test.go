package controllers

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/commitgate/commitgate/test/cluster"
)

const shopOfOne = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {color: blue}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "registry.example/web:1"}]}
`

// TestAnAdministratorChangesNothing: a member of system:masters, whom no authorizer stops, tries what such people try.
func TestAnAdministratorChangesNothing(t *testing.T) {
	g := start(t, cluster.Config{}, "")
	g.startNode()
	flux, carol := g.person(agentUser), g.person("carol")
	g.declare(shopOfOne)
	flux.apply(shopOfOne)
	flux.becomes("deployment/web={.status.readyReplicas}", "1")
	g.expectNoRefusals("the shop opens")
	pod := flux.get("pods={.items[0].metadata.name}")

	for what, args := range map[string][]string{
		"an edit":                             {"set", "image", "deployment/web", "web=evil"},
		"more replicas":                       {"scale", "deployment/web", "--replicas=5"},
		"a restart":                           {"rollout", "restart", "deployment/web"},
		"a label":                             {"label", "deployment/web", "owner=carol"},
		"the agent's label":                   {"label", "configmap/settings", "--overwrite", "kustomize.toolkit.fluxcd.io/name=other"},
		"an owner, for the garbage collector": {"patch", "configmap/settings", "--type=merge", `--patch={"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"gone","uid":"1"}]}}`},
		"a finalizer that keeps it for ever":  {"patch", "configmap/settings", "--type=merge", `--patch={"metadata":{"finalizers":["example.com/stay"]}}`},
		"a false status":                      {"patch", "deployment/web", "--subresource=status", "--type=merge", `--patch={"status":{"observedGeneration":99}}`},
		"a deletion":                          {"delete", "configmap/settings"},
		"a deletion that leaves orphans":      {"delete", "deployment/web", "--cascade=orphan"},
		"a deletecollection":                  {"delete", "configmaps", "--all"},
		"the namespace":                       {"delete", "namespace/shop"},
		"a pod":                               {"delete", "pod/" + pod},
		"an eviction":                         {"drain", cluster.NodeName, "--ignore-daemonsets", "--force"},
		"a shell":                             {"exec", pod, "--", "sh"},
		"a container beside the pod's":        {"debug", pod, "--image=evil", "--container=debugger"},
		"a port":                              {"port-forward", "pod/" + pod, "0:80"},
		"a token":                             {"create", "token", "default"},
		"something new":                       {"create", "configmap", "mine"},
		"a pod of one's own":                  {"run", "mine", "--image=evil"},
		"a server-side apply with the agent's field manager": {"annotate", "configmap/settings", "a=b", "--field-manager=kustomize-controller"},
		"a replacement of itself as the garbage collector":   {"delete", "configmap/settings", "--as=system:serviceaccount:kube-system:generic-garbage-collector"},
		"a deletion as the namespace controller":             {"delete", "configmap/settings", "--as=system:serviceaccount:kube-system:namespace-controller"},
		"a pod's deletion as its kubelet":                    {"delete", "pod/" + pod, "--as=system:node:" + cluster.NodeName, "--as-group=system:nodes"},
		"a pod's deletion as the API server itself":          {"delete", "pod/" + pod, "--as=system:apiserver", "--as-group=system:masters"},
	} {
		if out, err := carol.kubectl(t.Context(), args...); err == nil || !strings.Contains(err.Error(), "gate.commitgate.dev") {
			t.Errorf("%s: got %s %v, want the gate's refusal", what, out, err)
		}
	}
	if got := flux.get("deployment/web={.spec.replicas} {.metadata.labels.owner}") + flux.get("configmap/settings={.data.color}"); got != "1 blue" {
		t.Errorf("the shop is now %q", got)
	}
	g.perfectImpersonation(pod)
	g.refusals()
}

// perfectImpersonation shows the limit that docs/judging.md names: whoever may impersonate a user with its uid and its credential id is that user,
// for the API server and for everybody whom it tells. The gate then holds them to what that user may do, and no more.
func (g *gate) perfectImpersonation(pod string) {
	g.t.Helper()
	config := g.cluster.Admin()
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:kube-system:generic-garbage-collector", UID: "1",
		Extra: map[string][]string{"authentication.kubernetes.io/credential-id": {"JTI=1"}},
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		g.t.Fatal(err)
	}
	dryRun := metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}
	if err := client.CoreV1().Pods("shop").Delete(g.t.Context(), pod, dryRun); err != nil {
		g.t.Errorf("the API server now tells an impersonated credential from a real one: say so in docs/judging.md: %v", err)
	}
	if err := client.CoreV1().ConfigMaps("shop").Delete(g.t.Context(), "settings", dryRun); err == nil || !strings.Contains(err.Error(), "gate.commitgate.dev") {
		g.t.Errorf("as the garbage collector, what has no owner: got %v, want the gate's refusal", err)
	}
}
