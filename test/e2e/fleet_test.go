package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/test/lab"
	"github.com/commitgate/commitgate/test/syncagent"
)

// Fleet's way is Helm's, with everything that Job, controller and agent write for themselves around it: the gate lets it pass as Helm 4 and as
// Helm 3 go about it, and nothing that somebody writes with their tokens.
func TestFleetsWay(t *testing.T) {
	for scope, old := range map[v1alpha1.Scope]bool{v1alpha1.ScopeEverything: false, v1alpha1.ScopeDeclared: true} {
		t.Run(string(scope), func(t *testing.T) {
			l := startWith(t, lab.Config{Fleet: true, Scope: scope})
			l.Fleet.Helm3 = old
			playFleet(t, l)
			scanFleet(t, l)
			attackFleet(t, l, scope)
			sound(t, l)
		})
	}
}

// syncFleet syncs, or skips where nobody has built Helm.
func syncFleet(t *testing.T, l *lab.Lab) {
	t.Helper()
	err := l.Fleet.Sync(t.Context())
	if errors.Is(err, syncagent.ErrNoHelm) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	check(t, err)
}

func playFleet(t *testing.T, l *lab.Lab) {
	syncFleet(t, l)
	if got := liveValue(t, l, "fleet-web", "namespace/fleet-web", ".metadata.labels.team"); got != "web" {
		t.Errorf("the namespace is of team %q", got)
	}
	options := func(replicas int) map[string]string {
		return map[string]string{"fleet/web/fleet.yaml": fmt.Sprintf("defaultNamespace: fleet-web\nnamespaceLabels: {team: web}\nnamespaceAnnotations: {example.com/owner: web}\n"+
			"helm:\n  releaseName: web\n  values: {replicas: %d}\n", replicas)}
	}
	for replicas := 2; replicas <= 4; replicas++ { // the last upgrade has Helm delete the record of the first release
		commit(t, l, "web: more", options(replicas))
		syncFleet(t, l)
	}
	if got := liveValue(t, l, "fleet-web", "deployment/web", ".spec.replicas"); got != "4" {
		t.Errorf("after the upgrades: %s replicas", got)
	}
	if got := liveValue(t, l, "fleet-web", "configmap/web-before", ".data.replicas"); got != "4" {
		t.Errorf("the hook is of %s replicas", got)
	}
	gone(t, l, "fleet-web", "configmap/web-after")
	gone(t, l, "fleet-web", "secret/sh.helm.release.v1.web.v1")
	commit(t, l, "web: one", options(1))
	syncFleet(t, l)
	gone(t, l, "fleet-web", "poddisruptionbudget/web")

	// A replaced object loses what it was given after it was made: the Deployment's revision, for one.
	image := strings.NewReplacer("api:1", "api:2")
	api, err := l.Repository.Read("fleet/team/all.yaml")
	check(t, err)
	commit(t, l, "api: 2", map[string]string{"fleet/team/all.yaml": image.Replace(api)})
	syncFleet(t, l)
	if got := liveValue(t, l, "fleet-team", "deployment/api", ".spec.template.spec.containers[0].image"); got != "registry.example/api:2" {
		t.Errorf("the image is %s", got)
	}

	for _, force := range []bool{false, true} {
		drift(t, l)
		check(t, l.Fleet.CorrectDrift(t.Context(), "shop-fleet-web", force))
		if got := liveValue(t, l, "fleet-web", "service/web", ".spec.ports[0].targetPort"); got != "8080" {
			t.Errorf("force %t: the port leads to %s", force, got)
		}
	}

	// A folder that is moved is another bundle, and another release: what was the old one's goes, and is made anew.
	settings, err := l.Repository.Read("fleet/plain/settings.yaml")
	check(t, err)
	moved, err := l.Repository.Read("fleet/plain/fleet.yaml")
	check(t, err)
	commit(t, l, "plain is moved", map[string]string{
		"fleet/plain/fleet.yaml": "", "fleet/plain/settings.yaml": "", "fleet/simple/fleet.yaml": moved, "fleet/simple/settings.yaml": settings,
	})
	syncFleet(t, l)
	gone(t, l, "fleet-plain", "secret/sh.helm.release.v1.shop-fleet-plain.v1")
	gone(t, l, "fleet-local", "bundle/shop-fleet-plain")
	if got := liveValue(t, l, "fleet-plain", "configmap/settings", `.metadata.annotations.meta\.helm\.sh/release-name`); got != "shop-fleet-simple" {
		t.Errorf("the settings are of release %s", got)
	}

	commit(t, l, "no plain", map[string]string{"fleet/simple/fleet.yaml": "", "fleet/simple/settings.yaml": ""})
	syncFleet(t, l)
	gone(t, l, "fleet-plain", "configmap/settings")
	gone(t, l, "fleet-plain", "secret/sh.helm.release.v1.shop-fleet-simple.v1")
	gone(t, l, "fleet-local", "bundle/shop-fleet-simple")
	for _, bundle := range []string{"shop-fleet-plain", "shop-fleet-simple"} { // the garbage collector takes the values along
		gone(t, l, "fleet-local", "secret/"+bundle)
		gone(t, l, "cluster-fleet-local-local-1a3d67d0a899", "secret/"+bundle)
	}
}

// drift changes a Service while no gate is asked about its namespace.
func drift(t *testing.T, l *lab.Lab) {
	t.Helper()
	patch := func(ask string) {
		t.Helper()
		_, err := guardian(t, l, "patch", "validatingwebhookconfiguration", "commitgate", "--type=json", "--patch="+ask)
		check(t, err)
	}
	patch(`[{"op": "add", "path": "/webhooks/0/namespaceSelector", "value": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["fleet-web"]}]}}]`)
	check(t, l.Eventually(t.Context(), func(ctx context.Context) error {
		_, err := l.Cluster.Kubectl(ctx, l.AdminConfig, "", "patch", "service/web", "--namespace=fleet-web", "--type=json",
			`--patch=[{"op":"replace","path":"/spec/ports/0/targetPort","value":1}]`)
		return err
	}))
	patch(`[{"op": "replace", "path": "/webhooks/0/namespaceSelector", "value": {}}]`)
	check(t, l.Eventually(t.Context(), func(ctx context.Context) error {
		_, err := l.Cluster.Kubectl(ctx, l.CarolConfig, "", "label", "service/web", "--namespace=fleet-web", "drifted=yes", "--dry-run=server", "--overwrite")
		if err == nil || !strings.Contains(err.Error(), "denied the request") {
			return fmt.Errorf("the gate is not asked yet: %w", err)
		}
		return nil
	}))
}

// scanFleet compares the cluster with Git: what follows from a GitRepo belongs to it.
func scanFleet(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, f := range scanOf(t, l, 1).Findings { // there are the agents, which nobody declared
		fleets := strings.HasPrefix(f.Namespace, "fleet-web") || strings.HasPrefix(f.Namespace, "fleet-team") || strings.HasPrefix(f.Name, "fleet-web")
		if f.State == "Untraced" && (f.Kind == "Bundle" || f.Kind == "BundleDeployment" || f.Kind == "Content" || f.Kind == "Secret") || fleets && f.State != "InGit" {
			t.Errorf("%s %s %s/%s: %s", f.State, f.Kind, f.Namespace, f.Name, f.Why)
		}
	}
}

// attackFleet writes with the tokens of Fleet's parts what does not come from Git.
func attackFleet(t *testing.T, l *lab.Lab, scope v1alpha1.Scope) {
	kubectl := func(config, stdin string, args ...string) error {
		_, err := l.Cluster.Kubectl(t.Context(), config, stdin, args...)
		return err
	}
	refused(t, kubectl(l.CarolConfig, "", "scale", "deployment/web", "--replicas=9", "--namespace=fleet-web"), "NotFromSyncAgent")
	refused(t, kubectl(l.FleetConfig, "", "set", "image", "deployment/web", "*=registry.example/miner", "--namespace=fleet-web"), "FieldsDiffer", "image")
	refused(t, kubectl(l.FleetConfig, "", "label", "namespace/fleet-web", "team=other", "--overwrite"), "FieldsDiffer", "team")
	refused(t, kubectl(l.FleetConfig, "", "delete", "service/web", "--namespace=fleet-web"), "StillDeclared")
	refused(t, kubectl(l.FleetConfig, "", "set", "image", "deployment/api", "*=registry.example/miner", "--namespace=fleet-team",
		"--as=system:serviceaccount:cattle-fleet-local-system:team"), "FieldsDiffer", "image")
	if scope == v1alpha1.ScopeDeclared {
		return // what Git does not declare is left to RBAC
	}
	for name, attack := range map[string]string{
		"a release":                `{apiVersion: v1, kind: Secret, type: helm.sh/release.v1, metadata: {name: sh.helm.release.v1.mine.v1, namespace: fleet-web, labels: {owner: helm, name: mine, status: deployed, version: "1"}}}`,
		"a bundle":                 `{apiVersion: fleet.cattle.io/v1alpha1, kind: Bundle, metadata: {name: mine, namespace: fleet-local}, spec: {resources: [{content: "kind: Pod"}]}}`,
		"a bundle under a GitRepo": `{apiVersion: fleet.cattle.io/v1alpha1, kind: Bundle, metadata: {name: mine, namespace: fleet-local, labels: {fleet.cattle.io/repo-name: shop}}}`,
		"a bundle's other file":    `{apiVersion: fleet.cattle.io/v1alpha1, kind: Bundle, metadata: {name: shop-fleet-team, namespace: fleet-local, labels: {fleet.cattle.io/repo-name: shop}}, spec: {resources: [{name: all.yaml, content: "kind: Pod"}]}}`,
		"a content":                `{apiVersion: fleet.cattle.io/v1alpha1, kind: Content, metadata: {name: s-0}, content: "H4sIAAAAAAACA6tWKkotzi8tSk4tVrKKrlbKS8xNVbJSSlTSUUrOzytJzSsB8rIz81KsFALyU5RqY2sB3qeKbTIAAAA="}`,
		"a deployment": `{apiVersion: fleet.cattle.io/v1alpha1, kind: BundleDeployment, metadata: {name: mine, namespace: cluster-fleet-local-local-1a3d67d0a899,
			labels: {fleet.cattle.io/repo-name: shop, fleet.cattle.io/bundle-namespace: fleet-local}}}`,
		"settings":   `{apiVersion: v1, kind: ConfigMap, metadata: {name: mine, namespace: fleet-local}}`,
		"an account": `{apiVersion: v1, kind: ServiceAccount, metadata: {name: fleet-default, namespace: cattle-fleet-local-system}}`,
	} {
		for who, config := range map[string]string{"agent": l.FleetConfig, "controller": l.FleetControllerConfig} {
			t.Run(name+" of the "+who+"'s", func(t *testing.T) {
				refused(t, kubectl(config, attack, "create", "--filename=-"), "NotDeclared")
			})
		}
	}
	deployment := "bundledeployment/shop-fleet-web"
	refused(t, kubectl(l.FleetControllerConfig, "", "patch", deployment, "--namespace=cluster-fleet-local-local-1a3d67d0a899", "--type=merge",
		`--patch={"spec":{"options":{"defaultNamespace":"kube-system"}}}`), "NotDeclared")
}
