package manifest

import (
	"fmt"
	"maps"
	"regexp"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/git"
)

// templater fills in the templates of an ApplicationSet, text by text: Go templates with sprig, or {{name}} alone.
type templater struct {
	goTemplate bool
	options    []string
}

// fillTemplate fills in a template. Go templates can loop, so that the engine does that.
func (r *renderer) fillTemplate(at git.Path, t templater, v any, values map[string]any) (any, error) {
	if !t.goTemplate {
		return t.fill(v, values)
	}
	a, err := r.do(emptyFolder{}, at, job{Fill: &fillJob{Options: t.options, Template: v, Values: values}})
	if err != nil {
		return nil, err
	}
	return a.Value, nil
}

// fill replaces in all text of a value, keys too.
func (t templater) fill(v any, values map[string]any) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			key, err := t.text(k, values)
			if err != nil {
				return nil, err
			}
			if out[key], err = t.fill(item, values); err != nil {
				return nil, err
			}
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			var err error
			if out[i], err = t.fill(item, values); err != nil {
				return nil, err
			}
		}
		return out, nil
	case string:
		return t.text(v, values)
	}
	return v, nil
}

func (t templater) text(s string, values map[string]any) (string, error) {
	if !strings.Contains(s, "{{") {
		return s, nil
	}
	if !t.goTemplate {
		return fastTemplate().ReplaceAllStringFunc(s, func(tag string) string {
			if v, ok := values[strings.TrimSpace(strings.Trim(tag, "{}"))].(string); ok {
				return v
			}
			return tag
		}), nil
	}
	made, err := template.New("").Funcs(templateFunctions()).Option(t.options...).Parse(s)
	if err != nil {
		return "", fmt.Errorf("template %s: %w", s, err)
	}
	out := &boundedText{left: maxTemplateText}
	if err := made.Execute(out, values); err != nil {
		return "", fmt.Errorf("template %s: %w", s, err)
	}
	return strings.ReplaceAll(out.String(), "<no value>", ""), nil
}

func fastTemplate() *regexp.Regexp { return regexp.MustCompile(`\{\{[^{}]*\}\}`) }

// maxTemplateText bounds what one template makes: an Application is smaller.
const maxTemplateText = 4 << 20

// boundedText takes so much text and no more: a template that loops ends with an error.
type boundedText struct {
	strings.Builder
	left int
}

func (b *boundedText) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, fmt.Errorf("it makes more than %d bytes", maxTemplateText)
	}
	return b.Builder.Write(p)
}

// templateFunctions are those of Argo CD: sprig's, without what tells about the machine.
func templateFunctions() template.FuncMap {
	functions := sprig.TxtFuncMap()
	for _, name := range []string{"env", "expandenv", "getHostByName"} {
		delete(functions, name)
	}
	maps.Copy(functions, boundedFunctions())
	functions["normalize"] = sanitizeName
	functions["slugify"] = slugify
	functions["toYaml"] = func(v any) (string, error) {
		data, err := yaml.Marshal(v)
		return strings.TrimSuffix(string(data), "\n"), err
	}
	functions["fromYaml"] = func(s string) (map[string]any, error) {
		var m map[string]any
		return m, yaml.Unmarshal([]byte(s), &m)
	}
	functions["fromYamlArray"] = func(s string) ([]any, error) {
		var list []any
		return list, yaml.Unmarshal([]byte(s), &list)
	}
	return functions
}

// slugify is a name of at most 50 characters, or as many as its first argument says.
func slugify(args ...any) string {
	size, name := 50, ""
	for _, a := range args {
		switch a := a.(type) {
		case int:
			size = a
		case string:
			name = a
		}
	}
	name = regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(name), "-")
	return strings.Trim(name[:min(len(name), size)], "-")
}
