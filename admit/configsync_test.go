package admit

import (
	"strings"
	"testing"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
)

// Config Sync lets go of what Git declares no more by taking its marks off; what Git lets others change it applies as it finds it.
func TestConfigSyncLetsGoAndIgnores(t *testing.T) {
	w := newWorld(t, strings.NewReplacer("preset: ArgoCD", "preset: ConfigSync", "argocd:argocd-application-controller", "config-management-system:root-reconciler").Replace(testConfig))
	reconciler := serviceAccount("config-management-system", "root-reconciler")
	is := func(annotations, data string) map[string]any {
		return object(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: shop, annotations: {"+annotations+"}}, data: {color: "+data+"}}")
	}
	const own, marks = "team: shop", "configmanagement.gke.io/managed: enabled, configsync.gke.io/manager: ':root', config.k8s.io/owning-inventory: x, team: shop"
	w.want("all marks are taken off", request(reconciler, is(marks, "blue"), is(own, "blue")), Allow, v1alpha1.ReasonBookkeeping)
	w.want("that of the inventory", request(reconciler, is(marks, "blue"), is(strings.Replace(marks, "config.k8s.io/owning-inventory: x, ", "", 1), "blue")), Allow, v1alpha1.ReasonBookkeeping)
	w.want("and a mark of somebody's own", request(reconciler, is(marks, "blue"), is("", "blue")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("and the content changes", request(reconciler, is(marks, "blue"), is(own, "red")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("a mark changes", request(reconciler, is(marks, "blue"), is(strings.Replace(marks, ":root", "shop", 1), "blue")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("somebody takes them off", request(carol, is(marks, "blue"), is(own, "blue")), Deny, v1alpha1.ReasonNotFromSyncAgent)

	const declared = "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: shop, annotations: {team: shop}}, data: {color: blue}}"
	adds := agent.Metadata{Annotations: map[string]string{"configmanagement.gke.io/token": "2"}}
	w.declareWith("RootSync", agent.Apply{}, adds, declared)
	w.want("while it is declared", request(reconciler, is(marks+", configmanagement.gke.io/token: '2'", "blue"), is(own, "blue")), Deny, v1alpha1.ReasonFieldsDiffer)
	old, now := is("configmanagement.gke.io/token: '1', team: shop", "red"), is("configmanagement.gke.io/token: '2', team: shop", "red")
	w.want("what drifted is not what Git says", request(reconciler, old, now), Deny, v1alpha1.ReasonFieldsDiffer, "data[color]")
	w.declareWith("RootSync", agent.Apply{Ignored: []string{"metadata.labels**", "metadata.annotations**", "data**"}}, adds, declared)
	w.want("it stays where Git ignores its mutation", request(reconciler, old, now), Allow, v1alpha1.ReasonFromGit)
	w.want("but does not change", request(reconciler, old, is("configmanagement.gke.io/token: '2', team: shop", "green")), Deny, v1alpha1.ReasonFieldsDiffer, "data[color]")
	w.want("nor is it made so", request(reconciler, nil, now), Deny, v1alpha1.ReasonFieldsDiffer, "data[color]")
}
