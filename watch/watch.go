// Package watch keeps what the gate remembers of live objects true to the cluster: it watches the kinds that own others and feeds package
// live. It only reads, and needs no more than get, list and watch on those kinds.
package watch

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/commitgate/commitgate/live"
)

// resync is how often an informer replays what it holds: never, a watch that breaks lists anew by itself.
const resync time.Duration = 0

// whole are the kinds whose templates matter: of these, everything but the template and the metadata is dropped on arrival.
func whole() []schema.GroupVersionResource {
	return []schema.GroupVersionResource{
		{Group: "apps", Version: "v1", Resource: "deployments"},
		{Group: "apps", Version: "v1", Resource: "replicasets"},
		{Group: "apps", Version: "v1", Resource: "statefulsets"},
		{Group: "apps", Version: "v1", Resource: "daemonsets"},
		{Group: "apps", Version: "v1", Resource: "controllerrevisions"},
		{Group: "batch", Version: "v1", Resource: "jobs"},
		{Group: "batch", Version: "v1", Resource: "cronjobs"},
		{Version: "v1", Resource: "replicationcontrollers"},
	}
}

// named are the kinds of which only the metadata is watched, with their kinds: metadata informers do not tell them.
func named() map[schema.GroupVersionResource]string {
	return map[schema.GroupVersionResource]string{
		{Version: "v1", Resource: "pods"}:       "Pod",
		{Version: "v1", Resource: "namespaces"}: "Namespace",
		{Version: "v1", Resource: "services"}:   "Service",
	}
}

// Watch feeds a live.Store from a cluster.
type Watch struct {
	store     *live.Store
	objects   dynamicinformer.DynamicSharedInformerFactory
	metadata  metadatainformer.SharedInformerFactory
	informers []cache.SharedIndexInformer
	log       *slog.Logger
}

// New prepares the watches; Run starts them.
func New(cfg *rest.Config, store *live.Store, log *slog.Logger) (*Watch, error) {
	objects, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("cluster client: %w", err)
	}
	meta, err := metadata.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("cluster client: %w", err)
	}
	w := &Watch{
		store:    store,
		objects:  dynamicinformer.NewDynamicSharedInformerFactory(objects, resync),
		metadata: metadatainformer.NewSharedInformerFactory(meta, resync),
		log:      log,
	}
	for _, gvr := range whole() {
		if err := w.add(w.objects.ForResource(gvr).Informer(), trimObject); err != nil {
			return nil, err
		}
	}
	for gvr, kind := range named() {
		if err := w.add(w.metadata.ForResource(gvr).Informer(), metadataOnly(kind)); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *Watch) add(informer cache.SharedIndexInformer, trim cache.TransformFunc) error {
	if err := informer.SetTransform(trim); err != nil {
		return err
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { w.seen(obj) },
		UpdateFunc: func(_, obj any) { w.seen(obj) },
		DeleteFunc: func(obj any) { w.gone(obj) },
	})
	w.informers = append(w.informers, informer)
	return err
}

// Run watches until the context ends.
func (w *Watch) Run(ctx context.Context) {
	w.objects.Start(ctx.Done())
	w.metadata.Start(ctx.Done())
	if cache.WaitForCacheSync(ctx.Done(), w.synced()...) {
		w.log.Info("watching the cluster", "kinds", len(w.informers))
	}
	<-ctx.Done()
	w.objects.Shutdown()
	w.metadata.Shutdown()
}

// Synced tells whether every kind has been listed once.
func (w *Watch) Synced() bool {
	for _, f := range w.synced() {
		if !f() {
			return false
		}
	}
	return true
}

func (w *Watch) synced() []cache.InformerSynced {
	out := make([]cache.InformerSynced, len(w.informers))
	for i, informer := range w.informers {
		out[i] = informer.HasSynced
	}
	return out
}

func (w *Watch) seen(obj any) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		w.store.Observe(u.Object)
	}
}

func (w *Watch) gone(obj any) {
	if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = tombstone.Obj
	}
	if u, ok := obj.(*unstructured.Unstructured); ok {
		w.store.Purge(live.KeyOf(u.Object))
	}
}

// trimObject keeps what live reads: identity, owners and the template.
func trimObject(obj any) (any, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return obj, nil
	}
	kept := identity(u.GetAPIVersion(), u.GetKind(), u)
	if t := live.TemplateOf(u.Object); t != nil {
		field := "template"
		if u.GetKind() == "CronJob" {
			field = "jobTemplate"
		}
		kept.Object["spec"] = map[string]any{field: t}
	}
	return kept, nil
}

// metadataOnly turns the metadata of an object into an object of its kind.
func metadataOnly(kind string) cache.TransformFunc {
	return func(obj any) (any, error) {
		m, ok := obj.(*metav1.PartialObjectMetadata)
		if !ok {
			return obj, nil
		}
		return identity("v1", kind, m), nil
	}
}

func identity(apiVersion, kind string, from metav1.Object) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind}}
	u.SetName(from.GetName())
	u.SetGenerateName(from.GetGenerateName())
	u.SetNamespace(from.GetNamespace())
	u.SetUID(from.GetUID())
	u.SetResourceVersion(from.GetResourceVersion())
	u.SetOwnerReferences(from.GetOwnerReferences())
	u.SetDeletionTimestamp(from.GetDeletionTimestamp())
	return u
}
