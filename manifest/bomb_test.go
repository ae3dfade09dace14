package manifest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
)

// A signed commit of a few hundred bytes must not keep the gate from rendering the next one: kustomize cannot be interrupted.
func TestKustomizationsCannotGrowWithoutEnd(t *testing.T) {
	const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for i := 'b'; i < 'l'; i++ {
		bomb += fmt.Sprintf("%c: &%c [%s*%c]\n", i, i, strings.Repeat(fmt.Sprintf("*%c,", i-1), 8), i-1)
	}
	indented := strings.ReplaceAll("\n"+configMap+bomb, "\n", "\n    ")
	doubling := map[string]string{"0/kustomization.yaml": "resources: [a.yaml]", "0/a.yaml": configMap, "prod/kustomization.yaml": "resources: [../29]"}
	for i := range 30 {
		doubling[fmt.Sprintf("%d/kustomization.yaml", i+1)] = "resources: [a, b]"
		for _, name := range []string{"a", "b"} {
			doubling[fmt.Sprintf("%d/%s/kustomization.yaml", i+1, name)] = fmt.Sprintf("resources: [../../%d]\nnamePrefix: %s\n", i, name)
		}
	}
	tests := map[string]struct {
		files  map[string]string
		limits Limits
		want   string
		limit  bool
	}{
		"aliases in a resource": {
			files: map[string]string{"prod/kustomization.yaml": "resources: [a.yaml]", "prod/a.yaml": configMap + bomb}, want: "prod/a.yaml: its aliases make it grow beyond",
		},
		"aliases in a second document": {
			files: map[string]string{"prod/kustomization.yaml": "resources: [a.yaml]", "prod/a.yaml": configMap + "---\n" + configMap + bomb}, want: "prod/a.yaml: its aliases",
		},
		"an anchor that holds itself": {
			files: map[string]string{"prod/kustomization.yaml": "resources: [a.yaml]", "prod/a.yaml": configMap + "data: &a {b: *a}\n"}, want: "a.yaml",
		},
		"aliases in a patch": {
			files: map[string]string{"prod/kustomization.yaml": "resources: [a.yaml]\npatches: [{path: p.yaml}]", "prod/a.yaml": configMap, "prod/p.yaml": configMap + bomb},
			want:  "prod/p.yaml: its aliases",
		},
		"aliases in a patch in place": {
			files: map[string]string{"prod/kustomization.yaml": "resources: [a.yaml]\npatches:\n- patch: |" + indented, "prod/a.yaml": configMap},
			want:  "prod/kustomization.yaml: a patch: its aliases",
		},
		"aliases in the kustomization": {
			files: map[string]string{"prod/kustomization.yaml": "resources: []\n" + bomb}, want: "prod/kustomization.yaml: its aliases",
		},
		"folders that are built twice, thirty deep": {
			files: doubling, limits: Limits{Files: 200}, want: "too much to render: a kustomization that reads more than 200 files", limit: true,
		},
		"more bytes than are read": {
			files: map[string]string{"prod/kustomization.yaml": "resources: [a.yaml, b.yaml]", "prod/a.yaml": configMap, "prod/b.yaml": strings.Replace(configMap, "name: a", "name: b", 1)},
			want:  "too much to render: a kustomization that reads more than 40 bytes", limits: Limits{Bytes: 40}, limit: true,
		},
		"a file that is too large": {
			files: map[string]string{"prod/kustomization.yaml": "resources: [a.yaml]", "prod/a.yaml": configMap + "#" + strings.Repeat(" ", 200)},
			want:  "prod/a.yaml: larger than 100 bytes", limits: Limits{FileSize: 100},
		},
		"a folder that holds itself": {
			files: map[string]string{"prod/kustomization.yaml": "resources: [below]", "prod/below/kustomization.yaml": "resources: [../../prod]"}, want: "cycle",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			tree := fstest.MapFS{}
			for name, text := range test.files {
				tree[name] = &fstest.MapFile{Data: []byte(text)}
			}
			_, _, err := kustomizeBuild(t.Context(), tree, "prod", test.limits.withDefaults())
			if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, ErrLimit) != test.limit {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}
