package live

import (
	"strings"

	"github.com/commitgate/commitgate/manifest"
)

// KeyOf reads the identity of an object from its own fields.
func KeyOf(object map[string]any) manifest.Key {
	group, _ := splitVersion(text(object, "apiVersion"))
	meta, _ := object["metadata"].(map[string]any)
	return manifest.Key{Group: group, Kind: text(object, "kind"), Namespace: text(meta, "namespace"), Name: text(meta, "name")}
}

// OwnersOf reads metadata.ownerReferences.
func OwnersOf(object map[string]any) []Owner {
	meta, _ := object["metadata"].(map[string]any)
	refs, _ := meta["ownerReferences"].([]any)
	var owners []Owner
	for _, r := range refs {
		ref, _ := r.(map[string]any)
		if ref == nil {
			continue
		}
		group, _ := splitVersion(text(ref, "apiVersion"))
		o := Owner{Key: manifest.Key{Group: group, Kind: text(ref, "kind"), Namespace: text(meta, "namespace"), Name: text(ref, "name")}, UID: text(ref, "uid")}
		if group == "" && (o.Kind == "Node" || o.Kind == "Namespace") {
			o.Key.Namespace = "" // the cluster-scoped owners of Kubernetes itself: a Node owns its mirror pods
		}
		o.Controller, _ = ref["controller"].(bool)
		owners = append(owners, o)
	}
	return owners
}

// ControllerOf is the owner that is marked as the controller; false if there is none.
func ControllerOf(object map[string]any) (Owner, bool) {
	for _, o := range OwnersOf(object) {
		if o.Controller {
			return o, true
		}
	}
	return Owner{}, false
}

// TemplateOf is what an object makes others from: spec.jobTemplate of a CronJob, data.spec.template of a ControllerRevision, else
// spec.template; nil if there is none.
func TemplateOf(object map[string]any) map[string]any {
	spec, _ := object["spec"].(map[string]any)
	if data, ok := object["data"].(map[string]any); ok && text(object, "kind") == "ControllerRevision" {
		spec, _ = data["spec"].(map[string]any)
		if t, ok := spec["template"].(map[string]any); ok {
			return map[string]any{"metadata": t["metadata"], "spec": t["spec"]} // without the directive that makes a patch of it
		}
	}
	if text(object, "kind") == "CronJob" {
		t, _ := spec["jobTemplate"].(map[string]any)
		return t
	}
	t, _ := spec["template"].(map[string]any)
	return t
}

// Deleting tells whether an object has a deletionTimestamp.
func Deleting(object map[string]any) bool {
	meta, _ := object["metadata"].(map[string]any)
	return text(meta, "deletionTimestamp") != ""
}

func parse(object map[string]any) *Object {
	k := KeyOf(object)
	if k.Name == "" || !owns(k.Group, k.Kind) {
		return nil
	}
	meta, _ := object["metadata"].(map[string]any)
	o := &Object{Key: k, UID: text(meta, "uid"), Owners: OwnersOf(object), GenerateName: text(meta, "generateName"), Template: TemplateOf(object), Deleting: Deleting(object)}
	o.generation, _ = meta["generation"].(int64)
	if spec, ok := object["spec"].(map[string]any); ok && k.Kind == "Pod" {
		o.Node, o.Account = text(spec, "nodeName"), text(spec, "serviceAccountName")
	}
	return o
}

func splitVersion(apiVersion string) (group, version string) {
	if group, version, ok := strings.Cut(apiVersion, "/"); ok {
		return group, version
	}
	return "", apiVersion
}

func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}
