package account

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Types knows the fields of kinds: the built-in ones, and those of the CRDs it was given. It is immutable and safe for
// concurrent use.
type Types struct {
	builtin *builtins
	custom  map[schema.GroupKind]*customKind
}

// NewTypes makes the types of a cluster from the manifests of its CustomResourceDefinitions; of two for one kind the later
// counts. A CRD that cannot be understood is left out and named in the error: the Types is good for everything else.
func NewTypes(crds []map[string]any) (*Types, error) {
	t := &Types{builtin: loadBuiltins(), custom: make(map[schema.GroupKind]*customKind, len(crds))}
	var errs []error
	for _, crd := range crds {
		gk, kind, err := t.builtin.newCustomKind(crd)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		t.custom[gk] = kind
	}
	return t, errors.Join(errs...)
}

// Known tells whether the kind has a schema here.
func (t *Types) Known(apiVersion, kind string) bool {
	gvk, err := parseGVK(apiVersion, kind)
	if err != nil {
		return false
	}
	if _, ok := t.builtin.kinds[gvk]; ok {
		return true
	}
	c, ok := t.custom[gvk.GroupKind()]
	return ok && c.versions[gvk.Version] != nil
}

// CustomKind is the kind of a resource that a CRD describes, "" if none does.
func (t *Types) CustomKind(group, resource string) string {
	for gk, k := range t.custom {
		if gk.Group == group && k.plural == resource {
			return gk.Kind
		}
	}
	return ""
}

// shapeOf is the shape of an object, and whether its status is a subresource.
func (t *Types) shapeOf(object map[string]any) (s *shape, status bool) {
	apiVersion, _ := object["apiVersion"].(string)
	kind, _ := object["kind"].(string)
	gvk, err := parseGVK(apiVersion, kind)
	if err != nil {
		return t.builtin.unknown(), false
	}
	if k, ok := t.builtin.kinds[gvk]; ok {
		return k.shape, statusIsServers(gvk.GroupKind(), k.shape)
	}
	if c, ok := t.custom[gvk.GroupKind()]; ok {
		if v := c.versions[gvk.Version]; v != nil {
			return v.shape, v.status
		}
	}
	return t.builtin.unknown(), false
}

// Object is a declared object, prepared for accounting: decoded, defaulted, converted, its list maps keyed. It is
// immutable and safe for concurrent use.
type Object struct {
	types       *Types
	declaration Declaration
	gvk         schema.GroupVersionKind
	apiVersion  string
	tree        *tree
	ignored     [][]segment
	lastApplied [32]byte // digest of the annotation as kubectl writes it
}

// Declare prepares a declaration. It is the dear half of the work and runs off the request path. For a kind without a
// schema it returns an Object that compares lists as whole values and knows no defaults, and an error that wraps ErrNoSchema.
// Content that the kind's schema does not take is an error: the API server would refuse it too.
func (t *Types) Declare(d Declaration) (*Object, error) {
	apiVersion, kind := d.Content.Text("apiVersion"), d.Content.Text("kind")
	gvk, err := parseGVK(apiVersion, kind)
	if err != nil {
		return nil, err
	}
	o := &Object{types: t, declaration: d, gvk: gvk, apiVersion: apiVersion}
	for _, p := range d.Ignored {
		s, err := Pattern(p).segments()
		if err != nil {
			return nil, err
		}
		o.ignored = append(o.ignored, s)
	}
	root, err := o.expected(gvk)
	if err != nil && !errors.Is(err, ErrNoSchema) {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	o.tree = root.pack()
	if d.LastApplied {
		if o.lastApplied, err = digestLastApplied(d); err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
	}
	if !t.Known(apiVersion, kind) {
		return o, fmt.Errorf("%s %s: %w", apiVersion, kind, ErrNoSchema)
	}
	return o, nil
}

// Applied is a copy of the declared object with the labels and annotations that its agent adds: what the agent sends.
func (o *Object) Applied() map[string]any {
	out := o.declaration.Content.Map()
	metadata := inner(out, "metadata")
	for field, added := range map[string]map[string]string{"labels": o.declaration.Labels, "annotations": o.declaration.Annotations} {
		if len(added) > 0 {
			all := inner(metadata, field)
			for k, v := range added {
				all[k] = v
			}
		}
	}
	return out
}

// inner is a map inside another one, made where there is none.
func inner(m map[string]any, name string) map[string]any {
	v, ok := m[name].(map[string]any)
	if !ok {
		v = map[string]any{}
		m[name] = v
	}
	return v
}

// expected builds the tree of what the API server holds, in the version of target, once it has taken the declared object.
func (o *Object) expected(target schema.GroupVersionKind) (draft, error) {
	content, opaque, err := o.split()
	if err != nil {
		return draft{}, err
	}
	if _, ok := o.types.builtin.kinds[o.gvk]; ok {
		return o.expectedBuiltin(content, opaque, target)
	}
	s, status, full := o.types.builtin.unknown(), false, content
	if c, ok := o.types.custom[o.gvk.GroupKind()]; ok && c.versions[target.Version] != nil {
		v := c.versions[target.Version]
		if full, err = c.normal(content, o.gvk.Version, target.Version); err != nil {
			return draft{}, err
		}
		s, status = v.shape, v.status
	} else if target != o.gvk {
		return draft{}, ErrNoSchema
	}
	root := grow("", full, s, content, true)
	o.finish(&root, opaque, status)
	return root, nil
}

func (o *Object) expectedBuiltin(content map[string]any, opaque []opaqueValue, target schema.GroupVersionKind) (draft, error) {
	k := o.types.builtin.kinds[o.gvk]
	t, ok := o.types.builtin.kinds[target]
	if !ok {
		return draft{}, ErrNoSchema
	}
	full, err := k.normal(content, o.gvk, target, true)
	if err != nil {
		return draft{}, err
	}
	raw := content
	if target != o.gvk {
		if raw, err = k.normal(content, o.gvk, target, false); err != nil {
			return draft{}, err
		}
	}
	if target.Kind == "Secret" && target.Group == "" {
		raw = mergeStringData(raw)
	}
	root := grow("", full, t.shape, raw, true)
	o.finish(&root, opaque, statusIsServers(target.GroupKind(), t.shape))
	return root, nil
}

// finish adds to the tree what does not come from the content: encrypted values, what the agent adds, what the server sets.
func (o *Object) finish(root *draft, opaque []opaqueValue, status bool) {
	for _, v := range opaque {
		v.graft(root)
	}
	metadata := root.needMap("metadata")
	for k, v := range o.declaration.Loose {
		if n := metadata.needMap("labels").need(k); n.kind == expectNothing {
			*n = draft{name: k, kind: expectLeaf, value: v, why: whyLoose, shape: scalarShape}
		}
	}
	o.addAgent(metadata.needMap("labels"), o.declaration.Labels)
	o.addAgent(metadata.needMap("annotations"), o.declaration.Annotations)
	if o.declaration.LastApplied {
		n := metadata.needMap("annotations").need(lastAppliedKey)
		*n = draft{name: lastAppliedKey, kind: expectLastApplied, why: whyAgent, shape: scalarShape}
	}
	if metadata.kid("generateName") != nil && metadata.kid("name") == nil {
		metadata.need("name").row = generatedName
	}
	if metadata.kid("namespace") == nil {
		metadata.need("namespace").row = requestNamespace
	}
	for _, name := range serverMetadata {
		*metadata.need(name) = draft{name: name, kind: expectAny, why: whyServer, shape: scalarShape}
	}
	if status {
		*root.need("status") = draft{name: "status", kind: expectAny, why: whyServer, shape: root.shape.field("status")}
	}
	if len(o.declaration.Finalizers) > 0 {
		(&row{path: "metadata.finalizers[*]", ok: isOneOf(o.declaration.Finalizers)}).plant(root)
	}
	rows := serverRows(o.gvk.GroupKind())
	for i := range rows {
		rows[i].plant(root)
	}
}

func (o *Object) addAgent(n *draft, values map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(values)) {
		*n.need(k) = draft{name: k, kind: expectLeaf, value: values[k], why: whyAgent, shape: scalarShape}
	}
}

// mergeStringData is a Secret with its stringData among its data, as the API server takes it.
func mergeStringData(content map[string]any) map[string]any {
	extra, ok := content["stringData"].(map[string]any)
	if !ok {
		return content
	}
	out := maps.Clone(content)
	data := map[string]any{}
	if d, ok := content["data"].(map[string]any); ok {
		maps.Copy(data, d)
	}
	maps.Copy(data, extra)
	out["data"] = data
	return out
}

func parseGVK(apiVersion, kind string) (schema.GroupVersionKind, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return schema.GroupVersionKind{}, err
	}
	if kind == "" || gv.Version == "" {
		return schema.GroupVersionKind{}, errors.New("an object without apiVersion or kind")
	}
	return gv.WithKind(kind), nil
}
