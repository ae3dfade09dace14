package agents

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/recorder"
)

const argoConfig = `
apiVersion: commitgate.dev/v1alpha1
kind: TrustedRepository
metadata: {name: shop}
spec:
  url: $URL
  branch: main
  anchor: {commit: %s}
---
apiVersion: commitgate.dev/v1alpha1
kind: Gate
metadata: {name: recorded}
spec:
  cluster: recorded
  agents:
  - {name: argocd, preset: ArgoCD, users: ["system:serviceaccount:argocd:argocd-application-controller"]}
`

// application is an Application that a person makes outside Git.
func application(name, url, path, namespace, more string, options ...string) string {
	return fmt.Sprintf(`apiVersion: argoproj.io/v1alpha1
kind: Application
metadata:
  name: %s
  namespace: argocd
spec:
  project: default
  source: {repoURL: "%s", targetRevision: main, path: %s%s}
  destination: {server: "https://kubernetes.default.svc", namespace: %s}
  syncPolicy:
    automated: {prune: true, selfHeal: true}
    syncOptions: [%s]
    retry: {limit: 10, backoff: {duration: 1s, factor: 1, maxDuration: 1s}}
`, name, url, path, more, namespace, strings.Join(options, ", "))
}

func TestArgoCDRecorded(t *testing.T) {
	crds, err := filepath.Glob(filepath.Join(bin(t, "argocd"), "*.yaml"))
	check(t, err)
	parts := []string{"apiVersion: v1\nkind: Namespace\nmetadata: {name: argocd}\n"}
	for _, crd := range crds {
		text, err := os.ReadFile(crd)
		check(t, err)
		parts = append(parts, strings.TrimPrefix(string(text), "---\n"))
	}
	a := &argoCD{start(t, "argocd", []string{"argocd-application-controller", "argocd-repo-server", "argocd-redis"}, map[string]string{"crds.yaml": strings.Join(parts, "---\n")}), freeAddress(t), freeAddress(t)}
	r := record(a.stage, &recorder.Recorder{Agents: []string{"system:serviceaccount:argocd:argocd-application-controller"}, Outside: []string{"scratch"}})
	s := openShop(t, r)
	a.tools = tools(t)
	r.scenario("40-argocd-install")
	r.Step("install", recorder.Unjudged)
	a.bootstrap("kubectl", "crds.yaml", "install.yaml")
	r.publish("initial", s.at(r, "599da88", "ac", "as"))
	for _, way := range []string{"ac", "as"} {
		options := []string{}
		if way == "as" {
			options = append(options, "ServerSideApply=true")
		}
		for _, app := range []struct {
			name, path, namespace, more string
			options                     []string
		}{
			{"infra", "infra", "default", "", nil},
			{"plain", "apps/plain", "plain", "", nil},
			{"prod", "apps/overlays/prod", "prod", "", nil},
			{"staging", "apps/overlays/staging", "staging", "", nil},
			{"team-a", "tenants/team-a", "team-a", "", nil},
			{"jobs", "apps/jobs", "jobs", "", []string{"Replace=true", "Force=true"}},
			{"chart", "chart", "chart", ", helm: {releaseName: demo, parameters: [{name: replicaCount, value: \"1\"}]}", nil},
		} {
			if app.name == "jobs" && way == "as" {
				app.options = []string{"Force=true"}
			}
			namespace := app.namespace
			if namespace != "default" {
				namespace = way + "-" + namespace
			}
			r.bootstrapped = append(r.bootstrapped, application(way+"-"+app.name, r.Repository.URL(), way+"/"+app.path, namespace, app.more, append(options, app.options...)...))
		}
	}
	r.does(recorder.Unjudged, a.AdminConfig, strings.Join(r.bootstrapped, "---\n"), "apply", "--filename=-")
	r.scenario("41-argocd-initial")
	a.programs()
	a.settled("initial")
	r.scenario("43-argocd-commits")
	for _, commit := range []string{"c07d8ca", "970c56f", "acded72", "31008ca", "36bf4cd", "d13a22b", "07a89a5", "0d4f821", "a19aac2"} {
		r.publish(commit, s.at(r, commit, "ac", "as"))
		a.settled(commit)
	}
	r.judge(strings.ReplaceAll(argoConfig, "$URL", r.Repository.URL()))
}

// programs starts Redis, the repo-server and the controller.
func (a *argoCD) programs() {
	a.run("argocd-redis", "", "", nil, []string{a.redis})
	a.run("argocd-repo-server", "argocd", "argocd-application-controller", []string{"ARGOCD_GPG_ENABLED=false"}, []string{
		"--address=127.0.0.1", "--port=" + a.repositories[strings.LastIndex(a.repositories, ":")+1:], "--metrics-port=" + freePort(a.t), "--redis=" + a.redis, "--disable-tls", "--revision-cache-expiration=2s",
	})
	a.controller()
}

// settled waits until every Application has tried what the branch says, whatever came of it.
func (a *argoCD) settled(what string) {
	a.t.Helper()
	head, err := a.Repository.Head(a.t.Context())
	check(a.t, err)
	a.eventually(what, func() error {
		const state = `{range .items[*]}{.metadata.name} {.status.sync.status} {.status.sync.revision} {.status.operationState.phase} {.status.conditions[*].message}{"\n"}{end}`
		out := a.get("argocd", "applications.argoproj.io", state)
		for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
			if field := strings.Fields(line); len(field) < 4 || field[2] != string(head) || field[3] == "Running" {
				return fmt.Errorf("not all have synced %s:\n%s", head.Short(), out)
			}
		}
		return nil
	})
	a.t.Log(what, a.get("argocd", "applications.argoproj.io", `{range .items[*]}{.metadata.name} {.status.sync.status} {.status.operationState.phase} {.status.operationState.message}{"\n"}{end}`))
}

// tools are the programs that the repo-server runs: helm, and kubectl in the place of kustomize, which is in it.
func tools(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	check(t, os.Symlink(bin(t, "helm"), filepath.Join(dir, "helm")))
	script := "#!/bin/sh\ncase $1 in\nbuild) shift; exec " + bin(t, "kubectl") + " kustomize \"$@\";;\nversion) echo v5.8.1;;\n*) exit 1;;\nesac\n"
	check(t, os.WriteFile(filepath.Join(dir, "kustomize"), []byte(script), 0o700))
	return dir
}
