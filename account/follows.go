package account

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// podKind is the kind whose schema has ObjectMeta and everything else, templateKind the one that holds a bare pod template.
var (
	podKind      = schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	templateKind = schema.GroupVersionKind{Version: "v1", Kind: "PodTemplate"}
)

// Follows lists the leaves in which a derived object does not follow from its owner's template: leaves of its own that have no
// reason, and leaves of the template that it lacks. derived is an object of a built-in kind as it is created (a Pod, a Job, a
// PersistentVolumeClaim, with its apiVersion and kind), with what the API server sets in it; or, without a kind, a pod template (of a
// ReplicaSet). template is the owner's, before or after defaulting. Both are compared in metadata.labels, metadata.annotations and
// spec; the other metadata are for the caller to judge. extra are fields that the controller adds.
func (t *Types) Follows(derived, template map[string]any, extra []Pattern) []string {
	gvk, live := templateKind, map[string]any{"apiVersion": "v1", "kind": templateKind.Kind, "template": derived}
	if kind, ok := derived["kind"].(string); ok {
		var err error
		if gvk, err = parseGVK(text(derived["apiVersion"]), kind); err != nil {
			return []string{"kind"}
		}
		live = derived
	}
	o, err := t.derivation(gvk, template)
	if err != nil {
		return []string{"spec"}
	}
	var steps [32]step
	w := walk{object: o, change: &Change{Object: live, Exempt: extra}, path: steps[:0]}
	if gvk == templateKind {
		part, _ := o.tree.root().kid("template")
		w.fieldsOf(derived, part, nil, nil)
	} else {
		w.fieldsOf(derived, o.tree.root(), nil, nil)
	}
	out := slices.Concat(w.result.Unexplained, w.result.Missing)
	slices.Sort(out)
	return slices.Compact(out)
}

// derivation makes a declaration of a template: an object of the kind, of which labels, annotations and spec are compared.
func (t *Types) derivation(gvk schema.GroupVersionKind, template map[string]any) (*Object, error) {
	k, ok := t.builtin.kinds[gvk]
	if !ok {
		return nil, ErrNoSchema
	}
	metadata := asMap(template["metadata"])
	content := map[string]any{
		"metadata": map[string]any{"labels": metadata["labels"], "annotations": metadata["annotations"]},
		"spec":     template["spec"],
	}
	if gvk == templateKind {
		content = map[string]any{"template": content}
	}
	content["apiVersion"], content["kind"] = gvk.GroupVersion().String(), gvk.Kind
	full, err := k.normal(plainNumbers(content), gvk, gvk, true)
	if err != nil {
		return nil, err
	}
	o := &Object{types: t, gvk: gvk, apiVersion: gvk.GroupVersion().String()}
	root := grow("", full, k.shape, full, true)
	part := &root
	if gvk == templateKind {
		part = root.kid("template")
	} else {
		*root.need("status") = draft{name: "status", kind: expectAny, why: whyServer, shape: formlessShape}
		rows := serverRows(gvk.GroupKind())
		for i := range rows {
			rows[i].plant(&root)
		}
	}
	m := part.needMap("metadata")
	for name := range t.builtin.metadata.fields {
		if name != "labels" && name != "annotations" {
			*m.need(name) = draft{name: name, kind: expectAny, why: whyServer, shape: formlessShape}
		}
	}
	o.tree = root.pack()
	return o, nil
}
