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

// Helm keeps its releases in Secrets whose content nothing can be compared with: who may write which is all there is to hold on to.
func TestAPipelineKeepsTheReleasesThatAreItsOwn(t *testing.T) {
	w := newWorld(t, strings.ReplaceAll(testConfig, "{name: argo, preset: ArgoCD", "{name: ci, preset: Pipeline"))
	release := manifest.Release{Namespace: "shop", Name: "web"}
	declare := func(release manifest.Release) {
		w.Truth.Current = snapshot.New(snapshot.Parts{
			Revisions: w.Truth.Current.Revisions, Types: w.types, Published: testTime.Add(-time.Minute),
			Rendered: &manifest.Set{Builds: []*manifest.Build{{Owner: agent.Owner{Agent: "ci"}, Release: release}}},
		}, nil)
	}
	declare(release)
	ci := argo // the second agent of the configuration
	record := func(status string, changes ...string) map[string]any {
		text := `{apiVersion: v1, kind: Secret, type: helm.sh/release.v1, metadata: {name: sh.helm.release.v1.web.v1, namespace: shop,
			labels: {owner: helm, name: web, version: "1", status: ` + status + `}}, data: {release: YQ==}}`
		return object(t, strings.NewReplacer(changes...).Replace(text))
	}
	pending, deployed := record("pending-install"), record("deployed")
	w.want("a new record", request(ci, nil, pending), Allow, v1alpha1.ReasonBookkeeping)
	w.want("its end", request(ci, pending, deployed), Allow, v1alpha1.ReasonBookkeeping)
	w.want("one out of the history", request(ci, record("superseded"), nil), Allow, v1alpha1.ReasonBookkeeping)
	w.want("of another release", request(ci, nil, record("deployed", "web", "other")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("in another namespace", request(ci, nil, record("deployed", "namespace: shop", "namespace: bar")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("under another's name", request(ci, nil, record("deployed", "name: web,", "name: db,")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("that is no record", request(ci, nil, record("deployed", "helm.sh/release.v1", "Opaque")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("the begin of an uninstall", request(ci, deployed, record("uninstalling")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("the record in force, deleted", request(ci, deployed, nil), Deny, v1alpha1.ReasonNotDeclared)
	w.want("by another agent", request(flux, nil, record("deployed")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("by somebody", request(carol, nil, deployed), Deny, v1alpha1.ReasonNotFromSyncAgent)

	declare(manifest.Release{Namespace: "shop", Name: "web", Rollback: true})
	w.want("an uninstall after a failed install, where Git says so", request(ci, deployed, record("uninstalling")), Allow, v1alpha1.ReasonBookkeeping)
	declare(manifest.Release{Namespace: "shop", Name: "db"})
	w.want("an uninstall of what is declared no more", request(ci, deployed, record("uninstalling")), Allow, v1alpha1.ReasonBookkeeping)
	w.want("and its record", request(ci, deployed, nil), Allow, v1alpha1.ReasonBookkeeping)
}

// Flux takes kubectl's mark from an object that comes under Git, while that still holds what it was: a write that would let anything else by with it would
// let a stolen token mix what Git says with what it does not.
func TestFluxTakesMarksAndNothingElse(t *testing.T) {
	const declared = `{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: shop}, data: {currency: EUR}}`
	const marked = `{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: shop, labels: {fluxcd.io/sync-gc-mark: x},
		annotations: {kubectl.kubernetes.io/last-applied-configuration: "{}", kustomize.toolkit.fluxcd.io/checksum: x, note: y}}, data: {currency: USD}}`
	last, checksum, gc := `kubectl.kubernetes.io/last-applied-configuration: "{}", `, "kustomize.toolkit.fluxcd.io/checksum: x, ", "labels: {fluxcd.io/sync-gc-mark: x},"
	w := newWorld(t, testConfig, declared)
	update := func(who User, changes ...string) *Request {
		return request(who, object(t, marked), object(t, strings.NewReplacer(changes...).Replace(marked)))
	}
	w.want("kubectl's mark", update(flux, last, ""), Allow, v1alpha1.ReasonBookkeeping)
	w.want("all marks", update(flux, last, "", checksum, "", gc, ""), Allow, v1alpha1.ReasonBookkeeping)
	w.want("a value with it", update(flux, last, "", "USD", "CHF"), Deny, v1alpha1.ReasonFieldsDiffer, "data[currency]")
	w.want("a note with it", update(flux, last, "", "note: y", ""), Deny, v1alpha1.ReasonFieldsDiffer)
	w.want("another value of a mark", update(flux, "checksum: x", "checksum: z"), Deny, v1alpha1.ReasonFieldsDiffer, "checksum")
	w.want("one away, one in another's place", update(flux, last, "", "checksum: x", "checksum: z"), Deny, v1alpha1.ReasonFieldsDiffer, "checksum")
	w.want("a mark is set", request(flux, object(t, strings.Replace(marked, checksum, "", 1)), object(t, marked)), Deny, v1alpha1.ReasonFieldsDiffer, "checksum")
	w.want("by another agent", update(argo, last, ""), Deny, v1alpha1.ReasonWrongAgent)
	w.want("by somebody", update(carol, last, ""), Deny, v1alpha1.ReasonNotFromSyncAgent)
	w.want("of what Git does not declare", update(flux, last, "", "name: settings", "name: other"), Deny, v1alpha1.ReasonNotDeclared)

	w = newWorld(t, testConfig, strings.Replace(declared, "namespace: shop", "namespace: shop, annotations: {kustomize.toolkit.fluxcd.io/checksum: x}", 1))
	w.want("a mark that Git declares", update(flux, checksum, ""), Deny, v1alpha1.ReasonFieldsDiffer)
	w.want("one that it does not", update(flux, last, ""), Allow, v1alpha1.ReasonBookkeeping)
}
