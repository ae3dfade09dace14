package v1alpha1

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const goodRepository = `apiVersion: commitgate.dev/v1alpha1
kind: TrustedRepository
metadata: {name: shop}
spec:
  url: https://git.example.org/shop.git
  branch: main
  anchor: {commit: abcdef6789012345678901234567890123456789}
`

const goodGate = `apiVersion: commitgate.dev/v1alpha1
kind: Gate
metadata: {name: prod}
spec:
  roots:
  - {repository: shop, path: clusters/prod}
  agents:
  - {name: flux, preset: Flux, users: ["system:serviceaccount:flux-system:kustomize-controller"]}
`

func TestParse(t *testing.T) {
	cfg, err := Parse("gate.yaml", []byte(goodRepository+"---\n"+goodGate))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Gate.Spec.Mode != ModeEnforce || cfg.Gate.Spec.Scope != ScopeEverything {
		t.Errorf("what is left out is strict: have %s, %s", cfg.Gate.Spec.Mode, cfg.Gate.Spec.Scope)
	}
	if cfg.Repository("shop") == nil || cfg.Repository("other") != nil {
		t.Error("repositories are found by name")
	}
}

func TestProblems(t *testing.T) {
	tests := map[string]struct {
		config string
		want   []string // each must be among the problems, as a substring
	}{
		"an unknown field is an error with its line": {
			goodRepository + "---\n" + strings.Replace(goodGate, "  roots:", "  wat: 1\n  roots:", 1),
			[]string{`gate.yaml:13: unknown field "spec.wat"`},
		},
		"an unknown field deep inside is found": {
			goodRepository + "---\n" + strings.Replace(goodGate, "path: clusters/prod}", "path: clusters/prod, pruned: true}", 1),
			[]string{`gate.yaml:14: unknown field "spec.roots[0].pruned"`},
		},
		"all problems are listed at once": {
			strings.Replace(goodRepository, "branch: main", "branch: refs/heads/main", 1) + "---\n" + strings.Replace(goodGate, "preset: Flux", "preset: Flus", 1),
			[]string{`spec.branch: "refs/heads/main"`, `spec.agents[0].preset: "Flus": want one of Flux`},
		},
		"a pattern is not a user name": {
			goodRepository + "---\n" + strings.Replace(goodGate, "kustomize-controller", "*", 1),
			[]string{"user names are exact"},
		},
		"a root must name a repository that is there": {
			goodRepository + "---\n" + strings.Replace(goodGate, "repository: shop", "repository: shpo", 1),
			[]string{`spec.roots[0].repository: "shpo": no such TrustedRepository`},
		},
		"a key twice is an error": {
			goodRepository + "---\n" + goodGate + "  mode: Enforce\n  mode: Audit\n",
			[]string{"mode"},
		},
		"an exemption needs a reason": {
			goodRepository + "---\n" + goodGate + "  exemptions: [{name: x, users: [bob]}]\n",
			[]string{"spec.exemptions[0].reason: required"},
		},
		"an exemption of everybody from everything is refused": {
			goodRepository + "---\n" + goodGate + "  exemptions: [{name: x, reason: because}]\n",
			[]string{"exempts everybody"},
		},
		"no gate at all":   {goodRepository, []string{"no document of kind Gate"}},
		"a second gate":    {goodRepository + "---\n" + goodGate + "---\n" + goodGate, []string{"a second Gate"}},
		"not YAML":         {"a: [", []string{"gate.yaml"}},
		"another version":  {strings.Replace(goodGate, "v1alpha1", "v9", 1), []string{`apiVersion "commitgate.dev/v9"`}},
		"a short anchor":   {strings.Replace(goodRepository, "abcdef6789012345678901234567890123456789", "'0123456'", 1) + "---\n" + goodGate, []string{"want a full commit id"}},
		"repository twice": {goodRepository + "---\n" + goodRepository + "---\n" + goodGate, []string{`TrustedRepository "shop" stands in`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("gate.yaml", []byte(tt.config))
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("want Problems, have %v", err)
			}
			for _, want := range tt.want {
				if !slices.ContainsFunc(problems, func(p Problem) bool { return strings.Contains(p.String(), want) }) {
					t.Errorf("want a problem with %q, have:\n%v", want, err)
				}
			}
		})
	}
}

func TestLoadFolder(t *testing.T) {
	dir := t.TempDir()
	bootstrap := `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: apps, namespace: flux-system}
spec: {path: ./apps, prune: true, interval: 1m, sourceRef: {kind: GitRepository, name: shop}}
`
	for name, text := range map[string]string{"gate.yaml": goodGate, "shop.yml": goodRepository, "bootstrap.yaml": bootstrap, ".hidden.yaml": "a: [", "notes.txt": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	roots := cfg.Gate.Spec.Roots
	if len(roots) != 2 || len(roots[1].Objects) != 1 || !strings.Contains(string(roots[1].Objects[0].Raw), `"kind":"Kustomization"`) {
		t.Errorf("an agent's object beside the gate becomes a root: have %+v", roots)
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("an empty folder is no configuration")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(goodRepository + "---\n" + goodGate))
	f.Add([]byte("kind: Gate\napiVersion: commitgate.dev/v1alpha1\nspec: {roots: [1]}"))
	f.Add([]byte("&a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if cfg, err := Parse("fuzz.yaml", data); err == nil && (len(cfg.Gate.Spec.Agents) == 0 || len(cfg.Gate.Spec.Roots) == 0) {
			t.Error("a configuration without agent or root was accepted")
		}
	})
}
