package agent

import (
	"reflect"
	"testing"

	"sigs.k8s.io/yaml"
)

// What Argo CD's controllers make of an object when they write it again, and what they must not be taken to make of it.
func TestNormalFormsOfArgoCD(t *testing.T) {
	const source = "project: default, destination: {namespace: shop}, source: {repoURL: r, path: p"
	tests := map[string]struct {
		kind, a, b string
		differ     bool
	}{
		"values that say nothing": {a: "{" + source + ", helm: {}, directory: {recurse: false, jsonnet: {}}}, syncPolicy: {automated: {prune: false}, syncOptions: []}}",
			b: "{" + source + "}, syncPolicy: {automated: {}}}"},
		"no project is the default one": {a: "{destination: {}, source: {repoURL: r}}", b: "{project: default, destination: {}, source: {repoURL: r}}"},
		"a sync policy of nothing":      {a: "{" + source + "}, syncPolicy: {}}", b: "{" + source + "}}"},
		"automated, or not":             {a: "{" + source + "}, syncPolicy: {automated: {}}}", b: "{" + source + "}}", differ: true},
		"automated, but not enabled":    {a: "{" + source + "}, syncPolicy: {automated: {enabled: false}}}", b: "{" + source + "}, syncPolicy: {automated: {}}}", differ: true},
		"no history":                    {a: "{" + source + "}, revisionHistoryLimit: 0}", b: "{" + source + "}}", differ: true},
		"values of a chart":             {a: "{" + source + ", helm: {valuesObject: {debug: false}}}}", b: "{" + source + ", helm: {valuesObject: {}}}}", differ: true},
		"an empty label":                {a: "{" + source + ", kustomize: {commonLabels: {a: ''}}}}", b: "{" + source + ", kustomize: {commonLabels: {}}}}", differ: true},
		"a plugin that is found":        {a: "{" + source + ", plugin: {}}}", b: "{" + source + "}}", differ: true},
		"an item of nothing":            {a: "{" + source + ", helm: {parameters: [{}]}}}", b: "{" + source + ", helm: {parameters: []}}}", differ: true},
		"another path":                  {a: "{" + source + "}}", b: "{project: default, destination: {namespace: shop}, source: {repoURL: r, path: q}}", differ: true},
		"templates of generators": {kind: "ApplicationSet",
			a: "{generators: [{list: {elements: [{a: ''}], template: {metadata: {}, spec: {destination: {}, project: ''}}}}], template: {metadata: {name: x}, spec: {project: ''}}}",
			b: "{generators: [{list: {elements: [{a: ''}]}}], template: {metadata: {name: x}}}"},
		"all clusters":                   {kind: "ApplicationSet", a: "{generators: [{clusters: {selector: {}, template: {metadata: {}}}}]}", b: "{generators: [{clusters: {}}]}"},
		"a generator of nothing":         {kind: "ApplicationSet", a: "{generators: [{clusters: {}}]}", b: "{generators: [{}]}", differ: true},
		"an element's values":            {kind: "ApplicationSet", a: "{generators: [{list: {elements: [{a: ''}]}}]}", b: "{generators: [{list: {elements: [{}]}}]}", differ: true},
		"nothing allowed, or everything": {kind: "AppProject", a: "{namespaceResourceWhitelist: []}", b: "{}", differ: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			kind := test.kind
			if kind == "" {
				kind = "Application"
			}
			normal := func(text string) map[string]any {
				var spec map[string]any
				if err := yaml.Unmarshal([]byte(text), &spec); err != nil {
					t.Fatal(err)
				}
				return Normal(ArgoCDGroup, kind)(map[string]any{"kind": kind, "spec": spec})
			}
			if a, b := normal(test.a), normal(test.b); reflect.DeepEqual(a, b) == test.differ {
				t.Errorf("%v\n%v", a, b)
			}
		})
	}
	status := map[string]any{"health": map[string]any{}, "sourceHydrator": map[string]any{}, "sync": map[string]any{"status": "", "comparedTo": map[string]any{"source": map[string]any{"repoURL": ""}}}}
	if o := Normal(ArgoCDGroup, "Application")(map[string]any{"status": status}); o["status"] != nil {
		t.Errorf("the status of a new Application: %v", o)
	}
	if Normal("apps", "Deployment") != nil || Normal(ArgoCDGroup, "Rollout") != nil {
		t.Error("other kinds are compared as they stand")
	}
}
