package manifest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// billion is YAML that nine levels of aliases make grow to a billion values.
func billion() string {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for i := 'b'; i < 'l'; i++ {
		bomb += fmt.Sprintf("%c: &%c [%s*%c]\n", i, i, strings.Repeat(fmt.Sprintf("*%c,", i-1), 8), i-1)
	}
	return bomb
}

// TestAttacksOnTheRendering: what a push may hold to take the gate down, or to have it read what is not in the tree. Each ends with the place named,
// and the revision before stays.
func TestAttacksOnTheRendering(t *testing.T) {
	const (
		configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop}\n"
		chart     = "-- c/Chart.yaml --\napiVersion: v2\nname: c\nversion: 0.1.0\n"
	)
	flux := kustomizationRoot("", "")
	argo := func(path string) string {
		return argoRoot("source: {repoURL: 'https://git.example.com/org/infra', path: " + path + "}")
	}
	set := func(spec string) string {
		return "-- sets/set.yaml --\napiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: set, namespace: argocd}\nspec:\n" + indent(spec) + "\n"
	}
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	tests := map[string]struct {
		root, files string
		links       map[string]string // symbolic links, from and to
		limits      Limits
		want        string // in the error; "" is that the link is left out, as the agent does
		forbidden   string // must not be there
	}{
		// Aliases.
		"aliases in a manifest":        {root: flux, files: "-- apps/a.yaml --\n" + configMap + billion(), want: "infra:apps/a.yaml:4: the document grows beyond"},
		"aliases in a manifest, Argo":  {root: argo("apps"), files: "-- apps/a.yaml --\n" + configMap + billion(), want: "infra:apps/a.yaml:4: the document grows beyond"},
		"aliases in a chart's values":  {root: argo("c"), files: chart + "-- c/values.yaml --\n" + billion(), want: "infra:c"},
		"aliases in a chart's file":    {root: argo("c"), files: "-- c/Chart.yaml --\napiVersion: v2\nname: c\nversion: 0.1.0\n" + billion(), want: "infra:c"},
		"aliases that a chart makes":   {root: argo("c"), files: chart + "-- c/templates/a.yaml --\n" + configMap + billion(), want: "infra:c/templates/a.yaml: renders to something that is not YAML"},
		"aliases in a values file":     {root: argoRoot("source: {repoURL: 'https://git.example.com/org/infra', path: c, helm: {valueFiles: [v.yaml]}}"), files: chart + "-- c/v.yaml --\n" + billion(), want: "infra:c/v.yaml"},
		"aliases in a list of a set":   {root: argo("sets"), files: set("goTemplate: true\ngenerators: [{list: {elementsYaml: \"" + strings.ReplaceAll(billion(), "\n", "\\n") + "\"}}]\ntemplate: {metadata: {name: a}}"), want: "infra:sets/set.yaml"},
		"aliases in a file of a set":   {root: argo("sets"), files: set("goTemplate: true\ngenerators: [{git: {repoURL: 'https://git.example.com/org/infra', files: [{path: f/*.yaml}]}}]\ntemplate: {metadata: {name: a}}") + "-- f/a.yaml --\n" + billion(), want: "infra:f/a.yaml"},
		"aliases that variables make":  {root: kustomizationRoot("", "postBuild: {substitute: {bomb: \""+strings.ReplaceAll(billion(), "\n", "\\n")+"\"}}"), files: "-- apps/a.yaml --\n" + configMap + "data:\n  a: ${bomb}\n", want: "infra:apps/a.yaml"},
		"variables that multiply text": {root: kustomizationRoot("", "postBuild: {substitute: {x: "+strings.Repeat("x", 60_000)+"}}"), files: "-- apps/a.yaml --\n" + configMap + "data:\n  a: " + strings.Repeat("${x}", 3000) + "\n", want: "infra:apps/a.yaml:1: Kustomization.kustomize.toolkit.fluxcd.io flux-system/apps cannot substitute its variables here: they make more than"},

		// Depth.
		"a manifest that is too deep":  {root: flux, files: "-- apps/a.yaml --\n" + configMap + "data: " + deep + "\n", want: "infra:apps/a.yaml"},
		"JSON that is too deep":        {root: "\n  - {agent: ci, repository: infra, path: apps}", files: "-- apps/a.json --\n{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\":" + deep + "}\n", want: "infra:apps/a.json:1: nested more than 200 levels deep"},
		"values that are too deep":     {root: argo("c"), files: chart + "-- c/values.yaml --\na: " + deep + "\n", want: "infra:c"},
		"a chart that makes it deep":   {root: argo("c"), files: chart + "-- c/templates/a.yaml --\na: {{ repeat 10000 \"[\" }}{{ repeat 10000 \"]\" }}\n", want: "infra:c/templates/a.yaml"},
		"a template that calls itself": {root: argo("c"), files: chart + "-- c/templates/a.yaml --\n{{ define \"a\" }}{{ template \"a\" . }}{{ end }}{{ template \"a\" . }}\n", want: "infra:c/templates/a.yaml:1"},
		"one that includes itself":     {root: argo("c"), files: chart + "-- c/templates/a.yaml --\n{{ define \"a\" }}{{ include \"a\" . }}{{ end }}{{ include \"a\" . }}\n", want: "rendering template has a nested reference name"},

		// Size and number.
		"a file that is too large":        {root: flux, files: "-- apps/a.yaml --\n" + configMap + "# " + strings.Repeat("x", 5000) + "\n", limits: Limits{FileSize: 4000}, want: "infra:apps/a.yaml: larger than 4000 bytes"},
		"a file of a million documents":   {root: flux, files: "-- apps/a.yaml --\n" + strings.Repeat("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: a, namespace: shop}\n", 200), limits: Limits{Objects: 100}, want: "too much to render: more than 100 objects"},
		"a list of a million items":       {root: flux, files: "-- apps/a.yaml --\napiVersion: v1\nkind: List\nitems: [" + strings.Repeat("{apiVersion: v1, kind: ConfigMap, metadata: {generateName: a, namespace: shop}},", 200) + "]\n", limits: Limits{Objects: 100}, want: "too much to render: more than 100 objects"},
		"a set of a million applications": {root: argo("sets"), files: set("generators: [{matrix: {generators: [{list: {elements: [" + strings.Repeat("{a: x},", 200) + "]}}, {list: {elements: [" + strings.Repeat("{b: x},", 200) + "]}}]}}]\ntemplate: {metadata: {name: a}}"), want: "infra:sets/set.yaml:1: ApplicationSet.argoproj.io argocd/set: generator matrix makes more than 10000 applications"},

		// Two of a kind.
		"a key that stands twice":     {root: flux, files: "-- apps/a.yaml --\n" + configMap + "data: {a: x}\ndata: {a: y}\n", want: `infra:apps/a.yaml:5: the key "data" stands twice in one map, first in line 4`},
		"an object that stands twice": {root: flux, files: "-- apps/a.yaml --\n" + configMap + "-- apps/b/b.yaml --\n" + configMap, want: "infra:apps/b/b.yaml:1: ConfigMap shop/a is declared twice: in infra:apps/a.yaml:1 too"},
		"one of a file and of a chart": {
			root: kustomizationRoot("", ""), files: "-- apps/a.yaml --\n" + configMap + "-- apps/r.yaml --\napiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: r, namespace: flux-system}\n" +
				"spec: {targetNamespace: shop, chart: {spec: {chart: c, sourceRef: {kind: GitRepository, name: infra}}}}\n" + chart + "-- c/templates/a.yaml --\n" + configMap,
			want: "infra:c/templates/a.yaml: ConfigMap shop/a is declared twice: in infra:apps/a.yaml:1 too",
		},

		// Links.
		"a link for a manifest, Flux":         {root: flux, files: "-- apps/b.yaml --\n" + configMap, links: map[string]string{"apps/a.yaml": "/etc/passwd"}, forbidden: "root:"},
		"a link for a manifest, Argo":         {root: argo("apps"), files: "-- apps/b.yaml --\n" + configMap, links: map[string]string{"apps/a.yaml": "/etc/passwd"}, want: "infra:apps/a.yaml: a symbolic link"},
		"a link for a folder":                 {root: argo("apps/x"), files: "-- apps/b.yaml --\n" + configMap, links: map[string]string{"apps/x": "/etc"}, want: "symbolic link"},
		"a link for a kustomization":          {root: flux, files: "-- k --\nresources: []\n", links: map[string]string{"apps/kustomization.yaml": "../k"}, want: "infra:apps/kustomization.yaml"},
		"a link in a kustomization":           {root: flux, files: "-- apps/kustomization.yaml --\nresources: [a.yaml]\n-- b.yaml --\n" + configMap, links: map[string]string{"apps/a.yaml": "../b.yaml"}, want: "symbolic link"},
		"a link in a generator":               {root: flux, files: "-- apps/kustomization.yaml --\nsecretGenerator: [{name: s, namespace: shop, files: [p=passwd]}]\n", links: map[string]string{"apps/passwd": "/etc/passwd"}, want: "symbolic link"},
		"a link above a kustomization":        {root: flux, files: "-- apps/kustomization.yaml --\nresources: [x/a.yaml]\n", links: map[string]string{"apps/x": "/etc"}, want: "infra:apps/kustomization.yaml"},
		"a link in a chart":                   {root: argo("c"), files: chart + "-- c/templates/b.yaml --\n" + configMap, links: map[string]string{"c/templates/a.yaml": "/etc/passwd"}, want: "infra:c/templates/a.yaml: a symbolic link"},
		"a link for a chart's values":         {root: argo("c"), files: chart, links: map[string]string{"c/values.yaml": "/etc/passwd"}, want: "infra:c/values.yaml: a symbolic link"},
		"a link for a values file":            {root: argoRoot("source: {repoURL: 'https://git.example.com/org/infra', path: c, helm: {valueFiles: [v.yaml]}}"), files: chart, links: map[string]string{"c/v.yaml": "/etc/passwd"}, want: "symbolic link"},
		"a path out of the tree":              {root: argo("../../etc"), files: "-- a --\nx\n", want: ".."},
		"a path out of the tree in kustomize": {root: flux, files: "-- apps/kustomization.yaml --\nsecretGenerator: [{name: s, namespace: shop, files: [p=../../../../../../../../etc/passwd]}]\n", want: "infra:apps/kustomization.yaml", forbidden: "root:"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			repository := newRepo(t)
			for from, to := range test.links {
				path := filepath.Join(repository.dir, from)
				check(t, os.MkdirAll(filepath.Dir(path), 0o755))
				check(t, os.Symlink(to, path))
			}
			in := gate(t, test.root)
			in.Limits = test.limits
			set, err := render(t.Context(), in, map[string]revision{"infra": repository.commit(test.files)})
			var problems Problems
			switch {
			case test.want == "" && err != nil:
				t.Errorf("error %v", err)
			case test.want == "":
			case !errors.As(err, &problems) && !errors.Is(err, ErrLimit), !strings.Contains(fmt.Sprint(err), test.want):
				t.Errorf("error %.600v, want %s", err, test.want)
			}
			if said := fmt.Sprint(err); test.forbidden != "" && (strings.Contains(said, test.forbidden) || set != nil && strings.Contains(fmt.Sprint(contents(setDocuments(set))), test.forbidden)) {
				t.Errorf("it was read: %.600s", said)
			}
			if len(fmt.Sprint(err)) > 8<<10 {
				t.Errorf("an error of %d bytes", len(fmt.Sprint(err)))
			}
		})
	}
}

func setDocuments(s *Set) []*document {
	var docs []*document
	for _, b := range s.Builds {
		docs = append(docs, b.documents...)
	}
	return docs
}
