package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/lab"
)

// helm is Helm's own program in a CI job: in a checkout of the branch, with the runner's kubeconfig.
func helm(t *testing.T, l *lab.Lab, args ...string) error {
	t.Helper()
	root, err := cluster.ModuleRoot()
	check(t, err)
	program := filepath.Join(root, "bin", "helm")
	if _, err := os.Stat(program); errors.Is(err, os.ErrNotExist) && os.Getenv("CI") == "" {
		t.Skip("helm is not built: run `make helm`")
	}
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = l.Repository.Work()
	cmd.Env = append(os.Environ(), "KUBECONFIG="+l.RunnerConfig, "HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_CACHE_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := cmd.CombinedOutput()
	t.Logf("helm %s\n%s", strings.Join(args, " "), out)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// A push pipeline: what the runner's helm does is what Git says, or it is refused; whatever rights the runner has.
func TestARunnersHelmReleasesWhatGitSays(t *testing.T) {
	for way, flags := range map[string][]string{
		"with server-side apply":                          {"--server-side=true"},
		"with patches made at the client, as Helm 3 does": {"--server-side=false"},
	} {
		t.Run(way, func(t *testing.T) {
			l := startWith(t, lab.Config{Pipeline: true})
			upgrade := func(more ...string) error {
				args := []string{"upgrade", "--install", "web", "charts/web", "--namespace=web", "--create-namespace", "--values=env/prod.yaml"}
				return helm(t, l, append(append(args, flags...), more...)...)
			}
			replicas := func() string { return get(t, l, ".spec.replicas", "--namespace=web", "deployment/web") }

			check(t, upgrade())
			if have := replicas(); have != "2" {
				t.Errorf("after the install: %s replicas, want 2", have)
			}
			check(t, upgrade()) // once more, of the same commit: the hook is deleted and made anew

			refused(t, upgrade("--set=replicas=9"), "FieldsDiffer", "spec.replicas", "charts/web")
			refused(t, upgrade("--set=motd=owned"), "FieldsDiffer")
			if have := replicas(); have != "2" {
				t.Errorf("after a refused upgrade: %s replicas, want 2", have)
			}

			_, err := l.Repository.Publish(t.Context(), l.Bob, "web: three", map[string]string{"env/prod.yaml": "replicas: 3\n"})
			check(t, err)
			check(t, upgrade())
			if have := replicas(); have != "3" {
				t.Errorf("after a commit: %s replicas, want 3", have)
			}

			// The revision before is in the release's history, and in Git's; it is not what Git says.
			refused(t, helm(t, l, "rollback", "web", "1", "--namespace=web"), "FieldsDiffer", "spec.replicas")

			if err := helm(t, l, "uninstall", "web", "--namespace=web"); err == nil {
				t.Error("a release that Git declares was uninstalled")
			}
			if have := replicas(); have != "3" {
				t.Errorf("after a refused uninstall: %s replicas, want 3", have)
			}
			check(t, upgrade()) // and Helm still takes the release for one that it can upgrade

			// The runner is this release's and no other's.
			refused(t, helm(t, l, "upgrade", "--install", "other", "charts/web", "--namespace=web", "--values=env/prod.yaml"), "NotDeclared")
			sound(t, l)
		})
	}
}
