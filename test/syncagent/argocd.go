package syncagent

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/commitgate/commitgate/test/cluster"
)

// ArgoCD applies as application-controller does by default: client-side apply with last-applied-configuration, a tracking annotation on
// everything, and deletion in the foreground of what its branch has dropped.
type ArgoCD struct {
	source      Source
	application string
	namespace   string // the destination of the application
	cluster     *cluster.Cluster
	kubeconfig  string
	inventory   []id
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
	for _, o := range objects {
		a.track(o)
		line, err := a.apply(ctx, o)
		if err != nil {
			return done, err
		}
		if !strings.HasSuffix(line, " unchanged") {
			done = append(done, line)
		}
	}
	prune, inventory := gone(a.inventory, objects)
	for _, o := range prune {
		gvk := o.GroupVersionKind()
		kind := strings.ToLower(gvk.Kind) + "." + gvk.Version + "." + gvk.Group // kubectl's full form, with an empty group for core
		out, err := a.cluster.Kubectl(ctx, a.kubeconfig, "", "delete", "--cascade=foreground", "--ignore-not-found", "--wait=false",
			"--namespace="+o.GetNamespace(), kind, o.GetName())
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
	out, err := a.cluster.Kubectl(ctx, a.kubeconfig, string(manifest), "apply", "--field-manager=argocd-controller", "-f", "-")
	return strings.TrimSpace(out), err
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
