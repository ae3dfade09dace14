package install

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/test/cluster"
)

func TestMain(m *testing.M) { os.Exit(cluster.Isolated(m.Run)) }

// TestInstalled applies what the chart renders to a real API server, twice, and tries what the policies inside it guard.
func TestInstalled(t *testing.T) {
	ctx := t.Context()
	c, err := cluster.Start(ctx, cluster.Config{Dir: t.TempDir()})
	if errors.Is(err, cluster.ErrNotBuilt) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	kubeconfig := func(name string, groups ...string) string {
		user, err := c.User(name, groups...)
		if err != nil {
			t.Fatal(err)
		}
		file, err := c.Kubeconfig(strings.ReplaceAll(name, ":", "-"), user) // a colon separates files in KUBECONFIG
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	installer := kubeconfig("installer", "system:masters", "commitgate:admins")
	somebody := kubeconfig("somebody", "system:masters")

	// Without the webhook: nobody answers it here. TestStory of test/e2e has it in front of everything.
	objects, _, err := template(t, values(t, least))
	if err != nil {
		t.Fatal(err)
	}
	delete(objects, "ValidatingWebhookConfiguration commitgate")
	if _, err := c.Kubectl(ctx, installer, "", "create", "namespace", "commitgate"); err != nil {
		t.Fatal(err)
	}
	var stream strings.Builder
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		b, err := yaml.Marshal(objects[name])
		if err != nil {
			t.Fatal(err)
		}
		stream.WriteString("---\n" + string(b))
	}
	for range 2 { // an upgrade to the same changes nothing that the API server minds
		if out, err := c.Kubectl(ctx, installer, stream.String(), "apply", "--server-side", "--filename=-"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	out, err := c.Kubectl(ctx, installer, "", "get", "validatingadmissionpolicies", "--output=jsonpath={.items[*].status.typeChecking.expressionWarnings}")
	if err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("the API server warns of the expressions: %s (%v)", out, err)
	}

	refused := func(what, who string, args ...string) {
		t.Helper()
		// A policy takes effect a moment after it is created.
		err := eventually(ctx, func() error {
			out, err := c.Kubectl(ctx, who, "", append(args, "--dry-run=server")...)
			var kubectl *cluster.KubectlError
			if errors.As(err, &kubectl) && strings.Contains(kubectl.Stderr, "commitgate guards itself") {
				return nil
			}
			return errors.Join(errors.New("not refused: "+out), err)
		})
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("somebody with every right changes the gate's configuration", somebody, "--namespace=commitgate", "create", "configmap", "other")
	refused("somebody scales the gate to nothing", somebody, "--namespace=commitgate", "scale", "statefulset", "commitgate", "--replicas=0")
	refused("somebody deletes the gate", somebody, "--namespace=commitgate", "delete", "statefulset", "commitgate")
	if _, err := c.Kubectl(ctx, installer, "", "--namespace=commitgate", "scale", "statefulset", "commitgate", "--replicas=2"); err != nil {
		t.Errorf("an administrator of the gate is refused: %v", err)
	}
	customResources(t, c, installer)
	job := rotation(t, c, installer)

	// No deadlock: the controllers of Kubernetes may still make the gate's own pods.
	err = eventually(ctx, func() error {
		out, err := c.Kubectl(ctx, installer, "", "--namespace=commitgate", "get", "pods", "--output=name")
		if err == nil && strings.Count(out, "pod/commitgate-") < 2 {
			err = errors.New("pods: " + out)
		}
		return err
	})
	if err != nil {
		t.Errorf("the StatefulSet controller cannot make the gate's pods: %v", err)
	}
	admin, err := c.User("installer", "system:masters", "commitgate:admins")
	if err != nil {
		t.Fatal(err)
	}
	bugReport(t, c, admin, installer)
	everythingDown(t, c, installer, job, kubeconfig("mallory", "system:masters"), kubeconfig("system:node:n1", "system:nodes", "system:masters"))
}

// everythingDown puts the webhook in front of the API server while nobody answers it: nothing may change but what the gate needs to come back.
func everythingDown(t *testing.T, c *cluster.Cluster, installer, job, somebody, node string) {
	t.Helper()
	ctx := t.Context()
	must := func(who string, args ...string) {
		t.Helper()
		if out, err := c.Kubectl(ctx, who, "", args...); err != nil {
			t.Errorf("kubectl %v: %v\n%s", args, err, out)
		}
	}
	must(installer, "apply", "--server-side", "--filename=../../config/webhook/webhook.yaml")
	err := eventually(ctx, func() error {
		_, err := c.Kubectl(ctx, somebody, "", "--namespace=default", "create", "configmap", "other", "--dry-run=server")
		if err == nil {
			return errors.New("a change passes though nobody answers")
		}
		if !strings.Contains(err.Error(), "gate.commitgate.dev") {
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	must(node, "create", "--filename=testdata/node.yaml")
	must(node, "label", "node", "n1", "topology.kubernetes.io/zone=a")
	must(installer, "--namespace=commitgate", "scale", "statefulset", "commitgate", "--replicas=4")
	err = eventually(ctx, func() error {
		_, err := c.Kubectl(ctx, installer, "", "--namespace=commitgate", "get", "pod/commitgate-3", "persistentvolumeclaim/data-commitgate-3")
		return err
	})
	if err != nil {
		t.Errorf("no further pod and claim while the gate is down: %v", err)
	}
	// Its certificate authority is replaced all the same, when its end is why nobody answers.
	must(installer, "--namespace=commitgate", "create", "job", "now", "--from=cronjob/commitgate-certificates")
	err = eventually(ctx, func() error {
		out, err := c.Kubectl(ctx, installer, "", "--namespace=commitgate", "get", "pods", "--selector=job-name=now", "--output=name")
		if err == nil && out == "" {
			err = errors.New("no pod")
		}
		return err
	})
	if err != nil {
		t.Errorf("the job that replaces the authority does not run while the gate is down: %v", err)
	}
	for _, object := range [][]string{{"secret", "commitgate-ca"}, {"validatingwebhookconfiguration", "commitgate"}} {
		args := append([]string{"--namespace=commitgate", "get", "--output=json"}, object...)
		text, err := c.Kubectl(ctx, job, "", args...)
		if err == nil {
			text = strings.NewReplacer(`"tls.key": "`, `"tls.key": "Cgoo`, `"caBundle": "`, `"caBundle": "Cgoo`).Replace(text)
			_, err = c.Kubectl(ctx, job, text, "replace", "--filename=-")
		}
		if err != nil {
			t.Errorf("the job's own rights do not suffice, while the gate is down, for %v: %v", object, err)
		}
	}
	_, err = c.Kubectl(ctx, installer, "", "--namespace=commitgate", "create", "token", "commitgate")
	if err != nil {
		t.Errorf("no token for the gate's pods while the gate is down: %v", err)
	}
	err = eventually(ctx, func() error { // this policy may take effect later than those before
		_, err := c.Kubectl(ctx, somebody, "", "--namespace=commitgate", "create", "token", "commitgate")
		if err == nil || !strings.Contains(err.Error(), "commitgate guards itself") {
			return fmt.Errorf("want a refusal by the policy, got %v", err)
		}
		return nil
	})
	if err != nil {
		t.Errorf("somebody gets a token of the gate while it is down: %v", err)
	}
}

// customResources tries what the schemas let in: the YAML of a configuration file, and nothing that the gate would refuse to start with.
func customResources(t *testing.T, c *cluster.Cluster, kubeconfig string) {
	const good = `
apiVersion: commitgate.dev/v1alpha1
kind: TrustedRepository
metadata: {name: infra}
spec: {url: "https://git.example.org/infra.git", branch: main, anchor: {commit: abcdef1111111111111111111111111111111111}}
---
apiVersion: commitgate.dev/v1alpha1
kind: Gate
metadata: {name: test}
spec:
  cluster: test
  mode: Audit
  agents: [{name: flux, preset: Flux, users: ["system:serviceaccount:flux-system:kustomize-controller"]}]
  roots:
  - objects: [{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: apps, namespace: flux-system}, spec: {path: ./apps}}]
  - {repository: infra, path: clusters/test}
  exemptions: [{name: hpa, fields: [spec.replicas], reason: autoscaling, expires: "2030-01-01T00:00:00Z"}]
`
	if out, err := c.Kubectl(t.Context(), kubeconfig, good, "apply", "--filename=-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := c.Kubectl(t.Context(), kubeconfig, "", "get", "gates,trustedrepositories", "--output=yaml")
	if err != nil || !strings.Contains(out, "path: ./apps") {
		t.Errorf("the agent's object did not come back word for word: %v\n%s", err, out)
	}
	for change, want := range map[string]string{
		"mode: Audit=mode: Off": "Unsupported value",
		"path: clusters/test}=path: clusters/test, objects: [{apiVersion: v1, kind: ConfigMap}]}": "either path or objects",
		"branch: main=branch: refs/heads/main":                                                    "without refs/heads/",
		"commit: abcdef1111=commit: abc":                                                          "should match",
		"fields: [spec.replicas], =":                                                              "exempts everybody",
		"kustomize-controller\"]=*\"]":                                                            "should match",
	} {
		old, new, _ := strings.Cut(change, "=")
		_, err := c.Kubectl(t.Context(), kubeconfig, strings.Replace(good, old, new, 1), "apply", "--filename=-", "--dry-run=server")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a refusal that says %q", change, err, want)
		}
	}
}
