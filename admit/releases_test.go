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

// releases puts snapshots of these releases of Flux's on top of each other: the last is current.
func (w *world) releases(releases ...manifest.Release) {
	w.t.Helper()
	var made []*snapshot.Snapshot
	for i, release := range releases {
		var entries []*snapshot.Entry
		for e := range w.Truth.Current.All() {
			entries = append(entries, e)
		}
		made = append([]*snapshot.Snapshot{snapshot.New(snapshot.Parts{
			Revisions: w.Truth.Current.Revisions, Types: w.types, Published: testTime.Add(time.Duration(i-len(releases)) * time.Minute),
			Rendered: &manifest.Set{Builds: []*manifest.Build{{Owner: agent.Owner{Agent: "flux"}, Release: release}}},
		}, entries)}, made...)
	}
	w.Truth = &snapshot.Truth{Current: made[0], Recent: made[1:]}
}

// A record of a release can have helm-controller uninstall what Git declares, and whoever has its token could write one.
func TestFluxKeepsTheReleasesThatGitDeclares(t *testing.T) {
	w := newWorld(t, testConfig)
	release := manifest.Release{Namespace: "shop", Name: "web", Storage: "records", Chart: "web"}
	record := func(status string, changes ...string) map[string]any {
		text := `{apiVersion: v1, kind: Secret, type: helm.sh/release.v1, metadata: {name: sh.helm.release.v1.web.v1, namespace: records,
			labels: {owner: helm, name: web, version: "1", status: ` + status + `}}, data: {release: YQ==}}`
		return object(t, strings.NewReplacer(changes...).Replace(text))
	}
	w.releases(release)
	w.want("a new record", request(flux, nil, record("pending-install")), Allow, v1alpha1.ReasonBookkeeping)
	w.want("its end", request(flux, record("pending-install"), record("deployed")), Allow, v1alpha1.ReasonBookkeeping)
	w.want("one in the release's own namespace", request(flux, nil, record("deployed", "records", "shop")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("one of another release", request(flux, nil, record("deployed", "web", "mine")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("one that becomes another's", request(flux, record("deployed"), record("deployed", "name: web,", "name: mine,")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("the begin of an uninstall", request(flux, record("deployed"), record("uninstalling")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("the record in force, deleted", request(flux, record("deployed"), nil), Deny, v1alpha1.ReasonNotDeclared)
	w.want("by somebody", request(carol, nil, record("deployed")), Deny, v1alpha1.ReasonNotFromSyncAgent)
	for name, was := range map[string]manifest.Release{
		"in another namespace": {Namespace: "shop", Name: "web", Storage: "shop", Chart: "web"},
		"of another chart":     {Namespace: "shop", Name: "web", Storage: "records", Chart: "cart"},
	} {
		w.releases(was, release)
		w.want("the uninstall of a release that was "+name, request(flux, record("deployed"), record("uninstalling")), Allow, v1alpha1.ReasonBookkeeping)
	}
	release.Rollback = true
	w.releases(release)
	w.want("an uninstall where Git says how failures are undone", request(flux, record("deployed"), record("uninstalling")), Allow, v1alpha1.ReasonBookkeeping)
}

// A release that moves, or is renamed, takes with it what Git declares of the new one, too. Nothing else may.
func TestFluxUninstallsReleasesThatMoved(t *testing.T) {
	const settings = `{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: shop}, data: {color: blue}}`
	w := newWorld(t, testConfig, settings)
	for e := range w.Truth.Current.All() {
		e.Adds = agent.HelmMetadata("shop", "web")
	}
	of := func(release string) map[string]any {
		o := object(t, settings)
		o["metadata"].(map[string]any)["annotations"] = map[string]any{"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": "shop"}
		return o
	}
	now := manifest.Release{Namespace: "shop", Name: "web", Chart: "web"}
	was := now
	was.Chart = "cart"
	w.releases(now, now)
	w.want("an object of a release that stays", request(flux, of("web"), nil), Deny, v1alpha1.ReasonStillDeclared)
	w.want("an object that is of no release", request(flux, object(t, settings), nil), Deny, v1alpha1.ReasonStillDeclared)
	w.want("an object of a release that is gone", request(flux, of("old"), nil), Allow, v1alpha1.ReasonRecreated)
	w.releases(was, now)
	w.want("an object of a release that was of another chart", request(flux, of("web"), nil), Allow, v1alpha1.ReasonRecreated)
	w.Now = testTime.Add(10 * time.Minute)
	w.want("long after", request(flux, of("web"), nil), Deny, v1alpha1.ReasonStillDeclared)
}

// Who has helm-controller's token must not make source-controller fetch what Git does not name.
func TestHelmControllerMakesTheChartThatGitNames(t *testing.T) {
	const release = `{apiVersion: helm.toolkit.fluxcd.io/v2, kind: HelmRelease, metadata: {name: web, namespace: shop}, spec: {chart: {spec: {chart: web, version: 1.x, sourceRef: {kind: HelmRepository, name: charts, namespace: flux-system}}}}}`
	const chart = `{apiVersion: source.toolkit.fluxcd.io/v1, kind: HelmChart, metadata: {name: shop-web, namespace: flux-system, labels: {helm.toolkit.fluxcd.io/name: web, helm.toolkit.fluxcd.io/namespace: shop}},
		spec: {chart: web, version: 1.x, interval: 10m, reconcileStrategy: ChartVersion, sourceRef: {kind: HelmRepository, name: charts}}}`
	w := newWorld(t, testConfig)
	w.loose = true
	w.Truth = &snapshot.Truth{Current: w.snapshot("c1", testTime.Add(-time.Minute), release)}
	with := func(changes ...string) map[string]any {
		return object(t, strings.NewReplacer(changes...).Replace(chart))
	}
	w.want("the chart", request(flux, nil, with()), Allow, v1alpha1.ReasonBookkeeping)
	w.want("at another interval", request(flux, with(), with("10m", "1m")), Allow, v1alpha1.ReasonBookkeeping)
	for what, change := range map[string][]string{
		"another chart": {"chart: web", "chart: miner"}, "another version": {"1.x", "2.x"}, "another source": {"name: charts", "name: mine"}, "another kind of source": {"HelmRepository", "Bucket"},
		"other values": {"interval", "valuesFiles: [mine.yaml], interval"}, "other revisions": {"ChartVersion", "Revision"}, "in another namespace": {"namespace: flux-system", "namespace: shop"},
		"of no release": {"shop-web", "shop-other", "name: web", "name: other"}, "under another name": {"shop-web", "web"},
	} {
		w.want(what, request(flux, nil, with(change...)), Deny, v1alpha1.ReasonNotDeclared)
	}
	w.want("deleted with its release", request(flux, with("shop-web", "shop-gone", "name: web", "name: gone"), nil), Allow, v1alpha1.ReasonBookkeeping)
	w.want("by somebody", request(carol, nil, with()), Deny, v1alpha1.ReasonNotFromSyncAgent)
}
