package syncagent

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/commitgate/commitgate/test/cluster"
)

// ArgoCD applies as application-controller does by default: client-side apply with last-applied-configuration, a tracking annotation on
// everything, and deletion in the foreground of what its branch has dropped. Where it is told to, by sync options, it applies on the server's side,
// replaces, and makes the namespace. Hooks are made around the sync, and deleted as they say; nothing waits for them: their pods never run here.
type ArgoCD struct {
	// ServerSide is the sync option ServerSideApply=true; NamespaceLabels are those of managedNamespaceMetadata, with CreateNamespace=true. Both may
	// be set before the first Sync.
	ServerSide      bool
	NamespaceLabels map[string]string
	// Migrate has each object applied on the client's side first, under kubectl's name, as Argo CD does with what kubectl has applied before it
	// (ClientSideApplyMigration). Cascade is the propagation of a prune: foreground if it is empty.
	Migrate bool
	Cascade string

	source      Source
	application string
	namespace   string // the destination of the application
	cluster     *cluster.Cluster
	kubeconfig  string
	inventory   []id
	runs        int // of hooks whose names are made up
}

// NewArgoCD is the controller of one Application, which has a namespace as its destination, with the identity of a kubeconfig.
func NewArgoCD(c *cluster.Cluster, kubeconfig, application, namespace string, source Source) *ArgoCD {
	return &ArgoCD{source: source, application: application, namespace: namespace, cluster: c, kubeconfig: kubeconfig}
}

// Sync syncs once and returns what it did, an action a line ("deployment.apps/cart created"). After an error it may have done a part.
func (a *ArgoCD) Sync(ctx context.Context) ([]string, error) {
	objects, err := a.source.read(ctx)
	if err != nil {
		return nil, err
	}
	var done []string
	if len(a.NamespaceLabels) > 0 {
		line, err := a.makeNamespace(ctx)
		if err != nil {
			return done, err
		}
		done = append(done, changes(line)...)
	}
	before, objects, after := hooks(objects)
	prune, inventory := gone(a.inventory, objects)
	for _, o := range before {
		if err := a.run(ctx, o); err != nil {
			return done, err
		}
	}
	for _, o := range objects {
		if o.GetNamespace() == "" && a.ServerSide {
			o.SetNamespace(a.namespace)
		}
		a.track(o)
		line, err := a.apply(ctx, o)
		if err != nil {
			return done, err
		}
		done = append(done, changes(line)...)
	}
	for _, o := range after {
		if err := a.run(ctx, o); err != nil {
			return done, err
		}
	}
	for _, o := range prune {
		gvk := o.GroupVersionKind()
		kind := strings.ToLower(gvk.Kind) + "." + gvk.Version + "." + gvk.Group // kubectl's full form, with an empty group for core
		out, err := a.cluster.Kubectl(ctx, a.kubeconfig, "", "delete", "--cascade="+cmp.Or(a.Cascade, "foreground"), "--ignore-not-found", "--wait=false",
			"--namespace="+cmp.Or(o.GetNamespace(), a.namespace), kind, o.GetName())
		if err != nil {
			return done, err
		}
		done = append(done, strings.TrimSpace(out))
	}
	a.inventory = inventory
	return done, nil
}

// apply sends one object. Like Argo CD it lets `kubectl auth reconcile` go first with what RBAC knows.
func (a *ArgoCD) apply(ctx context.Context, o *unstructured.Unstructured) (string, error) {
	manifest, err := json.Marshal(o)
	if err != nil {
		return "", err
	}
	if o.GroupVersionKind().Group == "rbac.authorization.k8s.io" {
		if out, err := a.cluster.Kubectl(ctx, a.kubeconfig, string(manifest), "auth", "reconcile", "-f", "-"); err != nil {
			return out, err
		}
	}
	args := []string{"apply", "--field-manager=argocd-controller"}
	options := o.GetAnnotations()["argocd.argoproj.io/sync-options"]
	force := strings.Contains(options, "Force=true")
	switch {
	case strings.Contains(options, "Replace=true"):
		args = []string{"create", "--field-manager=argocd-controller"}
		if _, err := a.cluster.Kubectl(ctx, a.kubeconfig, "", "get", "--namespace="+o.GetNamespace(), o.GetKind(), o.GetName()); err == nil {
			args[0] = "replace"
			if force {
				args = append(args, "--force", "--grace-period=0")
			}
		}
	case a.ServerSide:
		if a.Migrate {
			if out, err := a.cluster.Kubectl(ctx, a.kubeconfig, string(manifest), "apply", "--field-manager=kubectl-client-side-apply", "-f", "-"); err != nil {
				return out, err
			}
		}
		args = append(args, "--server-side", "--force-conflicts")
	case force:
		args = append(args, "--force")
	}
	if strings.Contains(options, "Validate=false") {
		args = append(args, "--validate=false")
	}
	out, err := a.cluster.Kubectl(ctx, a.kubeconfig, string(manifest), append(args, "-f", "-")...)
	return strings.TrimSpace(out), err
}

// changes is what kubectl said, if it changed something.
func changes(line string) []string {
	if strings.HasSuffix(line, " unchanged") {
		return nil
	}
	return []string{line}
}

// makeNamespace makes the destination's namespace, or sets its labels, on the server's side.
func (a *ArgoCD) makeNamespace(ctx context.Context) (string, error) {
	ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
	ns.SetName(a.namespace)
	ns.SetLabels(a.NamespaceLabels)
	ns.SetAnnotations(map[string]string{"argocd.argoproj.io/sync-options": "ServerSideApply=true"})
	manifest, err := json.Marshal(ns)
	if err != nil {
		return "", err
	}
	out, err := a.cluster.Kubectl(ctx, a.kubeconfig, string(manifest), "apply", "--field-manager=argocd-controller", "--server-side", "--force-conflicts", "-f", "-")
	return strings.TrimSpace(out), err
}

// hooks tells what is made before and after the sync from what is synced.
func hooks(objects []*unstructured.Unstructured) (before, synced, after []*unstructured.Unstructured) {
	for _, o := range objects {
		switch o.GetAnnotations()["argocd.argoproj.io/hook"] {
		case "":
			synced = append(synced, o)
		case "PreSync":
			before = append(before, o)
		default:
			after = append(after, o)
		}
	}
	return before, synced, after
}

// run makes a hook, and deletes it as its policy says: the one of the sync before, or this one when it is done.
func (a *ArgoCD) run(ctx context.Context, o *unstructured.Unstructured) error {
	o.SetNamespace(a.namespace)
	a.track(o)
	if o.GetName() == "" {
		a.runs++
		o.SetName(fmt.Sprintf("%s0123456-postsync-%d", o.GetGenerateName(), a.runs))
	}
	o.SetFinalizers([]string{hookFinalizer})
	policy := o.GetAnnotations()["argocd.argoproj.io/hook-delete-policy"]
	if policy == "" || strings.Contains(policy, "BeforeHookCreation") {
		if err := a.dismiss(ctx, o); err != nil {
			return err
		}
	}
	if _, err := a.apply(ctx, o); err != nil {
		return err
	}
	if strings.Contains(policy, "HookSucceeded") {
		return a.dismiss(ctx, o)
	}
	return nil
}

const hookFinalizer = "argocd.argoproj.io/hook-finalizer"

// dismiss lets go of a hook, if it is there, and deletes it.
func (a *ArgoCD) dismiss(ctx context.Context, o *unstructured.Unstructured) error {
	namespace, kind, name := "--namespace="+a.namespace, o.GetKind(), o.GetName()
	if out, err := a.cluster.Kubectl(ctx, a.kubeconfig, "", "get", "--ignore-not-found", namespace, kind, name); err != nil || out == "" {
		return err
	}
	if _, err := a.cluster.Kubectl(ctx, a.kubeconfig, "", "patch", "--type=merge", "--field-manager=argocd-controller", `--patch={"metadata":{"finalizers":null}}`, namespace, kind, name); err != nil {
		return err
	}
	_, err := a.cluster.Kubectl(ctx, a.kubeconfig, "", "delete", "--ignore-not-found", "--wait=true", "--timeout=60s", namespace, kind, name)
	return err
}

// track sets the annotation by which Argo CD knows the objects of an application: application:group/Kind:namespace/name, with the destination's
// namespace for what has none.
func (a *ArgoCD) track(o *unstructured.Unstructured) {
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	namespace := o.GetNamespace()
	if namespace == "" {
		namespace = a.namespace
	}
	annotations["argocd.argoproj.io/tracking-id"] = fmt.Sprintf("%s:%s/%s:%s/%s",
		a.application, o.GroupVersionKind().Group, o.GetKind(), namespace, o.GetName())
	o.SetAnnotations(annotations)
}
