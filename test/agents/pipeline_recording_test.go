package agents

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/recorder"
)

const pipelineConfig = `
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
  - {name: ci, preset: Pipeline, users: ["runner@shop.example"]}
  roots:
  - {repository: shop, path: ci/infra}
  - {repository: shop, path: ci/apps/plain}
  - {repository: shop, path: ci/apps/overlays/prod}
  - {repository: shop, path: ci/apps/overlays/staging}
  - {repository: shop, path: ci/apps/jobs}
  - {repository: shop, path: ci/tenants/team-a}
  - {repository: shop, path: ci/chart, release: {name: demo, namespace: ci-chart, valuesFiles: [ci/values.yaml]}}
  - {repository: shop, path: ci/chart, release: {name: ssa, namespace: ci-chart}}
`

// pipeline is a CI runner: kubectl and helm in a checkout, with the runner's rights.
type pipeline struct {
	*recording
	runner string // kubeconfig
}

func (p *pipeline) kubectl(people recorder.People, args ...string) {
	p.t.Helper()
	p.command(people, "kubectl", args...)
}

// command runs a program in the checkout, as the runner.
func (p *pipeline) command(people recorder.People, program string, args ...string) {
	p.t.Helper()
	p.Step(program+" "+strings.Join(args, " "), people)
	cmd := exec.CommandContext(p.t.Context(), bin(p.t, program), args...)
	home := p.t.TempDir()
	cmd.Dir = filepath.Join(p.Repository.Work(), "ci")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+p.runner, "HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_CACHE_HOME="+home, "HELM_DATA_HOME="+home)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Logf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
}

func TestPipelineRecorded(t *testing.T) {
	r := record(start(t, "argocd", []string{"kubectl", "helm"}, nil), &recorder.Recorder{Outside: []string{"scratch"}})
	s := openShop(t, r)
	p := &pipeline{recording: r}
	runner, err := r.Cluster.User("runner@shop.example")
	check(t, err)
	p.runner, err = r.Cluster.Kubeconfig("runner", runner)
	check(t, err)
	tree := func(commit string) map[string]string {
		return edited(s.at(r, commit, "ci"), map[string]func(string) string{"ci/values.yaml": func(string) string { return "replicaCount: 3\n" }})
	}
	r.publish("initial", tree("599da88"))
	r.scenario("70-ci-initial")
	r.does(recorder.Unjudged, r.AdminConfig, "", "create", "clusterrolebinding", "runner", "--clusterrole=cluster-admin", "--user=runner@shop.example")
	r.eventually("the runner may do things", func() error {
		_, err := r.Cluster.Kubectl(t.Context(), p.runner, "", "get", "namespaces")
		return err
	})
	apply := func() {
		p.kubectl(recorder.AsGit, "apply", "--filename=infra", "--recursive")
		r.eventually("the custom resource is served", func() error {
			_, err := r.Cluster.Kubectl(t.Context(), p.runner, "", "get", "widgets.ci.example.test", "--all-namespaces")
			return err
		})
		p.kubectl(recorder.AsGit, "apply", "--filename=apps/plain", "--recursive")
		p.kubectl(recorder.AsGit, "apply", "--kustomize=apps/overlays/prod")
		p.kubectl(recorder.AsGit, "apply", "--server-side", "--kustomize=apps/overlays/staging")
	}
	apply()
	p.kubectl(recorder.AsGit, "create", "--filename=apps/jobs")
	p.kubectl(recorder.AsGit, "apply", "--prune", "--all", "--namespace=ci-team-a", "--prune-allowlist=core/v1/ConfigMap", "--filename=tenants/team-a")
	r.scenario("71-ci-again")
	apply()
	p.kubectl(recorder.AsGit, "apply", "--server-side", "--force-conflicts", "--filename=apps/plain", "--recursive")
	p.kubectl(recorder.AsGit, "replace", "--filename=apps/jobs/job.yaml")
	p.kubectl(recorder.AsGit, "diff", "--kustomize=apps/overlays/prod")
	p.kubectl(recorder.AsGit, "apply", "--dry-run=server", "--kustomize=apps/overlays/prod")
	r.scenario("72-ci-drift")
	carol := r.CarolConfig
	for _, args := range [][]string{
		{"set", "image", "deployment/web", "web=registry.test/evil:1", "--namespace=ci-plain"},
		{"scale", "deployment/web", "--replicas=9", "--namespace=ci-plain"},
		{"patch", "configmap/web-config", "--namespace=ci-plain", "--type=merge", `--patch={"data":{"LOG_LEVEL":"hacked"}}`},
		{"annotate", "service/db", "mine=yes", "--namespace=ci-plain"},
		{"delete", "service/web-np", "--namespace=ci-plain"},
		{"rollout", "restart", "deployment/web", "--namespace=ci-plain"},
		{"label", "namespace/ci-prod", "team=mine"},
	} {
		r.does(recorder.Drift, carol, "", args...)
	}
	p.kubectl(recorder.Drift, "rollout", "restart", "deployment/api", "--namespace=ci-prod")
	r.scenario("73-ci-correction")
	apply()
	p.kubectl(recorder.AsGit, "apply", "--server-side", "--force-conflicts", "--filename=apps/plain", "--recursive")
	r.scenario("74-ci-commits")
	for _, commit := range []string{"c07d8ca", "970c56f", "acded72", "0d4f821", "a19aac2"} {
		r.publish(commit, tree(commit))
		apply()
		if commit == "a19aac2" {
			p.kubectl(recorder.Unjudged, "replace", "--force", "--filename=apps/jobs/job.yaml")
			p.kubectl(recorder.AsGit, "delete", "--namespace=ci-plain", "statefulset/db", "daemonset/agent", "ingress/web", "deployment/web")
		}
	}
	r.publish("no tenant settings", edited(tree("a19aac2"), map[string]func(string) string{"ci/tenants/team-a/app.yaml": func(s string) string { return s[:strings.Index(s, "---")] }}))
	p.kubectl(recorder.AsGit, "apply", "--prune", "--all", "--namespace=ci-team-a", "--prune-allowlist=core/v1/ConfigMap", "--filename=tenants/team-a")
	r.scenario("60-helm")
	upgrade := []string{"upgrade", "--install", "demo", "chart", "--namespace=ci-chart", "--values=values.yaml", "--server-side=false"}
	ssa := []string{"upgrade", "--install", "ssa", "chart", "--namespace=ci-chart", "--server-side=true"}
	p.command(recorder.AsGit, "helm", upgrade...)
	p.command(recorder.AsGit, "helm", ssa...)
	p.command(recorder.AsGit, "helm", upgrade...)
	p.command(recorder.AsGit, "helm", append(upgrade, "--dry-run=server")...)
	p.command(recorder.AsGit, "helm", append(upgrade, "--force-replace")...)
	r.does(recorder.Drift, carol, "", "scale", "deployment/demo-demo", "--replicas=9", "--namespace=ci-chart")
	p.command(recorder.AsGit, "helm", upgrade...)
	p.command(recorder.AsGit, "helm", ssa...)
	r.publish("three", edited(tree("a19aac2"), map[string]func(string) string{
		"ci/tenants/team-a/app.yaml": func(s string) string { return s[:strings.Index(s, "---")] },
		"ci/values.yaml":             func(string) string { return "replicaCount: 4\n" },
		"ci/chart/templates/all.yaml": func(s string) string {
			parts := strings.Split(s, "---\n")
			return parts[0] + "---\n" + parts[1] + "---\n" + parts[3]
		},
	}))
	p.command(recorder.AsGit, "helm", upgrade...)
	p.command(recorder.AsGit, "helm", ssa...)
	p.command(recorder.Unjudged, "helm", "rollback", "demo", "1", "--namespace=ci-chart")
	p.command(recorder.AsGit, "helm", upgrade...)
	p.command(recorder.Unjudged, "helm", "uninstall", "ssa", "--namespace=ci-chart")
	r.judge(strings.ReplaceAll(pipelineConfig, "$URL", r.Repository.URL()))
}
