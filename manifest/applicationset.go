package manifest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/compact"
)

// applicationSet is what matters of an Argo CD ApplicationSet (argoproj.io/v1alpha1).
type applicationSet struct {
	Spec applicationSetSpec `json:"spec"`
}

type applicationSetSpec struct {
	GoTemplate        bool             `json:"goTemplate,omitempty"`
	GoTemplateOptions []string         `json:"goTemplateOptions,omitempty"`
	Generators        []map[string]any `json:"generators"`
	Template          map[string]any   `json:"template"`
	TemplatePatch     string           `json:"templatePatch,omitempty"`
	SyncPolicy        struct {
		PreserveResourcesOnDeletion bool `json:"preserveResourcesOnDeletion,omitempty"`
	} `json:"syncPolicy"`
	Strategy struct {
		Type        string `json:"type,omitempty"`
		RollingSync struct {
			Steps []any `json:"steps,omitempty"`
		} `json:"rollingSync"`
	} `json:"strategy"`
	IgnoreApplicationDifferences []argoIgnore `json:"ignoreApplicationDifferences,omitempty"`
}

// rolling tells whether the controller syncs the applications itself.
func (s *applicationSetSpec) rolling() bool {
	return s.Strategy.Type == "RollingSync" && len(s.Strategy.RollingSync.Steps) > 0
}

// applicationSetUnit is an ApplicationSet: it renders to Applications, which are followed like those that stand in a file.
type applicationSetUnit struct {
	self about
	spec applicationSetSpec
}

func (r *renderer) meetApplicationSet(o *Object, above *about) bool {
	a := r.agentWith(v1alpha1.PresetArgoCD, o.Owner.Agent)
	if a == nil {
		return false
	}
	var s applicationSet
	if !r.decodeSpec(o, &s) {
		return true
	}
	r.add(&applicationSetUnit{
		self: about{
			owner: agent.Owner{Agent: a.Name, Group: o.Group, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name},
			at:    o.Source, depth: above.depth + 1, spec: specText(s.Spec),
		},
		spec: s.Spec,
	})
	return true
}

func (u *applicationSetUnit) about() *about                { return &u.self }
func (u *applicationSetUnit) waits(*renderer, bool) string { return "" }
func (u *applicationSetUnit) taken(*renderer) string       { return "" }

// dress: applicationset-controller makes the Applications; it adds nothing to them but an owner.
func (u *applicationSetUnit) dress(r *renderer, o *Object) bool {
	o.Apply.Rolling = u.spec.rolling()
	for _, d := range u.spec.IgnoreApplicationDifferences {
		if d.Name == "" || d.Name == o.Name {
			o.Apply.Ignored = append(o.Apply.Ignored, d.fields()...)
		}
	}
	return r.place(o, u.self.owner.Namespace, "")
}

func (u *applicationSetUnit) read(r *renderer, b *Build) error {
	b.Repository, b.Path = u.self.at.Repository, u.self.at.Path
	for _, directive := range []string{"$patch", "$retainKeys", "$setElementOrder", "$deleteFromPrimitiveList"} {
		if strings.Contains(u.spec.TemplatePatch, directive) {
			return r.unfollow(&u.self, b, "%s in its templatePatch says how to merge: say what shall be there instead", directive)
		}
	}
	g := &generators{r: r, b: b, u: u}
	for _, generator := range u.spec.Generators {
		found, err := g.generate(generator, 0)
		if err != nil {
			return err
		}
		for _, p := range found {
			doc, err := u.application(r, p)
			if err != nil {
				return r.refuseFor(&u.self, "template", err)
			}
			b.documents = append(b.documents, doc)
		}
		if len(b.documents) > maxApplications {
			r.problem(u.self.at, "%s makes more than %d applications", u.self.name(), maxApplications)
			return errReported
		}
	}
	return nil
}

// maxApplications bounds what one ApplicationSet makes: a matrix of two long lists is a mistake.
const maxApplications = 10_000

// params are what a generator gives to the template; template is the generator's own, laid over that of the ApplicationSet.
type params struct {
	values   map[string]any
	template map[string]any
}

// application fills in the template, step by step as the controller does (applicationset/utils/utils.go, RenderTemplateParams): the finalizer of the
// set is there before the patch, and the namespace is the set's, whatever template and patch say.
func (u *applicationSetUnit) application(r *renderer, p params) (*document, error) {
	template := u.spec.Template
	if len(p.template) > 0 {
		template = mergeGenerated(p.template, template)
	}
	t := templater{goTemplate: u.spec.GoTemplate, options: u.spec.GoTemplateOptions}
	filled, err := r.fillTemplate(u.self.at.Path, t, template, p.values)
	if err != nil {
		return nil, err
	}
	whole, _ := filled.(map[string]any)
	said := childMap(whole, "metadata")
	metadata := map[string]any{}
	for _, field := range []string{"name", "labels", "annotations", "finalizers"} {
		if v, ok := said[field]; ok {
			metadata[field] = v
		}
	}
	if len(listOf(metadata["finalizers"])) == 0 && !u.spec.SyncPolicy.PreserveResourcesOnDeletion {
		metadata["finalizers"] = []any{"resources-finalizer.argocd.argoproj.io"}
	}
	app := map[string]any{"metadata": metadata, "spec": whole["spec"]}
	if u.spec.TemplatePatch != "" {
		if app, err = u.patched(r, t, app, p.values); err != nil {
			return nil, err
		}
		if metadata = childMap(app, "metadata"); metadata == nil {
			metadata = map[string]any{}
		}
	}
	metadata["namespace"] = u.self.owner.Namespace
	content := map[string]any{"apiVersion": argoGroup + "/v1alpha1", "kind": "Application", "metadata": metadata, "spec": app["spec"]}
	plain, err := throughJSON(content) // what came out of a template patch has other number types
	if err != nil {
		return nil, &refusedFile{err: err}
	}
	return &document{content: compact.Of(plain), path: u.self.at.Path, line: u.self.at.Line}, nil
}

// patched lays the templatePatch over an application: a strategic merge patch, of which the types of Argo CD know but one list that is merged, the
// finalizers.
func (u *applicationSetUnit) patched(r *renderer, t templater, app, values map[string]any) (map[string]any, error) {
	filled, err := r.fillTemplate(u.self.at.Path, t, u.spec.TemplatePatch, values)
	if err != nil {
		return nil, err
	}
	text, _ := filled.(string)
	var patch map[string]any
	if err := yaml.Unmarshal([]byte(text), &patch); err != nil {
		return nil, &refusedFile{err: fmt.Errorf("templatePatch: %w", err)}
	}
	finalizers := listOf(childMap(app, "metadata")["finalizers"])
	app = mergePatch(app, patch)
	if more := listOf(childMap(patch, "metadata")["finalizers"]); len(more) > 0 {
		for _, f := range more {
			if !slices.Contains(finalizers, f) {
				finalizers = append(finalizers, f)
			}
		}
		childMap(app, "metadata")["finalizers"] = finalizers
	}
	return app, nil
}

func throughJSON(v map[string]any) (map[string]any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	docs, err := parseJSON("application.json", data)
	if err != nil || len(docs) != 1 {
		return nil, fmt.Errorf("the template makes no application: %w", err)
	}
	return docs[0].content.Map(), nil
}

// mergeGenerated is the template of a generator over the one of the set.
func mergeGenerated(over, base map[string]any) map[string]any {
	out, _ := deepClone(base).(map[string]any)
	return mergePatch(out, over)
}

func deepClone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			out[k] = deepClone(item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = deepClone(item)
		}
		return out
	}
	return v
}

// matchesSelector tells whether the parameters of a generator satisfy its selector (a LabelSelector on flattened parameters).
func matchesSelector(selector, values map[string]any) (bool, error) {
	flat := map[string]string{}
	flatten("", values, flat)
	for k, v := range childMap(selector, "matchLabels") {
		if flat[k] != fmt.Sprint(v) {
			return false, nil
		}
	}
	for _, item := range listOf(selector["matchExpressions"]) {
		e, _ := item.(map[string]any)
		have, there := flat[text(e, "key")]
		in := slices.ContainsFunc(listOf(e["values"]), func(v any) bool { return there && have == fmt.Sprint(v) })
		ok := false
		switch op := text(e, "operator"); op {
		case "In":
			ok = in
		case "NotIn":
			ok = !in
		case "Exists":
			ok = there
		case "DoesNotExist":
			ok = !there
		default:
			return false, fmt.Errorf("selector: operator %q is not known", op)
		}
		if !ok {
			return false, nil
		}
	}
	return true, nil
}

// flatten writes nested values as a.b.c and a.0, each as text.
func flatten(prefix string, v any, into map[string]string) {
	name := func(k string) string {
		if prefix == "" {
			return k
		}
		return prefix + "." + k
	}
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			flatten(name(k), item, into)
		}
	case []any:
		for i, item := range v {
			flatten(name(fmt.Sprint(i)), item, into)
		}
	case string:
		into[prefix] = v
	default:
		into[prefix] = fmt.Sprintf("%v", v)
	}
}

// sanitizeName makes a DNS name of text, as Argo CD's normalize does.
func sanitizeName(name string) string {
	name = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' {
			return c
		}
		return '-'
	}, strings.ToLower(name))
	return strings.Trim(name[:min(len(name), 253)], "-.")
}
