package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/lab"
	"github.com/commitgate/commitgate/test/syncagent"
)

// Each agent applies in its own way, with everything that belongs to it; the gate lets all of that pass, and nothing else under the same name.
func TestEachAgentsWay(t *testing.T) {
	l := startWith(t, lab.Config{Agents: true})
	for name, agent := range map[string]struct {
		play func(*testing.T, *lab.Lab)
		// drift is what a person does, tampering what somebody does with the agent's credentials: arguments of kubectl.
		config          func() string
		drift, tampered []string
		words           string // of the refusal of what is tampered with
	}{
		"Flux: prune, force": {
			play: playFlux, config: func() string { return l.FluxConfig },
			drift:    []string{"scale", "deployment/cart", "--replicas=9", "--namespace=shop"},
			tampered: []string{"set", "image", "deployment/cart", "*=registry.example/miner", "--namespace=shop"}, words: "image",
		},
		"Flux: a HelmRelease, installed and upgraded": {
			play: playHelmRelease, config: func() string { return l.HelmConfig },
			drift:    []string{"delete", "poddisruptionbudget/web", "--namespace=released"},
			tampered: []string{"set", "env", "deployment/web", "DEBUG=1", "--namespace=released"}, words: "env",
		},
		"Argo CD: on the server's side, replaced, hooks, prune, the namespace": {
			play: playArgoCD, config: func() string { return l.ArgoCDConfig },
			drift:    []string{"label", "namespace/billing", "team=ours", "--overwrite"},
			tampered: []string{"patch", "configmap/rates", "--type=merge", `--patch={"data":{"vat":"7"}}`, "--namespace=billing"}, words: "data",
		},
		"Config Sync: its marks and its inventory": {
			play: playConfigSync, config: func() string { return l.ConfigSyncConfig },
			drift:    []string{"patch", "role/reader", "--type=json", `--patch=[{"op":"add","path":"/rules/0/verbs/-","value":"delete"}]`, "--namespace=synced"},
			tampered: []string{"annotate", "configmap/settings", "configmanagement.gke.io/managed=disabled", "--overwrite", "--namespace=synced"}, words: "configmanagement.gke.io/managed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			agent.play(t, l)
			_, err := l.Cluster.Kubectl(t.Context(), l.CarolConfig, "", agent.drift...)
			refused(t, err, "NotFromSyncAgent")
			_, err = l.Cluster.Kubectl(t.Context(), agent.config(), "", agent.tampered...)
			refused(t, err, "FieldsDiffer", agent.words)
		})
	}
	sound(t, l)
}

// live asks for one value of an object, "" if there is none.
func liveValue(t *testing.T, l *lab.Lab, namespace, object, jsonpath string) string {
	t.Helper()
	out, err := l.Cluster.Kubectl(t.Context(), l.AdminConfig, "", "get", "--ignore-not-found", "--namespace="+namespace, object, "--output=jsonpath={"+jsonpath+"}")
	check(t, err)
	return out
}

// leaving waits until somebody has asked for the deletion of an object.
func leaving(t *testing.T, l *lab.Lab, namespace, object string) {
	t.Helper()
	check(t, l.Eventually(t.Context(), func(ctx context.Context) error {
		out, err := l.Cluster.Kubectl(ctx, l.AdminConfig, "", "get", "--namespace="+namespace, object, "--output=jsonpath={.metadata.deletionTimestamp}")
		if err == nil && out == "" {
			return fmt.Errorf("%s is not deleted yet", object)
		}
		return err
	}))
}

// gone waits until an object is deleted.
func gone(t *testing.T, l *lab.Lab, namespace, object string) {
	t.Helper()
	check(t, l.Eventually(t.Context(), func(ctx context.Context) error {
		out, err := l.Cluster.Kubectl(ctx, l.AdminConfig, "", "get", "--ignore-not-found", "--namespace="+namespace, object, "--output=name")
		if err == nil && out != "" {
			return fmt.Errorf("%s is still there", strings.TrimSpace(out))
		}
		return err
	}))
}

// commit has Bob publish files.
func commit(t *testing.T, l *lab.Lab, message string, files map[string]string) {
	t.Helper()
	_, err := l.Repository.Publish(t.Context(), l.Bob, message, files)
	check(t, err)
}

func playFlux(t *testing.T, l *lab.Lab) {
	job := func(image string) map[string]string {
		return map[string]string{"apps/shop/import.yaml": `apiVersion: batch/v1
kind: Job
metadata:
  name: import
  namespace: shop
  annotations: {kustomize.toolkit.fluxcd.io/force: enabled}
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: import, image: "` + image + `"}
`}
	}
	sync := func() {
		t.Helper()
		_, err := l.Flux.Sync(t.Context())
		check(t, err)
	}
	commit(t, l, "import", job("registry.example/import:1"))
	sync()
	uid := liveValue(t, l, "shop", "job/import", ".metadata.uid")
	commit(t, l, "import: 2", job("registry.example/import:2")) // a Job's template cannot change: Flux deletes it and makes another
	sync()
	if now := liveValue(t, l, "shop", "job/import", ".metadata.uid"); now == uid || now == "" {
		t.Errorf("the Job is %q, and was %q", now, uid)
	}
	commit(t, l, "import is done", map[string]string{"apps/shop/import.yaml": ""})
	sync()
	gone(t, l, "shop", "job/import")
}

func playHelmRelease(t *testing.T, l *lab.Lab) {
	sync := func() {
		t.Helper()
		err := l.Helm.Sync(t.Context())
		if errors.Is(err, syncagent.ErrNoHelm) && os.Getenv("CI") == "" {
			t.Skip(err)
		}
		check(t, err)
	}
	sync()
	if got := liveValue(t, l, "released", "deployment/web", ".spec.replicas"); got != "1" {
		t.Errorf("after the install: %s replicas", got)
	}
	for replicas := 2; replicas <= 4; replicas++ { // the third upgrade has Helm delete the record of the first release
		commit(t, l, "web: more", map[string]string{"charts/release/values.yaml": fmt.Sprintf("replicas: %d\n", replicas)})
		sync()
	}
	if got := liveValue(t, l, "released", "deployment/web", ".spec.replicas"); got != "4" {
		t.Errorf("after the upgrades: %s replicas", got)
	}
	if got := liveValue(t, l, "released", "configmap/web-before", ".data.replicas"); got != "4" {
		t.Errorf("the hook is of %s replicas", got)
	}
	gone(t, l, "released", "configmap/web-after")
	gone(t, l, "released", "secret/sh.helm.release.v1.web.v1")
	commit(t, l, "web: one", map[string]string{"charts/release/values.yaml": "replicas: 1\n"})
	sync()
	gone(t, l, "released", "poddisruptionbudget/web")
	commit(t, l, "web: two", map[string]string{"charts/release/values.yaml": "replicas: 2\n"})
	sync()
}

func playArgoCD(t *testing.T, l *lab.Lab) {
	sync := func() {
		t.Helper()
		_, err := l.Billing.Sync(t.Context())
		check(t, err)
	}
	sync()
	if got := liveValue(t, l, "billing", "namespace/billing", ".metadata.labels.team"); got != "billing" {
		t.Errorf("the namespace is of team %q", got)
	}
	uid := liveValue(t, l, "billing", "job/migrate", ".metadata.uid")
	gone(t, l, "billing", "job/announce")
	if out := liveValue(t, l, "billing", "jobs", ".items[*].metadata.name"); out != "migrate" {
		t.Errorf("jobs %q are there, want migrate alone", out)
	}
	rates, err := l.Repository.Read("apps/billing/billing.yaml")
	check(t, err)
	commit(t, l, "rates", map[string]string{"apps/billing/billing.yaml": strings.Replace(rates, `"19"`, `"16"`, 1), "apps/billing/extra.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\n"})
	sync()
	if got := liveValue(t, l, "billing", "configmap/rates", ".data.vat"); got != "16" {
		t.Errorf("the rates are %s", got)
	}
	if now := liveValue(t, l, "billing", "job/migrate", ".metadata.uid"); now == uid || now == "" {
		t.Errorf("the hook of the second sync is %q, and was %q", now, uid)
	}
	commit(t, l, "no extra", map[string]string{"apps/billing/extra.yaml": ""})
	sync()
	gone(t, l, "billing", "configmap/extra")
}

func playConfigSync(t *testing.T, l *lab.Lab) {
	sync := func() {
		t.Helper()
		check(t, l.ConfigSync.Sync(t.Context()))
	}
	sync()
	commit(t, l, "a second", map[string]string{"apps/synced/more/second.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: second, namespace: synced}\n"})
	sync() // of the new commit: each object is applied again, for its token
	head, err := l.Repository.Head(t.Context())
	check(t, err)
	if got := liveValue(t, l, "synced", "role/reader", `.metadata.annotations.configmanagement\.gke\.io/token`); got != string(head) {
		t.Errorf("the token is %s, want %s", got, head)
	}
	commit(t, l, "the second is let go", map[string]string{"apps/synced/more/second.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: second, namespace: synced, annotations: {configmanagement.gke.io/managed: disabled}}\n"})
	sync()
	if got := liveValue(t, l, "synced", "configmap/second", `.metadata.annotations.configmanagement\.gke\.io/managed`); got != "" {
		t.Errorf("the second is managed: %s", got)
	}
	commit(t, l, "the second again", map[string]string{"apps/synced/more/second.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: second, namespace: synced, annotations: {client.lifecycle.config.k8s.io/mutation: ignore}}\n"})
	sync()
	commit(t, l, "not the second", map[string]string{"apps/synced/more/second.yaml": ""})
	sync()
	gone(t, l, "synced", "configmap/second")
	if got := liveValue(t, l, "config-management-system", "resourcegroup/root-sync", ".spec.resources[*].name"); strings.Contains(got, "second") || !strings.Contains(got, "reader") {
		t.Errorf("the inventory names %s", got)
	}
}
