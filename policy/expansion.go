package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

const expansionGroup = "expansion.gatekeeper.sh"

// maxDepth bounds expansions of what expansions made.
const maxDepth = 30

// expansion is a Gatekeeper ExpansionTemplate: what a Deployment will create can be judged with the Deployment.
type expansion struct {
	name    string
	applyTo []struct{ Groups, Versions, Kinds []string }
	source  []string // of the object that is generated, as field names
	group   string
	version string
	kind    string
	action  Action // "" leaves the constraint's own
}

// implied is an object that an expansion made of another.
type implied struct {
	object map[string]any
	by     *expansion
}

func readExpansion(d document) (*expansion, error) {
	text, err := json.Marshal(d.object["spec"])
	if err != nil {
		return nil, err
	}
	var spec struct {
		ApplyTo           []struct{ Groups, Versions, Kinds []string }
		TemplateSource    string
		EnforcementAction string
		GeneratedGVK      struct{ Group, Version, Kind string }
	}
	if err := json.Unmarshal(text, &spec); err != nil {
		return nil, err
	}
	e := &expansion{
		name: d.str("metadata", "name"), applyTo: spec.ApplyTo, source: strings.Split(spec.TemplateSource, "."),
		group: spec.GeneratedGVK.Group, version: spec.GeneratedGVK.Version, kind: spec.GeneratedGVK.Kind,
	}
	if spec.EnforcementAction != "" {
		if e.action = Action(spec.EnforcementAction); !e.action.known() {
			return nil, fmt.Errorf("enforcementAction %q is not known: it is deny, warn or dryrun", e.action)
		}
	}
	switch {
	case e.name == "":
		return nil, errors.New("the ExpansionTemplate has no name")
	case spec.TemplateSource == "":
		return nil, errors.New("templateSource is missing")
	case e.kind == "" || e.version == "":
		return nil, errors.New("generatedGVK is missing")
	case len(e.applyTo) == 0:
		return nil, errors.New("applyTo is missing")
	case e.applies(e.group, e.version, e.kind):
		return nil, errors.New("the ExpansionTemplate applies to what it generates")
	}
	return e, nil
}

func (e *expansion) applies(group, version, kind string) bool {
	for _, a := range e.applyTo {
		if contains(a.Groups, group) && contains(a.Versions, version) && contains(a.Kinds, kind) {
			return true
		}
	}
	return false
}

func contains(in []string, s string) bool {
	for _, x := range in {
		if x == s {
			return true
		}
	}
	return false
}

// expand returns everything that the object implies, at any depth.
func expand(es []*expansion, object map[string]any, depth int) ([]implied, error) {
	if len(es) == 0 || object == nil {
		return nil, nil
	}
	if depth >= maxDepth {
		return nil, fmt.Errorf("expansion is deeper than %d", maxDepth)
	}
	m := objectMetaOf(object)
	var out []implied
	for _, e := range es {
		if !e.applies(m.group, m.version(), m.kind) {
			continue
		}
		made, err := e.generate(object, m)
		if err != nil {
			return nil, err
		}
		deeper, err := expand(es, made, depth+1)
		if err != nil {
			return nil, err
		}
		out = append(append(out, implied{made, e}), deeper...)
	}
	return out, nil
}

// generate takes the template out of the object and makes it one of its own, owned by the object.
func (e *expansion) generate(object map[string]any, m *objectMeta) (map[string]any, error) {
	src, ok := dig(object, e.source...).(map[string]any)
	if !ok {
		return nil, fmt.Errorf("ExpansionTemplate %s: %s %s has no %s", e.name, m.kind, m.name, strings.Join(e.source, "."))
	}
	made := runtime.DeepCopyJSON(src)
	made["apiVersion"], made["kind"] = e.version, e.kind
	if e.group != "" {
		made["apiVersion"] = e.group + "/" + e.version
	}
	meta, _ := made["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
		made["metadata"] = meta
	}
	meta["name"] = strings.ToLower(m.name + "-" + e.kind)
	if m.namespace != "" {
		meta["namespace"] = m.namespace
	}
	if m.name != "" && m.kind != "" {
		owners, _ := meta["ownerReferences"].([]any)
		meta["ownerReferences"] = append(owners, map[string]any{
			"apiVersion": m.apiVersion, "kind": m.kind, "name": m.name, "uid": "",
		})
	}
	return made, nil
}

// requestFor is the request about an implied object, as Gatekeeper makes it.
func (i implied) requestFor(of *request) (*request, error) {
	in, err := reviewOf(i.object)
	if err != nil {
		return nil, err
	}
	in.Time, in.Cluster, in.Origin, in.Inventory = of.in.Time, of.in.Cluster, of.in.Origin, of.in.Inventory
	in.Namespace = of.in.Namespace
	in.Request["operation"] = of.meta.operation
	if of.meta.operation == "DELETE" {
		in.Object, in.OldObject = nil, in.Object
	}
	r, err := newRequest(in)
	if err != nil {
		return nil, err
	}
	r.meta.generated = true
	return r, nil
}

// mark says in the findings where they come from.
func (i implied) mark(fs []Finding) []Finding {
	for n := range fs {
		fs[n].Msg = fmt.Sprintf("[Implied by %s] %s", i.by.name, fs[n].Msg)
		if i.by.action != "" {
			fs[n].Action = i.by.action
		}
	}
	return fs
}
