package manifest

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/compact"
)

// fluxCase is a case for Flux's own code, as test/fluxvalues reads it.
type fluxCase struct {
	Namespace     string
	ConfigMaps    map[string]map[string]string
	Secrets       map[string]map[string]string
	Own           map[string]any
	ValuesFrom    []helmValuesFrom
	Kustomization map[string]any
	Object        map[string]any
}

// askFlux runs a case with the code of Flux: what it made, nil if it refuses.
func askFlux(t *testing.T, c fluxCase) map[string]any {
	t.Helper()
	const program = "../bin/fluxvalues"
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("CI") == "" {
			t.Skip("no bin/fluxvalues: make fluxvalues builds it")
		}
		t.Fatal(err)
	}
	in, err := json.Marshal(c)
	check(t, err)
	cmd := exec.Command(program)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	check(t, err)
	var came struct {
		Error string         `json:"error"`
		Made  map[string]any `json:"made"`
	}
	check(t, json.Unmarshal(out, &came))
	if came.Error != "" {
		return nil
	}
	if came.Made == nil {
		return map[string]any{}
	}
	return came.Made
}

// rendererOf knows the ConfigMaps and Secrets of a case.
func rendererOf(t *testing.T, c fluxCase) *renderer {
	t.Helper()
	in := gate(t, kustomizationRoot("", ""))
	r := newRenderer(t.Context(), in, nil, Limits{}.withDefaults())
	for kind, objects := range map[string]map[string]map[string]string{"ConfigMap": c.ConfigMaps, "Secret": c.Secrets} {
		for name, entries := range objects {
			data := map[string]any{}
			for k, v := range entries {
				data[k] = v
			}
			field := map[string]string{"ConfigMap": "data", "Secret": "stringData"}[kind]
			o := &Object{Key: Key{Kind: kind, Namespace: c.Namespace, Name: name}, Content: compact.Of(map[string]any{field: data})}
			r.fresh[o.Key] = o
		}
	}
	return r
}

func TestValuesAreMergedAsHelmControllerMergesThem(t *testing.T) {
	own := map[string]any{"a": "own", "nested": map[string]any{"x": "own", "deep": map[string]any{"y": "own"}}, "list": []any{map[string]any{"n": "own"}}}
	from := func(kind, name, key, target string) helmValuesFrom {
		return helmValuesFrom{fluxValues: fluxValues{Kind: kind, Name: name}, ValuesKey: key, TargetPath: target}
	}
	optional := func(f helmValuesFrom) helmValuesFrom { f.Optional = true; return f }
	literal := func(f helmValuesFrom) helmValuesFrom { f.Literal = true; return f }
	first := map[string]map[string]string{"first": {
		"values.yaml": "a: first\nb: first\nnested: {x: first, z: first}\nlist: [1, 2]\nnumber: 1.0\nbig: 12345678901\nnothing: null\n", "other": "b: other\nc: {d: other}\n",
		"text": "plain", "number": "42", "truth": "true", "null": "null", "commas": "a,b=c", "list": "{x,y}", "quoted": "'42'", "double": `"true"`, "half": "'42", "backslash": `a\,b`, "brackets": "[x]", "empty": "", "lines": "a\nb\n", "json": `{"a": [1, "b"]}`, "quotes": `''`, "mixed": `'"x"'`,
	}}
	secret := map[string]map[string]string{"second": {"values.yaml": "a: second\nnested: {deep: {y: second, w: second}}\n", "password": "p,a=s[s]{w}\\rd"}}
	tests := map[string][]helmValuesFrom{
		"nothing":                                  nil,
		"one":                                      {from("ConfigMap", "first", "", "")},
		"two, of which the second goes over":       {from("ConfigMap", "first", "", ""), from("Secret", "second", "", "")},
		"two in the other order":                   {from("Secret", "second", "", ""), from("ConfigMap", "first", "", "")},
		"another key":                              {from("ConfigMap", "first", "", ""), from("ConfigMap", "first", "other", "")},
		"one that is not there, and optional":      {optional(from("ConfigMap", "none", "", "")), from("Secret", "second", "", "")},
		"a key that is not there, and optional":    {optional(from("Secret", "second", "none", "")), optional(from("ConfigMap", "first", "none", "a.b"))},
		"a key that is not there":                  {from("Secret", "second", "none", "")},
		"a text that is no map":                    {from("ConfigMap", "first", "text", "")},
		"a place beside what the release says":     {from("ConfigMap", "first", "text", "new.place")},
		"a place that the release says too":        {from("ConfigMap", "first", "text", "nested.x")},
		"a place at the top that it says too":      {from("ConfigMap", "first", "text", "a")},
		"a place under a text":                     {from("ConfigMap", "first", "text", "a.b.c")},
		"a place in a list":                        {from("ConfigMap", "first", "text", "list[0].n")},
		"a place in a list that is not there":      {from("ConfigMap", "first", "text", "other[1].n")},
		"a place, and values over it":              {from("ConfigMap", "first", "text", "nested.x"), from("ConfigMap", "first", "", "")},
		"a place deep in both":                     {from("Secret", "second", "", ""), from("ConfigMap", "first", "text", "nested.deep.y")},
		"a place with a dot in a name":             {from("ConfigMap", "first", "text", `annotations.example\.com/x`)},
		"a number":                                 {from("ConfigMap", "first", "number", "n")},
		"a truth":                                  {from("ConfigMap", "first", "truth", "n")},
		"null, which takes away":                   {from("ConfigMap", "first", "null", "nested.x")},
		"commas, which set more":                   {from("ConfigMap", "first", "commas", "n")},
		"a list":                                   {from("ConfigMap", "first", "list", "n")},
		"a number in quotes":                       {from("ConfigMap", "first", "quoted", "n")},
		"a truth in double quotes":                 {from("ConfigMap", "first", "double", "n")},
		"half a quote":                             {from("ConfigMap", "first", "half", "n")},
		"nothing but quotes":                       {from("ConfigMap", "first", "quotes", "n")},
		"quotes of both kinds":                     {from("ConfigMap", "first", "mixed", "n")},
		"a backslash":                              {from("ConfigMap", "first", "backslash", "n")},
		"brackets":                                 {from("ConfigMap", "first", "brackets", "n")},
		"nothing at a place":                       {from("ConfigMap", "first", "empty", "n")},
		"lines":                                    {from("ConfigMap", "first", "lines", "n")},
		"JSON":                                     {from("ConfigMap", "first", "json", "n")},
		"all that --set would read, as it is":      {literal(from("Secret", "second", "password", "n"))},
		"lines, as they are":                       {literal(from("ConfigMap", "first", "lines", "nested.x"))},
		"a password that --set misunderstands":     {from("Secret", "second", "password", "n")},
		"a kind that is neither":                   {from("Pod", "first", "", "")},
		"several places, the last of which counts": {from("ConfigMap", "first", "text", "n.a"), from("ConfigMap", "first", "number", "n.a"), from("ConfigMap", "first", "truth", "n.b")},
	}
	for name, refs := range tests {
		t.Run(name, func(t *testing.T) {
			c := fluxCase{Namespace: "flux-system", ConfigMaps: first, Secrets: secret, Own: own, ValuesFrom: refs}
			want := askFlux(t, c)
			r := rendererOf(t, c)
			u := &helmUnit{self: about{owner: agent.Owner{Agent: "flux", Namespace: c.Namespace, Name: "web"}}, spec: helmReleaseSpec{Values: own, ValuesFrom: refs}}
			before := specText(own)
			var o helmOptions
			_, err := u.values(r, &Build{}, &o)
			if why := u.waitsForValues(r); why != "" {
				o.Values = nil
			} else if (err == nil) != (want != nil) {
				t.Fatalf("%v: %v, and Flux gives %v", err, r.problems, want)
			}
			if have := specText(o.Values); want == nil && err == nil && o.Values != nil || want != nil && have != specText(want) {
				t.Errorf("gives\n%s\nand Flux\n%s", have, specText(want))
			}
			if specText(own) != before {
				t.Errorf("what the release says was changed: %s", specText(own))
			}
		})
	}
}

func TestVariablesAreSubstitutedAsKustomizeControllerDoes(t *testing.T) {
	object := func(metadata string, data map[string]any) map[string]any {
		o := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a", "namespace": "shop"}, "data": data}
		switch metadata {
		case "label":
			childMap(o, "metadata")["labels"] = map[string]any{"kustomize.toolkit.fluxcd.io/substitute": "disabled"}
		case "annotation":
			childMap(o, "metadata")["annotations"] = map[string]any{"kustomize.toolkit.fluxcd.io/substitute": "disabled"}
		}
		return o
	}
	texts := map[string]any{
		"plain": "${A}", "default": "${NONE:=other}", "dash": "${NONE:-other}", "alternative": "${A:+x}", "none": "a${NONE}b", "escaped": "$${A}", "dollar": "$A", "price": "5$", "cut": "${A:0:2}", "upper": "${A^^}", "length": "${#A}",
		"replaced": "${A//i/o}", "nested": "${NONE:=${A}}", "number": "${NUMBER}", "truth": "${TRUTH}", "lines": "${LINES}", "from secret": "x-${S}", "quoted": "\"${A}\"", "yaml": "${YAML}", "multi": "a\n${A}\n  b ${B}\n",
	}
	from := []any{map[string]any{"kind": "ConfigMap", "name": "vars"}, map[string]any{"kind": "Secret", "name": "secret"}}
	tests := map[string]struct {
		postBuild map[string]any
		object    map[string]any
	}{
		"everything":                    {map[string]any{"substitute": map[string]any{"B": "own"}, "substituteFrom": from}, object("", texts)},
		"its own over what is taken":    {map[string]any{"substitute": map[string]any{"A": "own", "LINES": "a\nb\n"}, "substituteFrom": from}, object("", texts)},
		"the last source over others":   {map[string]any{"substituteFrom": []any{from[1], from[0]}}, object("", texts)},
		"only its own":                  {map[string]any{"substitute": map[string]any{"A": "own"}}, object("", map[string]any{"a": "${A} ${B}"})},
		"an optional one is not there":  {map[string]any{"substituteFrom": []any{map[string]any{"kind": "ConfigMap", "name": "none", "optional": true}, from[0]}}, object("", texts)},
		"none at all":                   {map[string]any{"substituteFrom": []any{map[string]any{"kind": "ConfigMap", "name": "none", "optional": true}}}, object("", texts)},
		"an object that will not":       {map[string]any{"substituteFrom": from}, object("label", texts)},
		"an object whose annotation is": {map[string]any{"substituteFrom": from}, object("annotation", texts)},
		"a name that is none":           {map[string]any{"substitute": map[string]any{"a.b": "x"}}, object("", map[string]any{"a": "${A}"})},
		"no end":                        {map[string]any{"substituteFrom": from}, object("", map[string]any{"a": "${A"})},
		"a name that is substituted":    {map[string]any{"substituteFrom": from}, map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "${A}", "labels": map[string]any{"n": "${NUMBER}"}}}},
		"types of fields": {map[string]any{"substituteFrom": from}, map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "a"},
			"spec": map[string]any{"replicas": "${NUMBER}", "paused": "${TRUTH}", "selector": "${YAML}"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := fluxCase{
				Namespace:     "flux-system",
				ConfigMaps:    map[string]map[string]string{"vars": {"A": "first", "B": "second", "NUMBER": "42", "TRUTH": "true", "LINES": "a\nb\n", "YAML": "{a: b}"}},
				Secrets:       map[string]map[string]string{"secret": {"S": "s$cret", "A": "from secret"}},
				Kustomization: map[string]any{"metadata": map[string]any{"namespace": "flux-system", "name": "apps"}, "spec": map[string]any{"postBuild": test.postBuild}},
				Object:        test.object,
			}
			want := askFlux(t, c)
			r := rendererOf(t, c)
			u := &kustomizationUnit{self: about{owner: agent.Owner{Agent: "flux", Namespace: c.Namespace, Name: "apps"}}}
			text, err := json.Marshal(c.Kustomization)
			check(t, err)
			var k fluxKustomization
			check(t, json.Unmarshal(text, &k))
			u.spec = k.Spec
			b := &Build{documents: []*document{{content: compact.Of(test.object)}}}
			vars, err := u.variables(r)
			if err == nil {
				err = r.substitute(u, b, vars)
			}
			if (err == nil) != (want != nil) {
				t.Fatalf("%v: %v, and Flux gives %v", err, r.problems, want)
			}
			if want == nil {
				return
			}
			if have, want := specText(b.documents[0].content), specText(want); have != want {
				t.Errorf("gives\n%s\nand Flux\n%s", have, want)
			}
		})
	}
}

// waitsForValues is what waits says of the values alone.
func (u *helmUnit) waitsForValues(r *renderer) string {
	var said []string
	for _, from := range u.spec.ValuesFrom {
		if why := r.lacks(&u.self, from.fluxValues, "takes values", true); why != "" {
			said = append(said, why)
		}
	}
	return strings.Join(said, "\n")
}
