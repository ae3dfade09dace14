package admit

import (
	"context"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/policy"
	"github.com/commitgate/commitgate/snapshot"
)

// enforce gives the world's current snapshot these policies, alternating names and texts.
func (w *world) enforce(files ...string) {
	w.t.Helper()
	fsys := fstest.MapFS{}
	for i := 0; i+1 < len(files); i += 2 {
		fsys[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	set, err := policy.LoadUnverified(context.Background(), fsys, ".", true)
	if err != nil {
		w.t.Fatal(err)
	}
	current := w.Truth.Current
	parts := current.Parts
	parts.Policies = set
	w.Truth = &snapshot.Truth{Current: current.Next(parts, nil, nil)}
}

const frozen = `package commitgate.frozen

# METADATA
# custom:
#   id: frozen
#   controls: [SOC2-CC8.1]
deny contains msg if {
	input.namespaceObject.metadata.labels.frozen == "yes"
	msg := sprintf("%s is frozen for %s at %s", [input.request.namespace, input.git.path, input.time])
}
`

// What Git declares still has to pass the policies of the same revision, and these may need to see the cluster first.
func TestPoliciesJudgeWhatGitDeclares(t *testing.T) {
	w := newWorld(t, testConfig, cart)
	w.enforce("frozen.rego", frozen)
	w.want("before the namespaces have been seen", request(flux, nil, applied(t, cart)), Retry, v1alpha1.ReasonInventoryBehind)

	w.Inventory = policy.NewInventory(0)
	if err := w.Inventory.Replace(policy.Kind{Version: "v1", Kind: "Namespace"}, []map[string]any{
		object(t, "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"),
	}); err != nil {
		t.Fatal(err)
	}
	w.want("a namespace without the label", request(flux, nil, applied(t, cart)), Allow, v1alpha1.ReasonFromGit)

	if err := w.Inventory.Put(object(t, "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {frozen: \"yes\"}}}")); err != nil {
		t.Fatal(err)
	}
	d := w.want("a frozen namespace", request(flux, nil, applied(t, cart)), Deny, v1alpha1.ReasonPolicyDenied)
	if d.Rule != "frozen" || !strings.Contains(d.Message, "frozen: shop is frozen for apps/cart.yaml at 2026-11-21T12:00:00Z") || !strings.Contains(d.Message, "frozen.rego") {
		t.Errorf("%s: %s", d.Rule, d.Message)
	}
	if d.Policy == nil || len(d.Policy.Controls()) != 1 || d.Policy.Controls()[0] != "SOC2-CC8.1" {
		t.Errorf("no controls for the record: %+v", d.Policy)
	}
	w.want("what is refused anyway is not asked", request(carol, nil, object(t, strings.Replace(cart, "blue", "red", 1))), Deny, v1alpha1.ReasonNotFromSyncAgent)
}
