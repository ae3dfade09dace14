package watch

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Definitions watches the CustomResourceDefinitions of a cluster: they say how the fields of kinds compare whose CRD Git does not declare.
type Definitions struct {
	factory  dynamicinformer.DynamicSharedInformerFactory
	informer cache.SharedIndexInformer
	changed  func()

	mu  sync.Mutex // held while all is replaced
	all atomic.Pointer[map[string]map[string]any]
}

// NewDefinitions prepares the watch. changed is called after each change; it must not block.
func NewDefinitions(cfg *rest.Config, changed func()) (*Definitions, error) {
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("cluster client: %w", err)
	}
	d := &Definitions{factory: dynamicinformer.NewDynamicSharedInformerFactory(client, resync), changed: changed}
	d.all.Store(&map[string]map[string]any{})
	d.informer = d.factory.ForResource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}).Informer()
	if err := d.informer.SetTransform(trimDefinition); err != nil {
		return nil, err
	}
	_, err = d.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { d.put(obj) },
		UpdateFunc: func(_, obj any) { d.put(obj) },
		DeleteFunc: func(obj any) { d.drop(obj) },
	})
	return d, err
}

func (d *Definitions) put(obj any) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		d.replace(func(all map[string]map[string]any) { all[u.GetName()] = u.Object })
	}
}

func (d *Definitions) drop(obj any) {
	if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = tombstone.Obj
	}
	if u, ok := obj.(*unstructured.Unstructured); ok {
		d.replace(func(all map[string]map[string]any) { delete(all, u.GetName()) })
	}
}

func (d *Definitions) replace(change func(map[string]map[string]any)) {
	d.mu.Lock()
	next := maps.Clone(*d.all.Load())
	change(next)
	d.all.Store(&next)
	d.mu.Unlock()
	d.changed()
}

// All are the definitions of the moment, by name. Neither the map nor what it holds ever changes.
func (d *Definitions) All() map[string]map[string]any { return *d.all.Load() }

// Run watches until the context ends.
func (d *Definitions) Run(ctx context.Context) {
	d.factory.Start(ctx.Done())
	<-ctx.Done()
	d.factory.Shutdown()
}

// Wait waits until the definitions have been listed once, or for as long as it is worth.
func (d *Definitions) Wait(ctx context.Context, worth time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, worth)
	defer cancel()
	cache.WaitForCacheSync(ctx.Done(), d.informer.HasSynced)
}

// Synced tells whether the definitions have been listed once.
func (d *Definitions) Synced() bool { return d.informer.HasSynced() }

// trimDefinition keeps the spec without its descriptions, which are most of it.
func trimDefinition(obj any) (any, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return obj, nil
	}
	kept := identity(u.GetAPIVersion(), u.GetKind(), u)
	if spec, ok := u.Object["spec"].(map[string]any); ok {
		kept.Object["spec"] = withoutDescriptions(spec, false)
	}
	return kept, nil
}

// withoutDescriptions leaves out the descriptions of schemas; a field that is itself called "description" stays.
func withoutDescriptions(m map[string]any, names bool) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		if _, text := v.(string); text && k == "description" && !names {
			continue
		}
		switch x := v.(type) {
		case map[string]any:
			out[k] = withoutDescriptions(x, k == "properties" && !names)
		case []any:
			list := make([]any, len(x))
			for i, e := range x {
				if inner, ok := e.(map[string]any); ok {
					e = withoutDescriptions(inner, false)
				}
				list[i] = e
			}
			out[k] = list
		default:
			out[k] = v
		}
	}
	return out
}
