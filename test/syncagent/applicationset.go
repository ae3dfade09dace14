package syncagent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"text/template"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/yaml"
)

// ApplicationSets reconciles one ApplicationSet as Argo CD's applicationset-controller does, with that program's client: it reads the live set, makes
// an Application for each folder of its git generator, writes each as Go types write it, patches those that differ, deletes those that it generates
// no more, and keeps the set's status and finalizers. Of templates it knows Go's.
type ApplicationSets struct {
	source          Source // what the generator walks: a folder of folders
	namespace, name string
	client          client.Client
}

// NewApplicationSets is the controller of one ApplicationSet, with the identity of config.
func NewApplicationSets(config *rest.Config, namespace, name string, source Source) (*ApplicationSets, error) {
	c, err := newClient(config, client.Options{Scheme: runtime.NewScheme()})
	if err != nil {
		return nil, err
	}
	return &ApplicationSets{source: source, namespace: namespace, name: name, client: c}, nil
}

// The finalizer by which an Application's objects go with it, and the annotation by which a push hook asks for a look.
const (
	resourcesFinalizer = "resources-finalizer.argocd.argoproj.io"
	setRefresh         = "argocd.argoproj.io/application-set-refresh"
)

// Reconcile looks at the set once. After an error it may have done a part.
func (s *ApplicationSets) Reconcile(ctx context.Context) error {
	set := argoKind("ApplicationSet")
	key := client.ObjectKey{Namespace: s.namespace, Name: s.name}
	if err := s.client.Get(ctx, key, set); err != nil {
		return client.IgnoreNotFound(err)
	}
	current, err := s.current(ctx)
	if err != nil {
		return err
	}
	if set.GetDeletionTimestamp() != nil {
		return s.letGo(ctx, set, current)
	}
	desired, err := s.generate(ctx, set)
	if err != nil {
		return err
	}
	if err := s.setStatus(ctx, set, map[string]any{"resources": resourcesOf(current)}); err != nil {
		return err
	}
	if strategy, _, _ := unstructured.NestedString(set.Object, "spec", "strategy", "type"); strategy == "RollingSync" {
		for _, app := range desired {
			roll(app, current)
		}
	}
	for _, app := range desired {
		if err := s.createOrUpdate(ctx, set, app); err != nil {
			return err
		}
	}
	for i := range current {
		if slices.ContainsFunc(desired, func(d *unstructured.Unstructured) bool { return d.GetName() == current[i].GetName() }) {
			continue
		}
		if err := s.client.Delete(ctx, &current[i]); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	if annotations := set.GetAnnotations(); annotations[setRefresh] != "" {
		delete(annotations, setRefresh)
		set.SetAnnotations(annotations)
		if err := s.client.Update(ctx, asReadSet(set)); err != nil {
			return err
		}
		if err := s.client.Get(ctx, key, set); err != nil {
			return err
		}
	}
	return s.setStatus(ctx, set, map[string]any{"conditions": []any{map[string]any{"type": "ResourcesUpToDate", "status": "True"}}})
}

// Refresh asks for a look, as the controller does when a Git host calls: it sends the whole set as it has read it, as a patch.
func (s *ApplicationSets) Refresh(ctx context.Context) error {
	set := argoKind("ApplicationSet")
	if err := s.client.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: s.name}, set); err != nil {
		return err
	}
	annotations := set.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[setRefresh] = "true"
	set.SetAnnotations(annotations)
	return s.client.Patch(ctx, asReadSet(set), client.Merge)
}

// letGo leaves the Applications of a set that is deleted to the garbage collector, or, where the set's policy forbids to delete them, to nobody.
func (s *ApplicationSets) letGo(ctx context.Context, set *unstructured.Unstructured, current []unstructured.Unstructured) error {
	if policy, _, _ := unstructured.NestedString(set.Object, "spec", "syncPolicy", "applicationsSync"); policy == "create-only" || policy == "create-update" {
		for i := range current {
			current[i].SetOwnerReferences(nil)
			if err := s.client.Update(ctx, asRead(&current[i])); err != nil {
				return err
			}
		}
	}
	controllerutil.RemoveFinalizer(set, resourcesFinalizer)
	return client.IgnoreNotFound(s.client.Update(ctx, asReadSet(set)))
}

// current are the Applications that the set has.
func (s *ApplicationSets) current(ctx context.Context) ([]unstructured.Unstructured, error) {
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion("argoproj.io/v1alpha1")
	list.SetKind("ApplicationList")
	if err := s.client.List(ctx, list, client.InNamespace(s.namespace)); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(app unstructured.Unstructured) bool {
		owner := metav1.GetControllerOf(&app)
		return owner == nil || owner.Kind != "ApplicationSet" || owner.Name != s.name
	}), nil
}

func resourcesOf(apps []unstructured.Unstructured) []any {
	found := []any{}
	for _, app := range apps {
		found = append(found, map[string]any{"kind": "Application", "name": app.GetName(), "namespace": app.GetNamespace()})
	}
	return found
}

// setStatus writes a part of the set's status.
func (s *ApplicationSets) setStatus(ctx context.Context, set *unstructured.Unstructured, part map[string]any) error {
	status, _, _ := unstructured.NestedMap(set.Object, "status")
	if status == nil {
		status = map[string]any{}
	}
	maps.Copy(status, part)
	set.Object["status"] = status
	return s.client.Status().Update(ctx, set)
}

// generate makes an Application for each folder.
func (s *ApplicationSets) generate(ctx context.Context, set *unstructured.Unstructured) (apps []*unstructured.Unstructured, err error) {
	dir, err := s.source.clone(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	entries, err := os.ReadDir(filepath.Join(dir, filepath.FromSlash(s.source.Path)))
	if err != nil {
		return nil, err
	}
	spec, _, err := unstructured.NestedMap(set.Object, "spec")
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		values := map[string]any{"path": map[string]any{"path": path.Join(s.source.Path, entry.Name()), "basename": entry.Name()}}
		app, err := s.application(spec, values)
		if err != nil {
			return nil, err
		}
		apps = append(apps, app)
	}
	return apps, nil
}

func (s *ApplicationSets) application(spec, values map[string]any) (*unstructured.Unstructured, error) {
	made, err := filled(spec["template"], values)
	if err != nil {
		return nil, err
	}
	app := argoKind("Application")
	maps.Copy(app.Object, made.(map[string]any))
	if preserve, _, _ := unstructured.NestedBool(spec, "syncPolicy", "preserveResourcesOnDeletion"); !preserve && len(app.GetFinalizers()) == 0 {
		app.SetFinalizers([]string{resourcesFinalizer})
	}
	if text, ok := spec["templatePatch"].(string); ok {
		text, err := filled(text, values)
		if err != nil {
			return nil, err
		}
		var patch map[string]any
		if err := yaml.Unmarshal([]byte(text.(string)), &patch); err != nil {
			return nil, err
		}
		merge(app.Object, patch)
	}
	app.SetNamespace(s.namespace)
	return asRead(app), nil
}

// createOrUpdate makes an Application, or patches it where it differs; what is the user's (annotations of notifications, status) stays.
func (s *ApplicationSets) createOrUpdate(ctx context.Context, set, desired *unstructured.Unstructured) error {
	app := argoKind("Application")
	err := s.client.Get(ctx, client.ObjectKeyFromObject(desired), app)
	create := apierrors.IsNotFound(err)
	switch {
	case create:
		app.SetName(desired.GetName())
		app.SetNamespace(desired.GetNamespace())
		app.Object["status"] = map[string]any{ // what Go writes where nothing is said
			"health": map[string]any{}, "summary": map[string]any{}, "sourceHydrator": map[string]any{},
			"sync": map[string]any{"status": "", "comparedTo": map[string]any{"destination": map[string]any{}, "source": map[string]any{"repoURL": ""}}},
		}
	case err != nil:
		return err
	}
	before := app.DeepCopy()
	app.Object["spec"] = desired.Object["spec"]
	if operation, ok := desired.Object["operation"]; ok {
		app.Object["operation"] = operation
	}
	app.SetLabels(desired.GetLabels())
	app.SetFinalizers(desired.GetFinalizers())
	annotations := desired.GetAnnotations()
	for _, kept := range []string{"notified.notifications.argoproj.io", "argocd.argoproj.io/refresh"} {
		if v, ok := app.GetAnnotations()[kept]; ok {
			if annotations == nil {
				annotations = map[string]string{}
			}
			annotations[kept] = v
		}
	}
	app.SetAnnotations(annotations)
	yes := true
	app.SetOwnerReferences([]metav1.OwnerReference{{
		APIVersion: set.GetAPIVersion(), Kind: set.GetKind(), Name: set.GetName(), UID: set.GetUID(), Controller: &yes, BlockOwnerDeletion: &yes,
	}})
	if create {
		return s.client.Create(ctx, app)
	}
	patch := client.MergeFrom(before)
	if data, err := patch.Data(app); err != nil || string(data) == "{}" {
		return err
	}
	return s.client.Patch(ctx, app, patch)
}

// roll takes the automation out of an Application, and starts its sync if it is out of sync.
func roll(app *unstructured.Unstructured, current []unstructured.Unstructured) {
	prune, _, _ := unstructured.NestedBool(app.Object, "spec", "syncPolicy", "automated", "prune")
	unstructured.RemoveNestedField(app.Object, "spec", "syncPolicy", "automated")
	if policy, _, _ := unstructured.NestedMap(app.Object, "spec", "syncPolicy"); len(policy) == 0 {
		unstructured.RemoveNestedField(app.Object, "spec", "syncPolicy")
	}
	for _, is := range current {
		if status, _, _ := unstructured.NestedString(is.Object, "status", "sync", "status"); is.GetName() == app.GetName() && status == "OutOfSync" {
			app.Object["operation"] = map[string]any{
				"initiatedBy": map[string]any{"username": "applicationset-controller", "automated": true}, "retry": map[string]any{},
				"info": []any{map[string]any{"name": "Reason", "value": "a rolling sync"}}, "sync": map[string]any{"prune": prune},
			}
		}
	}
}

func argoKind(kind string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "argoproj.io/v1alpha1", "kind": kind}}
}

// asRead is an Application as Go's types write it again: without what is false or empty, and with a jsonnet of nothing in each directory.
func asRead(app *unstructured.Unstructured) *unstructured.Unstructured {
	out := app.DeepCopy()
	spec := without(out.Object["spec"]).(map[string]any)
	if source, ok := spec["source"].(map[string]any); ok {
		if directory, ok := source["directory"].(map[string]any); ok {
			directory["jsonnet"] = map[string]any{}
		}
	}
	out.Object["spec"] = spec
	return out
}

// asReadSet is an ApplicationSet as Go's types write it again: each generator has a template of nothing.
func asReadSet(set *unstructured.Unstructured) *unstructured.Unstructured {
	out := set.DeepCopy()
	generators, _, _ := unstructured.NestedSlice(out.Object, "spec", "generators")
	for _, g := range generators {
		for _, body := range g.(map[string]any) {
			body.(map[string]any)["template"] = map[string]any{"metadata": map[string]any{}, "spec": map[string]any{"destination": map[string]any{}, "project": ""}}
		}
	}
	out.Object["spec"].(map[string]any)["generators"] = generators
	return out
}

// without leaves out what is false, zero or empty text.
func without(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, item := range v {
			if item = without(item); item != nil && item != false && item != "" {
				out[k] = item
			}
		}
		return out
	case []any:
		for i := range v {
			v[i] = without(v[i])
		}
	}
	return v
}

// filled fills in the texts of a template.
func filled(v any, values map[string]any) (any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	t, err := template.New("").Option("missingkey=error").Parse(string(data))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, values); err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	var made any
	err = json.Unmarshal(out.Bytes(), &made)
	return made, err
}

// merge lays a map over another one.
func merge(into, over map[string]any) {
	for k, v := range over {
		if below, ok := v.(map[string]any); ok {
			if m, ok := into[k].(map[string]any); ok {
				merge(m, below)
				continue
			}
		}
		into[k] = v
	}
}
