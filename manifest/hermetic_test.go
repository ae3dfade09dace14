package manifest

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// A push that has the gate run git, or ask a server, would choose what the gate talks to. Here git, helm, docker and sh leave a mark when they
// are run, and the server counts who asks.
func TestAKustomizationNeitherRunsNorFetchesAnything(t *testing.T) {
	bin, mark := t.TempDir(), filepath.Join(t.TempDir(), "ran")
	for _, name := range []string{"git", "helm", "helmV3", "docker", "podman", "sh", "bash", "ssh", "plugin"} {
		script := fmt.Sprintf("#!/bin/sh\necho %s >>%s\nexit 1\n", name, mark)
		check(t, os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755))
	}
	t.Setenv("PATH", bin)
	t.Setenv("KUSTOMIZE_PLUGIN_HOME", bin)
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fetched}\n")
	}))
	defer server.Close()
	touched := func() string {
		ran, _ := os.ReadFile(mark)
		return fmt.Sprintf("%d requests; run: %s", asked.Load(), strings.Fields(string(ran)))
	}

	tests := map[string]string{
		"a file":                           "resources: [URL/a.yaml]",
		"a repository":                     "resources: ['URL/org/repo?ref=v1']",
		"a repository of GitHub":           "resources: [github.com/org/repo]",
		"a folder of a repository":         "resources: ['https://127.0.0.1:1/org/repo.git//deploy?ref=v1']",
		"a repository over ssh":            "resources: ['git@127.0.0.1:org/repo.git']",
		"a repository, the long way":       "resources: ['git::URL/org/repo']",
		"a repository of the machine":      "resources: ['file:///tmp/repo.git']",
		"a base":                           "bases: [URL/org/repo]",
		"a component":                      "components: ['URL/org/repo']",
		"a component of a repository":      "components: ['git@127.0.0.1:org/repo']",
		"a file of a generator":            "configMapGenerator: [{name: a, files: [URL/a]}]",
		"a named file of a generator":      "secretGenerator: [{name: a, files: [key=URL/a]}]",
		"variables of a generator":         "configMapGenerator: [{name: a, envs: [URL/a]}]",
		"a variable file of a generator":   "configMapGenerator: [{name: a, env: URL/a}]",
		"a patch":                          "patches: [{path: URL/a.yaml}]",
		"a patch, the old way":             "patchesStrategicMerge: [URL/a.yaml]",
		"a JSON patch, the old way":        "patchesJson6902: [{path: URL/a.yaml, target: {version: v1, kind: ConfigMap, name: a}}]",
		"replacements":                     "replacements: [{path: URL/a.yaml}]",
		"a schema":                         "openapi: {path: URL/a.json}",
		"definitions":                      "crds: [URL/a.json]",
		"a configuration":                  "configurations: [URL/a.yaml]",
		"a generator that is fetched":      "generators: [URL/a.yaml]",
		"a transformer that is fetched":    "transformers: ['URL/org/repo']",
		"a validator that is fetched":      "validators: ['URL/org/repo']",
		"a chart":                          "helmCharts: [{name: a, repo: URL, version: 1.0.0}]",
		"a chart, the old way":             "helmChartInflationGenerator: [{chartName: a, chartRepoUrl: URL}]",
		"what a folder below fetches":      "resources: [below]",
		"a built-in transformer's file":    "resources: [a.yaml]\ntransformers: [builtin.yaml]",
		"the same in place":                "resources: [a.yaml]\ntransformers: [\"apiVersion: builtin\\nkind: PatchTransformer\\nmetadata: {name: p}\\npath: URL/a.yaml\\n\"]",
		"a built-in generator's chart":     "generators: [\"apiVersion: builtin\\nkind: HelmChartInflationGenerator\\nmetadata: {name: h}\\nname: a\\nrepo: URL\\n\"]",
		"a plugin":                         "generators: [\"apiVersion: example.com/v1\\nkind: Plugin\\nmetadata: {name: p}\\n\"]",
		"a program as a function":          "transformers: [\"apiVersion: example.com/v1\\nkind: P\\nmetadata: {name: p, annotations: {config.kubernetes.io/function: 'exec: {path: ./plugin}'}}\\n\"]",
		"a container as a function":        "transformers: [\"apiVersion: example.com/v1\\nkind: P\\nmetadata: {name: p, annotations: {config.kubernetes.io/function: 'container: {image: a, network: true}'}}\\n\"]",
		"a script as a function":           "transformers: [\"apiVersion: example.com/v1\\nkind: P\\nmetadata: {name: p, annotations: {config.kubernetes.io/function: 'starlark: {url: URL/a.star}'}}\\n\"]",
		"a path that is no repository yet": "resources: [../../../../../../../etc]",
	}
	for name, kustomization := range tests {
		t.Run(name, func(t *testing.T) {
			file := func(text string) *fstest.MapFile {
				return &fstest.MapFile{Data: []byte(strings.ReplaceAll(text, "URL", server.URL))}
			}
			tree := fstest.MapFS{
				"prod/kustomization.yaml":       file(kustomization),
				"prod/below/kustomization.yaml": file("resources: [URL/a.yaml]"),
				"prod/a.yaml":                   file("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"),
				"prod/builtin.yaml":             file("apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: p}\npath: URL/a.yaml\n"),
			}
			docs, _, err := kustomizeBuild(t.Context(), tree, "prod", Limits{}.withDefaults())
			if err == nil {
				t.Errorf("it built %v", contents(docs))
			}
			if got := touched(); got != "0 requests; run: []" {
				t.Errorf("%v after: %s", err, got)
			}
		})
	}

	// What the test above would see without the gate's own filesystem in between.
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte("resources: ['git::"+server.URL+"/org/repo', "+server.URL+"/a.yaml]"), 0o644))
	_, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if got := touched(); err == nil || got == "0 requests; run: []" {
		t.Errorf("kustomize by itself: %v; %s: this test proves nothing", err, got)
	}
}

// guardedTree fails the test that asks it for what is no path of a tree.
type guardedTree struct {
	fstest.MapFS
	t *testing.T
}

func (g guardedTree) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		g.t.Errorf("kustomize was shown %q", name)
	}
	return g.MapFS.Open(name)
}

// FuzzKustomization: whatever a kustomization says, it builds or is refused, the same each time, and nothing but the tree is read.
func FuzzKustomization(f *testing.F) {
	names, err := filepath.Glob("testdata/kustomize/*.txtar")
	check(f, err)
	for _, name := range names {
		archive, err := txtar.ParseFile(name)
		check(f, err)
		for _, file := range archive.Files {
			if strings.HasSuffix(file.Name, "prod/kustomization.yaml") {
				f.Add(file.Data)
			}
		}
	}
	for _, seed := range []string{
		"resources: [../../etc/passwd, /etc/passwd, ~/x, 'a.yaml?x=y', a.yaml//b]", "components: [.]", "resources: [..]", "configMapGenerator: [{name: a, files: [../../../etc/passwd]}]",
		"openapi: {path: /}", "patches: [{path: ''}]", "transformers: [a.yaml, .]", "generators: ['apiVersion: builtin\nkind: X']", "resources: [a.yaml]\nvars: [{name: A}]", "a: &a [*a]",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, kustomization []byte) {
		build := func() string {
			tree := guardedTree{fstest.MapFS{
				"prod/kustomization.yaml": {Data: kustomization},
				"prod/a.yaml":             {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")},
				"base/kustomization.yaml": {Data: []byte("resources: [web.yaml]\n")},
				"base/web.yaml":           {Data: []byte("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n")},
			}, t}
			docs, inputs, err := kustomizeBuild(t.Context(), tree, "prod", Limits{Files: 100}.withDefaults())
			for _, p := range inputs {
				if !fs.ValidPath(string(p)) {
					t.Errorf("%q is an input", p)
				}
			}
			for _, doc := range docs {
				if !fs.ValidPath(string(doc.path)) {
					t.Errorf("a document comes from %q", doc.path)
				}
			}
			return fmt.Sprintf("%v %v", contents(docs), err != nil)
		}
		if first, second := build(), build(); first != second {
			t.Errorf("it builds %s, and then %s", first, second)
		}
	})
}
