package e2e

import (
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/lab"
)

// Nobody gets past the gate, or rid of it, or anywhere with its own token; and whoever changes nothing is let go on.
func TestNobodyGetsPast(t *testing.T) {
	l := stage(t)
	t.Run("ways around", func(t *testing.T) { waysAround(t, l) })
	t.Run("removing the gate", func(t *testing.T) { nobodyRemovesTheGate(t, l) })
	t.Run("the gate's own token", func(t *testing.T) { ownTokenIsWorthLittle(t, l) })
	t.Run("a write that changes nothing", func(t *testing.T) { noChangeIsAllowed(t, l) })
	sound(t, l)
}

// waysAround are those that people have found, each with the rights of a cluster administrator or of the agent.
func waysAround(t *testing.T, l *lab.Lab) {
	pod := get(t, l, ".items[0].metadata.name", "pods", "--selector=app=cart")
	before := get(t, l, ".items[*].metadata.resourceVersion", "deployments,configmaps,services,serviceaccounts")

	const (
		someonesPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"thief","namespace":"flux-system"},"spec":{"serviceAccountName":"kustomize-controller","containers":[{"name":"sh","image":"sh"}]}}`
	)
	binding := `{"apiVersion":"v1","kind":"Binding","metadata":{"name":"` + pod + `"},"target":{"kind":"Node","name":"evil"}}`
	tests := map[string]struct {
		config string // whose; Carol's if it is empty
		stdin  string
		args   []string
		words  []string
	}{
		"a token for the agent's service account": {
			args: []string{"create", "token", "kustomize-controller", "--namespace=flux-system"}, words: []string{"AgentIdentityGuarded"}},
		"a pod that runs as the agent": {
			stdin: someonesPod, args: []string{"create", "--filename=-"}, words: []string{"Pod flux-system/thief"}},
		"a Secret that becomes a token of the agent": {
			stdin: `{"apiVersion":"v1","kind":"Secret","type":"kubernetes.io/service-account-token","metadata":{"name":"thief","namespace":"flux-system","annotations":{"kubernetes.io/service-account.name":"kustomize-controller"}}}`,
			args:  []string{"create", "--filename=-"}, words: []string{"Secret flux-system/thief"}},
		"a role for oneself": {
			args: []string{"create", "clusterrolebinding", "mine", "--clusterrole=cluster-admin", "--user=mallory"}, words: []string{"AgentIdentityGuarded"}},
		"an owner, so that the garbage collector deletes": {
			args: []string{"patch", "configmap", "settings", "--namespace=shop",
				`--patch={"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"gone","uid":"3d0c5b0e-0000-0000-0000-000000000000"}]}}`},
			words: []string{"NotFromSyncAgent"}},
		"an owner, with the agent's token": {
			config: l.FluxConfig,
			args: []string{"patch", "configmap", "settings", "--namespace=shop",
				`--patch={"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"gone","uid":"3d0c5b0e-0000-0000-0000-000000000000"}]}}`},
			words: []string{"FieldsDiffer", "ownerReferences"}},
		"a finalizer, with the agent's token": {
			config: l.FluxConfig,
			args:   []string{"patch", "configmap", "settings", "--namespace=shop", `--patch={"metadata":{"finalizers":["example.com/stay"]}}`},
			words:  []string{"FieldsDiffer", "finalizers"}},
		"an object of its own, with the agent's token": {
			config: l.FluxConfig,
			args:   []string{"create", "configmap", "mine", "--namespace=shop"}, words: []string{"NotDeclared"}},
		"a declared value taken away, with the agent's token": {
			config: l.FluxConfig,
			args:   []string{"patch", "configmap", "settings", "--namespace=shop", "--type=json", `--patch=[{"op":"remove","path":"/data/checkout"}]`},
			words:  []string{"FieldsDiffer", "checkout"}},
		"scale, with the agent's token": {
			config: l.FluxConfig,
			args:   []string{"scale", "deployment", "cart", "--replicas=9", "--namespace=shop"}, words: []string{"Deployment shop/cart"}},
		"an object of the other agent": {
			config: l.ArgoCDConfig,
			args:   []string{"delete", "configmap", "settings", "--namespace=shop", "--wait=false"}, words: []string{"WrongAgent"}},
		"posing as the garbage collector": {
			args: []string{"delete", "configmap", "settings", "--namespace=shop", "--wait=false",
				"--as=system:serviceaccount:kube-system:generic-garbage-collector", "--as-group=system:masters"},
			words: []string{"Impersonated"}},
		"all of a kind at once": {
			args: []string{"delete", "configmaps", "--all", "--namespace=shop", "--wait=false"}, words: []string{"NotFromSyncAgent"}},
		"the namespace with everything in it": {
			args: []string{"delete", "namespace", "shop", "--wait=false"}, words: []string{"NotFromSyncAgent"}},
		"an ephemeral container": {
			args: []string{"debug", pod, "--namespace=shop", "--image=sh", "--target=cart", "--quiet"}, words: []string{pod}},
		"an eviction": {
			stdin: `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"` + pod + `","namespace":"shop"}}`,
			args:  []string{"create", "--raw=/api/v1/namespaces/shop/pods/" + pod + "/eviction", "--filename=-"}, words: []string{pod}},
		"a binding to a node of one's own": {
			stdin: binding,
			args:  []string{"create", "--raw=/api/v1/namespaces/shop/pods/" + pod + "/binding", "--filename=-"}, words: []string{pod}},
		"a port-forward": {
			stdin: "{}", args: []string{"create", "--raw=/api/v1/namespaces/shop/pods/" + pod + "/portforward?ports=8080", "--filename=-"}, words: []string{"ConnectRefused", pod}},
		"attach": {
			stdin: "{}", args: []string{"create", "--raw=/api/v1/namespaces/shop/pods/" + pod + "/attach?container=cart", "--filename=-"}, words: []string{"ConnectRefused", pod}},
		"a proxy to a service": {
			args: []string{"get", "--raw=/api/v1/namespaces/shop/services/cart:80/proxy/"}, words: []string{"ConnectRefused", "cart"}},
		"a restart": {
			args: []string{"rollout", "restart", "deployment/cart", "--namespace=shop"}, words: []string{"NotFromSyncAgent"}},
		"a dry-run": {
			args: []string{"label", "deployment", "cart", "team=red", "--namespace=shop", "--dry-run=server"}, words: []string{"NotFromSyncAgent"}},
		"a server-side apply in the name of the agent's field manager": {
			stdin: `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings","namespace":"shop"},"data":{"currency":"USD"}}`,
			args:  []string{"apply", "--server-side", "--force-conflicts", "--field-manager=kustomize-controller", "--filename=-"},
			words: []string{"NotFromSyncAgent"}},
		"something that Git does not know": {
			args: []string{"create", "configmap", "notes", "--namespace=shop"}, words: []string{"NotFromSyncAgent"}},
		"a member of system:masters": {
			config: l.AdminConfig,
			args:   []string{"scale", "deployment", "cart", "--replicas=9", "--namespace=shop"}, words: []string{"admin"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			config := test.config
			if config == "" {
				config = l.CarolConfig
			}
			_, err := l.Cluster.Kubectl(t.Context(), config, test.stdin, test.args...)
			refused(t, err, test.words...)
		})
	}
	if after := get(t, l, ".items[*].metadata.resourceVersion", "deployments,configmaps,services,serviceaccounts"); after != before {
		t.Errorf("something changed: resource versions %s, before %s", after, before)
	}
}

// The way round a webhook is to remove it. No webhook is asked about that, so a policy inside the API server is.
func nobodyRemovesTheGate(t *testing.T, l *lab.Lab) {
	tests := map[string][]string{
		"the webhook is deleted":              {"delete", "validatingwebhookconfiguration", "commitgate", "--wait=false"},
		"the webhook is opened":               {"patch", "validatingwebhookconfiguration", "commitgate", "--type=json", `--patch=[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]`},
		"the gate's account gets a new token": {"create", "token", "commitgate", "--namespace=commitgate"},
		"a pod in the gate's namespace":       {"run", "thief", "--image=sh", "--namespace=commitgate"},
	}
	for name, args := range tests {
		t.Run(name, func(t *testing.T) {
			for who, config := range map[string]string{"a cluster administrator": l.CarolConfig, "the agent": l.FluxConfig} {
				_, err := l.Cluster.Kubectl(t.Context(), config, "", args...)
				if err == nil || !strings.Contains(err.Error(), "commitgate guards itself") && !strings.Contains(err.Error(), lab.WebhookName) {
					t.Errorf("%s is not refused: %v", who, err)
				}
			}
		})
	}
	_, err := l.Cluster.Kubectl(t.Context(), l.CarolConfig, "", "scale", "deployment", "cart", "--replicas=9", "--namespace=shop")
	refused(t, err, cart)
}

// A write that changes nothing is nobody's crime.
func noChangeIsAllowed(t *testing.T, l *lab.Lab) {
	for name, config := range map[string]string{"a human": l.CarolConfig, "the agent": l.FluxConfig} {
		t.Run(name, func(t *testing.T) {
			_, err := l.Cluster.Kubectl(t.Context(), config, "", "patch", "deployment", "cart", "--namespace=shop", "--patch={}")
			check(t, err)
			_, err = l.Cluster.Kubectl(t.Context(), config, "", "patch", "deployment", "cart", "--namespace=shop", `--patch={"spec":{"replicas":2}}`)
			check(t, err)
		})
	}
	_, err := l.Cluster.Kubectl(t.Context(), l.CarolConfig, "", "auth", "can-i", "delete", "pods", "--namespace=shop")
	check(t, err) // a question, not a change
}
