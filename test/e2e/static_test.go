package e2e

import (
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/lab"
)

// Webhook and policies that the API server reads from its own disk judge, and nobody removes them through the API: not an administrator of the gate, and not by taking
// every admission configuration away that the API knows.
func TestStaticManifests(t *testing.T) {
	ctx := t.Context()
	l := startWith(t, lab.Config{Static: true})
	for _, kind := range []string{"validatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings"} {
		if out, err := guardian(t, l, "get", kind, "--output=name"); err != nil || strings.Contains(out, "commitgate") {
			t.Errorf("%s: the API shows %q (%v)", kind, out, err)
		}
		for _, name := range []string{"commitgate.static.k8s.io", "commitgate-guards-itself.static.k8s.io"} {
			if _, err := guardian(t, l, "delete", kind, name); err == nil {
				t.Errorf("%s %s can be deleted", kind, name)
			}
		}
	}
	// Nobody puts another under the same name, and the gate is asked about such objects, too.
	_, err := l.Cluster.Kubectl(ctx, l.CarolConfig, "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: mine}\nspec: {policyName: mine, validationActions: [Warn]}\n", "create", "--filename=-")
	refused(t, err, "ValidatingAdmissionPolicyBinding")
	_, err = guardian(t, l, "delete", "validatingwebhookconfigurations,validatingadmissionpolicies,validatingadmissionpolicybindings", "--all")
	check(t, err)

	_, err = l.Flux.Sync(ctx)
	check(t, err)
	pods(t, l, "cart", 2)
	_, err = l.Cluster.Kubectl(ctx, l.CarolConfig, "", "scale", "deployment", "cart", "--replicas=9", "--namespace=shop")
	refused(t, err, cart)
	_, err = l.Cluster.Kubectl(ctx, l.CarolConfig, "", "create", "configmap", "mine", "--namespace=commitgate")
	if err == nil {
		t.Error("somebody writes into the namespace of the gate")
	}
	sound(t, l)
}
