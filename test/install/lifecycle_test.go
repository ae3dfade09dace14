package install

import (
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	helmrelease "helm.sh/helm/v4/pkg/release/v1/util"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/test/cluster"
)

// TestUpgradedAndUninstalled does what docs/operate.md says, in its order, with nobody who answers for the gate: the custom resources of a release before this one
// are upgraded and their objects stay, and an uninstallation leaves nothing behind that would block the cluster.
func TestUpgradedAndUninstalled(t *testing.T) {
	ctx := t.Context()
	c, err := cluster.Start(ctx, cluster.Config{Dir: t.TempDir()})
	if errors.Is(err, cluster.ErrNotBuilt) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	as := func(name string, groups ...string) func(stdin string, args ...string) (string, error) {
		user, err := c.User(name, groups...)
		if err != nil {
			t.Fatal(err)
		}
		file, err := c.Kubeconfig(name, user)
		if err != nil {
			t.Fatal(err)
		}
		return func(stdin string, args ...string) (string, error) { return c.Kubectl(ctx, file, stdin, args...) }
	}
	k, somebody := as("installer", "system:masters", "commitgate:admins"), as("somebody", "system:masters")
	must := func(stdin string, args ...string) string {
		t.Helper()
		out, err := k(stdin, args...)
		if err != nil {
			t.Fatalf("kubectl %v: %v", args, err)
		}
		return out
	}
	objects, _, err := template(t, values(t, least))
	if err != nil {
		t.Fatal(err)
	}
	before(t, objects, must)

	const gate = `
apiVersion: commitgate.dev/v1alpha1
kind: Gate
metadata: {name: test}
spec:
  mode: Audit
  agents: [{name: flux, preset: Flux, users: ["system:serviceaccount:flux-system:kustomize-controller"]}]
  roots: [{repository: infra, path: clusters/test}]
`
	must(gate, "create", "--filename=-")
	newer := strings.Replace(gate, "mode: Audit", "mode: Audit\n  window: 10m", 1)
	if _, err := k(newer, "apply", "--server-side", "--force-conflicts", "--validate=strict", "--filename=-"); err == nil {
		t.Error("the older custom resource knows the newer field: this shows nothing")
	}
	if _, err := k("", "apply", "--server-side", "--kustomize=../../config/crd"); err == nil || !strings.Contains(err.Error(), "conflict") {
		t.Errorf("what Helm made is taken over without --force-conflicts: %v", err)
	}
	must("", "apply", "--server-side", "--force-conflicts", "--kustomize=../../config/crd")
	must(stream(t, objects, slices.Sorted(maps.Keys(objects))...), "apply", "--server-side", "--force-conflicts", "--filename=-")
	if err := eventually(ctx, func() error {
		_, err := k(newer, "apply", "--server-side", "--force-conflicts", "--validate=strict", "--filename=-", "--dry-run=server")
		if err != nil && strings.Contains(err.Error(), "gate.commitgate.dev") {
			return nil // past the schema, and asked of the gate, which is not there
		}
		return errors.Join(errors.New("the newer field is not taken"), err)
	}); err != nil {
		t.Error(err)
	}
	if out := must("", "get", "gate", "test", "--output=jsonpath={.spec.mode}"); out != "Audit" {
		t.Errorf("the object of the release before is %q", out)
	}
	uninstall(t, objects, k, somebody)
}

// before installs the chart as the release before it: with custom resources of its own, as Helm makes them, and without what this one adds.
func before(t *testing.T, objects map[string]object, must func(string, ...string) string) {
	t.Helper()
	must("", "create", "namespace", "commitgate")
	older := map[string]object{}
	for name, o := range objects {
		switch {
		case name == "CustomResourceDefinition gates.commitgate.dev":
			o = copied(o)
			versions := o["spec"].(object)["versions"].([]any)
			spec := versions[0].(object)["schema"].(object)["openAPIV3Schema"].(object)["properties"].(object)["spec"].(object)
			spec["description"] = "as the release before had it"
			delete(spec["properties"].(object), "window")
		case strings.HasSuffix(name, " commitgate-certificates"), name == "ValidatingWebhookConfiguration commitgate":
			continue
		}
		older[name] = o
	}
	var definitions, rest []string
	for _, name := range slices.Sorted(maps.Keys(older)) {
		if strings.HasPrefix(name, "CustomResourceDefinition ") {
			definitions = append(definitions, name)
		} else {
			rest = append(rest, name)
		}
	}
	must(stream(t, older, definitions...), "create", "--field-manager=helm", "--filename=-")
	must("", "wait", "--for=condition=Established", "--timeout=1m", "customresourcedefinition", "gates.commitgate.dev")
	must(stream(t, older, rest...), "apply", "--server-side", "--field-manager=helm", "--filename=-")
}

// copied is another object with the same content.
func copied(o object) object {
	var out object
	if err := yaml.Unmarshal([]byte(text(o)), &out); err != nil {
		panic(err)
	}
	return out
}

// stream is objects as documents, in this order.
func stream(t *testing.T, objects map[string]object, names ...string) string {
	t.Helper()
	var out strings.Builder
	for _, name := range names {
		b, err := yaml.Marshal(objects[name])
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString("---\n" + string(b))
	}
	return out.String()
}

// uninstall deletes as docs/operate.md says: the webhook first, then what helm uninstall deletes, in the order in which it does.
func uninstall(t *testing.T, objects map[string]object, k, somebody func(string, ...string) (string, error)) {
	t.Helper()
	ctx := t.Context()
	// The other way round nothing changes any more, and nobody else may begin.
	if err := eventually(ctx, func() error {
		if _, err := k("", "delete", "clusterrole", "commitgate"); err == nil || !strings.Contains(err.Error(), "gate.commitgate.dev") {
			return errors.Join(errors.New("the gate is not in front of its own ClusterRole"), err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := somebody("", "delete", "validatingwebhookconfiguration", "commitgate"); err == nil || !strings.Contains(err.Error(), "commitgate guards itself") {
		t.Errorf("somebody takes the webhook away: %v", err)
	}
	if _, err := k("", "delete", "validatingwebhookconfiguration", "commitgate"); err != nil {
		t.Fatal(err)
	}
	order := helmrelease.UninstallOrder
	names := slices.SortedFunc(maps.Keys(objects), func(a, b string) int { return rank(order, a) - rank(order, b) })
	for _, name := range names {
		kind, object, _ := strings.Cut(name, " ")
		if kind == "ValidatingWebhookConfiguration" || kind == "CustomResourceDefinition" || name == "Secret commitgate-ca" {
			continue // gone; left to the next command; kept
		}
		if err := eventually(ctx, func() error { // the API server learns a moment later that the webhook is gone
			_, err := k("", "--namespace=commitgate", "delete", "--ignore-not-found", "--wait=false", kind, object)
			return err
		}); err != nil {
			t.Errorf("helm uninstall stops at %s: %v", name, err)
		}
	}
	for _, args := range [][]string{
		{"delete", "--ignore-not-found", "customresourcedefinition", "gates.commitgate.dev", "trustedrepositories.commitgate.dev", "grants.commitgate.dev"},
		{"delete", "namespace", "commitgate", "--timeout=1m"},
	} {
		if _, err := k("", args...); err != nil {
			t.Errorf("kubectl %v: %v", args, err)
		}
	}
	// Nothing is left that stands in anybody's way, and the name is free again.
	left, err := k("", "get", "validatingwebhookconfigurations,validatingadmissionpolicies,validatingadmissionpolicybindings,clusterroles,clusterrolebindings", "--output=name")
	if err != nil || strings.Contains(left, "commitgate") {
		t.Errorf("left behind (%v):\n%s", err, left)
	}
	for _, args := range [][]string{{"create", "namespace", "commitgate"}, {"--namespace=commitgate", "create", "configmap", "anything"}, {"--namespace=default", "create", "configmap", "anything"}} {
		if _, err := somebody("", args...); err != nil {
			t.Errorf("kubectl %v after the uninstallation: %v", args, err)
		}
	}
}

// rank is the place of an object's kind in an order; a kind that is not in it comes last.
func rank(order []string, name string) int {
	kind, _, _ := strings.Cut(name, " ")
	if i := slices.Index(order, kind); i >= 0 {
		return i
	}
	return len(order)
}
