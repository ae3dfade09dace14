package admit

import (
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
)

// Copies of a GitRepo's content are Fleet's own; those of a GitRepo that nobody declared would be a way to make the agent apply something else.
func TestFleetKeepsCopiesOfWhatItsGitReposSay(t *testing.T) {
	w := newWorld(t, strings.ReplaceAll(testConfig, "{name: argo, preset: ArgoCD", "{name: fleet, preset: Fleet"))
	w.Truth.Current = snapshot.New(snapshot.Parts{
		Revisions: w.Truth.Current.Revisions, Types: w.types, Published: testTime.Add(-time.Minute),
		Rendered: &manifest.Set{Builds: []*manifest.Build{{Owner: agent.Owner{Agent: "fleet", Group: agent.FleetGroup, Kind: "GitRepo", Namespace: "fleet-local", Name: "shop"}}}},
	}, nil)
	fleet := argo // the second agent of the configuration
	bundle := `{apiVersion: fleet.cattle.io/v1alpha1, kind: Bundle, metadata: {name: shop-apps, namespace: fleet-local, labels: {fleet.cattle.io/repo-name: shop}}}`
	deployment := `{apiVersion: fleet.cattle.io/v1alpha1, kind: BundleDeployment, metadata: {name: shop-apps, namespace: cluster-fleet-local-1,
		labels: {fleet.cattle.io/repo-name: shop, fleet.cattle.io/bundle-namespace: fleet-local}}}`
	values := `{apiVersion: v1, kind: Secret, type: fleet.cattle.io/bundle-values/v1alpha1, metadata: {name: shop-apps, namespace: fleet-local}}`
	elsewhere := func(text string) map[string]any {
		return object(t, strings.ReplaceAll(text, "repo-name: shop", "repo-name: mine"))
	}
	w.want("its bundle", request(fleet, nil, object(t, bundle)), Allow, v1alpha1.ReasonBookkeeping)
	w.want("its deployment", request(fleet, nil, object(t, deployment)), Allow, v1alpha1.ReasonBookkeeping)
	w.want("the values", request(fleet, nil, object(t, values)), Allow, v1alpha1.ReasonBookkeeping)
	w.want("a bundle of a GitRepo that Git does not declare", request(fleet, nil, elsewhere(bundle)), Deny, v1alpha1.ReasonNotDeclared)
	w.want("a deployment of one", request(fleet, nil, elsewhere(deployment)), Deny, v1alpha1.ReasonNotDeclared)
	w.want("a bundle that changes hands", request(fleet, elsewhere(bundle), object(t, bundle)), Deny, v1alpha1.ReasonNotDeclared)
	w.want("the bundle of a GitRepo that is gone, deleted", request(fleet, elsewhere(bundle), nil), Allow, v1alpha1.ReasonBookkeeping)
	w.want("any other Secret", request(fleet, nil, object(t, strings.ReplaceAll(values, "type: fleet.cattle.io/bundle-values/v1alpha1", "type: Opaque"))), Deny, v1alpha1.ReasonNotDeclared)
	w.want("somebody else's bundle", request(carol, nil, object(t, bundle)), Deny, v1alpha1.ReasonNotFromSyncAgent)
}
