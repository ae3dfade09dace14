package admit

import (
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
)

// fleetWorld is a world whose second agent is Fleet, with GitRepo shop and its bundle shop-apps, which is release shop-apps in namespace shop.
func fleetWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, strings.ReplaceAll(testConfig, "{name: argo, preset: ArgoCD", "{name: fleet, preset: Fleet"))
	repo := func(name string) agent.Owner {
		return agent.Owner{Agent: "fleet", Group: agent.FleetGroup, Kind: "GitRepo", Namespace: "fleet-local", Name: name}
	}
	w.Truth.Current = snapshot.New(snapshot.Parts{
		Revisions: w.Truth.Current.Revisions, Types: w.types, Published: testTime.Add(-time.Minute),
		Rendered: &manifest.Set{Builds: []*manifest.Build{
			{Owner: repo("shop"), Bundles: []string{"shop-apps", "shop-elsewhere"}},
			{Owner: repo("shop"), Part: "bundle shop-apps", Release: manifest.Release{Namespace: "shop", Name: "shop-apps"}},
			{Owner: repo("theirs"), Elsewhere: true},
		}},
	}, nil)
	return w
}

// Copies of a GitRepo's content are Fleet's own; those of a GitRepo that nobody declared would be a way to make the agent apply something else.
func TestFleetKeepsCopiesOfWhatItsGitReposSay(t *testing.T) {
	w := fleetWorld(t)
	fleet := argo // the second agent of the configuration
	bundle := `{apiVersion: fleet.cattle.io/v1alpha1, kind: Bundle, metadata: {name: shop-apps, namespace: fleet-local, labels: {fleet.cattle.io/repo-name: shop}}}`
	deployment := `{apiVersion: fleet.cattle.io/v1alpha1, kind: BundleDeployment, metadata: {name: shop-apps, namespace: cluster-fleet-local-local-1a3d67d0a899,
		labels: {fleet.cattle.io/repo-name: shop, fleet.cattle.io/bundle-namespace: fleet-local}}, spec: {options: {namespace: shop}, stagedOptions: {defaultNamespace: shop}}}`
	values := `{apiVersion: v1, kind: Secret, type: fleet.cattle.io/bundle-values/v1alpha1, metadata: {name: shop-apps, namespace: fleet-local}}`
	with := func(text string, changes ...string) map[string]any {
		return object(t, strings.NewReplacer(changes...).Replace(text))
	}
	mine := []string{"repo-name: shop", "repo-name: mine"}
	w.want("its bundle", request(fleet, nil, object(t, bundle)), Allow, v1alpha1.ReasonBookkeeping)
	w.want("a bundle that is not deployed here", request(fleet, nil, with(bundle, "shop-apps", "shop-elsewhere")), Allow, v1alpha1.ReasonBookkeeping)
	w.want("a bundle of a GitRepo for other clusters", request(fleet, nil, with(bundle, "repo-name: shop", "repo-name: theirs", "name: shop-apps", "name: theirs-any")), Allow, v1alpha1.ReasonBookkeeping)
	w.want("its deployment", request(fleet, nil, object(t, deployment)), Allow, v1alpha1.ReasonBookkeeping)
	w.want("a deployment for another cluster", request(fleet, nil, with(deployment, "local-local", "default-c-1", "defaultNamespace: shop", "defaultNamespace: other")), Allow, v1alpha1.ReasonBookkeeping)
	w.want("the values", request(fleet, nil, object(t, values)), Allow, v1alpha1.ReasonBookkeeping)
	w.want("a bundle of a GitRepo that Git does not declare", request(fleet, nil, with(bundle, mine...)), Deny, v1alpha1.ReasonNotDeclared)
	w.want("a bundle that the GitRepo does not make", request(fleet, nil, with(bundle, "name: shop-apps", "name: shop-mine")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("a deployment of a GitRepo that Git does not declare", request(fleet, nil, with(deployment, mine...)), Deny, v1alpha1.ReasonNotDeclared)
	w.want("a deployment of a bundle that the GitRepo does not make", request(fleet, nil, with(deployment, "name: shop-apps", "name: shop-mine")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("a deployment into another namespace", request(fleet, nil, with(deployment, "{namespace: shop}", "{namespace: kube-system}")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("a deployment staged under another release", request(fleet, nil, with(deployment, "defaultNamespace: shop", "defaultNamespace: shop, helm: {releaseName: mine}")), Deny, v1alpha1.ReasonNotDeclared)
	before := with(deployment, "{namespace: shop}", "{namespace: was}")
	w.want("a deployment that is still of an older commit", request(fleet, before, with(deployment, "{namespace: shop}", "{namespace: was}", "defaultNamespace: shop", "namespace: shop")), Allow, v1alpha1.ReasonBookkeeping)
	w.want("a bundle that changes hands", request(fleet, with(bundle, mine...), object(t, bundle)), Deny, v1alpha1.ReasonNotDeclared)
	w.want("the bundle of a GitRepo that is gone, deleted", request(fleet, with(bundle, mine...), nil), Allow, v1alpha1.ReasonBookkeeping)
	w.want("any other Secret", request(fleet, nil, with(values, "type: fleet.cattle.io/bundle-values/v1alpha1", "type: Opaque")), Deny, v1alpha1.ReasonNotDeclared)
	credential := `{apiVersion: v1, kind: Secret, type: Opaque, metadata: {name: fleet-agent, namespace: argocd}}` // where the second agent runs
	w.want("what the agent registered with", request(fleet, nil, object(t, credential)), Allow, v1alpha1.ReasonBookkeeping)
	w.want("what it registers with, deleted", request(fleet, with(credential, "fleet-agent", "fleet-agent-bootstrap"), nil), Allow, v1alpha1.ReasonBookkeeping)
	w.want("what another would register with", request(fleet, nil, with(credential, "fleet-agent", "fleet-agent-bootstrap")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("a credential elsewhere", request(fleet, nil, with(credential, "argocd", "shop")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("somebody else's bundle", request(carol, nil, object(t, bundle)), Deny, v1alpha1.ReasonNotFromSyncAgent)
}

// A record of a release can have the agent do what its manifest says, or uninstall what Git declares.
func TestFleetKeepsTheReleasesThatGitDeclares(t *testing.T) {
	w := fleetWorld(t)
	fleet := argo
	record := func(status string, changes ...string) map[string]any {
		text := `{apiVersion: v1, kind: Secret, type: helm.sh/release.v1, metadata: {name: sh.helm.release.v1.shop-apps.v1, namespace: shop,
			labels: {owner: helm, name: shop-apps, version: "1", status: ` + status + `}}, data: {release: YQ==}}`
		return object(t, strings.NewReplacer(changes...).Replace(text))
	}
	gone := []string{"shop-apps", "shop-gone"}
	w.want("a new record", request(fleet, nil, record("pending-install")), Allow, v1alpha1.ReasonBookkeeping)
	w.want("its end", request(fleet, record("pending-install"), record("deployed")), Allow, v1alpha1.ReasonBookkeeping)
	w.want("a hand-made record", request(fleet, nil, record("deployed", "shop-apps", "mine")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("a hand-made record elsewhere", request(fleet, nil, record("deployed", "namespace: shop", "namespace: bar")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("the record in force, deleted", request(fleet, record("deployed"), nil), Deny, v1alpha1.ReasonNotDeclared)
	w.want("the record of a failed rollback, deleted", request(fleet, record("failed"), nil), Allow, v1alpha1.ReasonBookkeeping)
	w.want("the begin of the uninstall of what is gone", request(fleet, record("deployed", gone...), record("uninstalling", gone...)), Allow, v1alpha1.ReasonBookkeeping)
	w.want("its end", request(fleet, record("uninstalling", gone...), nil), Allow, v1alpha1.ReasonBookkeeping)
	w.want("the record of what is gone and stays, by keepResources", request(fleet, record("deployed", gone...), nil), Allow, v1alpha1.ReasonBookkeeping)
}

// The namespace of a release is made before it is asked whether it is there, and a release that was renamed takes its objects with it.
func TestFleetMakesWhatItsReleasesNeed(t *testing.T) {
	w := fleetWorld(t)
	fleet := argo
	namespace := object(t, `{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {tier: front}}}`)
	settings := object(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: shop}, data: {color: blue}}`)
	release := agent.HelmMetadata("shop", "shop-apps")
	declare := func(owner string, early ...string) {
		var entries []*snapshot.Entry
		rendered := w.Truth.Current.Rendered
		for _, o := range []manifest.Object{
			{Content: compact.Of(namespace), Adds: agent.Metadata{Labels: map[string]string{"team": "shop"}, Loose: map[string]string{"name": "shop"}}, Apply: agent.Apply{Early: early}},
			{Content: compact.Of(settings), Adds: release},
		} {
			acc, err := w.types.Declare(account.Declaration{Content: o.Content, Labels: o.Adds.Labels, Annotations: o.Adds.Annotations, Loose: o.Adds.Loose})
			if err != nil {
				t.Fatal(err)
			}
			o.Key, o.Owner, o.Source = live.KeyOf(o.Content.Map()), agent.Owner{Agent: owner}, manifest.Source{Repository: "shop", Path: "apps/all.yaml", Line: 1}
			rev := w.Truth.Current.Revisions["shop"]
			entries = append(entries, &snapshot.Entry{Object: o, Account: acc, Revision: rev, Changed: rev.Commit})
		}
		w.Truth.Current = snapshot.New(snapshot.Parts{Revisions: w.Truth.Current.Revisions, Types: w.types, Published: testTime.Add(-time.Minute), Rendered: rendered}, entries)
	}
	labelled := func(labels string) map[string]any {
		return object(t, `{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {`+labels+`}}, spec: {finalizers: [kubernetes]}, status: {phase: Active}}`)
	}
	marked := func(release string) map[string]any {
		return object(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: shop, labels: {app.kubernetes.io/managed-by: Helm},
			annotations: {meta.helm.sh/release-name: `+release+`, meta.helm.sh/release-namespace: shop}}, data: {color: blue}}`)
	}
	declare("fleet", "fleet")
	w.want("Helm makes the namespace", request(fleet, nil, labelled("name: shop")), Allow, v1alpha1.ReasonFromGit)
	w.want("with a label that nobody declares", request(fleet, nil, labelled("name: shop, mine: yes-it-is")), Deny, v1alpha1.ReasonFieldsDiffer)
	w.want("the agent labels it, and drops Helm's label", request(fleet, labelled("name: shop, tier: front"), labelled("tier: front, team: shop")), Allow, v1alpha1.ReasonFromGit)
	w.want("what Git declares of it is not dropped", request(fleet, labelled("name: shop, tier: front"), labelled("name: shop, team: shop")), Deny, v1alpha1.ReasonFieldsDiffer)
	w.want("nor what the bundle says of it", request(fleet, labelled("tier: front, team: shop"), labelled("tier: front")), Deny, v1alpha1.ReasonFieldsDiffer)
	w.want("an object of the release that Git dropped is deleted", request(fleet, marked("shop-gone"), nil), Allow, v1alpha1.ReasonRecreated)
	w.want("one of the release that Git declares is not", request(fleet, marked("shop-apps"), nil), Deny, v1alpha1.ReasonStillDeclared)
	w.want("nor by somebody else", request(carol, marked("shop-gone"), nil), Deny, v1alpha1.ReasonNotFromSyncAgent)
	declare("flux", "fleet")
	w.want("Helm makes the namespace of another agent", request(fleet, nil, labelled("name: shop")), Allow, v1alpha1.ReasonFromGit)
	w.want("with a label that nobody declares", request(fleet, nil, labelled("name: shop, mine: yes-it-is")), Deny, v1alpha1.ReasonWrongAgent)
	w.want("it is not Fleet's to change", request(fleet, labelled("tier: front"), labelled("name: shop, tier: front")), Deny, v1alpha1.ReasonWrongAgent)
	declare("fleet")
	w.want("no release makes the namespace", request(fleet, nil, labelled("name: shop")), Deny, v1alpha1.ReasonFieldsDiffer)
}
