package library_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	upstream "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/policy"
)

// The rule must say what Kubernetes' own admission plugin says of each of the samples that the plugin is tested with, at every level.
func TestPodSecurityLevelsAgreeWithKubernetes(t *testing.T) {
	evaluator, err := upstream.NewEvaluator(upstream.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, level := range []api.Level{api.LevelBaseline, api.LevelRestricted} {
		t.Run(string(level), func(t *testing.T) {
			set := atLevel(t, level)
			judged := map[bool]int{}
			for _, p := range samples(t) {
				want := true
				for _, r := range evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, &p.pod.ObjectMeta, &p.pod.Spec) {
					want = want && r.Allowed
				}
				in, err := policy.ReadInputs(p.text, policy.Context{Time: noon})
				if err != nil {
					t.Fatal(err)
				}
				got, err := set.Decide(context.Background(), in[0])
				if err != nil {
					t.Fatal(err)
				}
				if got.Allowed() != want {
					t.Errorf("%s: allowed %v, Kubernetes says %v: %+v", p.name, got.Allowed(), want, got.Denials)
				}
				judged[want]++
			}
			if judged[true] < 20 || judged[false] < 20 {
				t.Errorf("the samples do not try both answers: %v", judged)
			}
		})
	}
}

func atLevel(t *testing.T, level api.Level) *policy.Set {
	t.Helper()
	fsys := copied(t, "pod_security")
	fsys["policies/pod_security/settings.rego"] = &fstest.MapFile{Data: fmt.Appendf(nil,
		"package commitgate.pod_security\n\nlevels := [{\"namespaces\": [\"*\"], \"level\": %q}]\n", level)}
	s, err := policy.LoadUnverified(context.Background(), fsys, "policies", true)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type sample struct {
	name string
	text []byte
	pod  corev1.Pod
}

// samples are the pods that the module of the plugin brings along, of all versions of the standards.
func samples(t *testing.T) []sample {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/pod-security-admission").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(strings.TrimSpace(string(dir)), "test", "testdata")
	files, err := filepath.Glob(filepath.Join(root, "*", "*", "*", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var out []sample
	seen := map[string]bool{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		s := sample{name: strings.TrimPrefix(f, root), text: text}
		if err := yaml.Unmarshal(text, &s.pod); err != nil {
			t.Fatal(err)
		}
		spec, err := json.Marshal(s.pod)
		if err != nil {
			t.Fatal(err)
		}
		if seen[string(spec)] {
			continue
		}
		seen[string(spec)] = true
		out = append(out, s)
	}
	return out
}
