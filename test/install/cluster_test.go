package install

import (
	"errors"
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
		file, err := c.Kubeconfig(name, user)
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	installer := kubeconfig("installer", "system:masters", "commitgate:admins")
	somebody := kubeconfig("somebody", "system:masters")

	// Without the webhook: nobody answers it here. TestStory of test/e2e has it in front of everything.
	objects, _, err := template(t, values(t, least, "webhook: {register: false}"))
	if err != nil {
		t.Fatal(err)
	}
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
}
