package syncagent

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/commitgate/commitgate/test/cluster"
)

// ConfigSync applies as the reconciler of a RootSync does: what it applies goes into its inventory, a ResourceGroup, first; then every object is
// applied on the server's side with all its marks, the commit among them; what the branch has dropped is deleted in the background.
type ConfigSync struct {
	source     Source
	cluster    *cluster.Cluster
	kubeconfig string
	inventory  []id
	disabled   map[id]bool // those that this sync has let go
}

// NewConfigSync is the reconciler of the RootSync root-sync, with the identity of a kubeconfig.
func NewConfigSync(c *cluster.Cluster, kubeconfig string, source Source) *ConfigSync {
	return &ConfigSync{source: source, cluster: c, kubeconfig: kubeconfig}
}

// Sync applies the commit that the branch is at. After an error it may have done a part.
func (s *ConfigSync) Sync(ctx context.Context) error {
	s.disabled = map[id]bool{}
	commit, files, err := s.source.files(ctx)
	if err != nil {
		return err
	}
	var objects []*unstructured.Unstructured
	namespaces := map[string]bool{}
	for _, f := range files {
		for _, o := range f.objects {
			if ns := o.GetNamespace(); ns != "" && !namespaces[ns] { // namespaceStrategy: implicit
				namespaces[ns] = true
				made := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
				made.SetName(ns)
				made.SetAnnotations(map[string]string{"client.lifecycle.config.k8s.io/deletion": "detach"})
				s.mark(made, commit, "")
				objects = append([]*unstructured.Unstructured{made}, objects...)
			}
			if o.GetAnnotations()["configmanagement.gke.io/managed"] == "disabled" {
				if err := s.letGo(ctx, o); err != nil {
					return err
				}
				continue
			}
			s.mark(o, commit, path.Join(s.source.Path, f.name))
			objects = append(objects, o)
		}
	}
	s.inventory = slices.DeleteFunc(s.inventory, func(i id) bool { return s.disabled[i] })
	prune, inventory := gone(s.inventory, objects)
	if err := s.keep(ctx, append(inventory, s.inventory...)); err != nil {
		return err
	}
	for _, o := range objects {
		if err := s.apply(ctx, o); err != nil {
			return err
		}
	}
	for _, o := range prune {
		if o.GetKind() == "Namespace" { // those that it made by itself are detached
			if err := s.letGo(ctx, o); err != nil {
				return err
			}
			continue
		}
		if _, err := s.cluster.Kubectl(ctx, s.kubeconfig, "", "delete", "--cascade=background", "--wait=false", "--namespace="+o.GetNamespace(), o.GetKind(), o.GetName()); err != nil {
			return err
		}
	}
	s.inventory = inventory
	return s.keep(ctx, inventory)
}

// letGo takes the marks off an object that is managed no more, and leaves it.
func (s *ConfigSync) letGo(ctx context.Context, o *unstructured.Unstructured) error {
	s.disabled[idOf(o)] = true
	for verb, marks := range map[string][]string{
		"label": {"app.kubernetes.io/managed-by-", "configsync.gke.io/declared-version-"},
		"annotate": {"configmanagement.gke.io/managed-", "configmanagement.gke.io/token-", "configmanagement.gke.io/source-path-", "configmanagement.gke.io/cluster-name-",
			"configsync.gke.io/manager-", "configsync.gke.io/resource-id-", "configsync.gke.io/git-context-", "config.k8s.io/owning-inventory-"},
	} {
		if _, err := s.cluster.Kubectl(ctx, s.kubeconfig, "", append([]string{verb, "--namespace=" + o.GetNamespace(), o.GetKind(), o.GetName()}, marks...)...); err != nil {
			return err
		}
	}
	return nil
}

func (s *ConfigSync) apply(ctx context.Context, o *unstructured.Unstructured) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	_, err = s.cluster.Kubectl(ctx, s.kubeconfig, string(text), "apply", "--server-side", "--force-conflicts", "--field-manager=configsync", "--filename=-")
	return err
}

// keep writes the inventory.
func (s *ConfigSync) keep(ctx context.Context, inventory []id) error {
	var resources []any
	for _, o := range inventory {
		group, _, ok := strings.Cut(o.apiVersion, "/")
		if !ok {
			group = ""
		}
		resources = append(resources, map[string]any{"group": group, "kind": o.kind, "namespace": o.namespace, "name": o.name})
	}
	group := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kpt.dev/v1alpha1", "kind": "ResourceGroup",
		"metadata": map[string]any{"name": "root-sync", "namespace": "config-management-system", "labels": map[string]any{"cli-utils.sigs.k8s.io/inventory-id": "config-management-system_root-sync"}},
		"spec":     map[string]any{"resources": resources},
	}}
	return s.apply(ctx, group)
}

// mark sets what the reconciler sets on each object; file is "" for a namespace that it makes by itself.
func (s *ConfigSync) mark(o *unstructured.Unstructured, commit, file string) {
	gvk := o.GroupVersionKind()
	parent := sha256.Sum256([]byte("root-sync.config-management-system.RootSync.configsync.gke.io"))
	label(o, map[string]string{
		"app.kubernetes.io/managed-by": "configmanagement.gke.io", "configsync.gke.io/declared-version": gvk.Version,
		"applyset.kubernetes.io/part-of": "applyset-" + base64.RawURLEncoding.EncodeToString(parent[:]) + "-v1",
	})
	parts := []string{gvk.Group, strings.ToLower(gvk.Kind)}
	if o.GetNamespace() != "" {
		parts = append(parts, o.GetNamespace())
	}
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	for k, v := range map[string]string{
		"configmanagement.gke.io/managed": "enabled", "configmanagement.gke.io/token": commit, "configsync.gke.io/manager": ":root",
		"configsync.gke.io/resource-id":  strings.Join(append(parts, o.GetName()), "_"),
		"config.k8s.io/owning-inventory": "config-management-system_root-sync", "configmanagement.gke.io/cluster-name": "demo",
		"configsync.gke.io/git-context": fmt.Sprintf(`{"repo":%q,"branch":%q,"rev":"HEAD"}`, s.source.URL, s.source.Branch),
	} {
		annotations[k] = v
	}
	if file != "" {
		annotations["configmanagement.gke.io/source-path"] = file
	}
	o.SetAnnotations(annotations)
}

func label(o *unstructured.Unstructured, labels map[string]string) {
	all := o.GetLabels()
	if all == nil {
		all = map[string]string{}
	}
	for k, v := range labels {
		all[k] = v
	}
	o.SetLabels(all)
}
