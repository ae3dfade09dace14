package watch

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

// Grants watches the break-glass grants of a cluster.
type Grants struct {
	factory dynamicinformer.DynamicSharedInformerFactory
	handler cache.ResourceEventHandlerRegistration
}

// NewGrants prepares the watch. seen is called with each grant as it is and whenever it changes, gone with the name of one that was deleted.
func NewGrants(cfg *rest.Config, seen func(*v1alpha1.Grant), gone func(name string)) (*Grants, error) {
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("cluster client: %w", err)
	}
	factory := dynamicinformer.NewDynamicSharedInformerFactory(client, resync)
	informer := factory.ForResource(GrantResource()).Informer()
	show := func(obj any) {
		if g := asGrant(obj); g != nil {
			seen(g)
		}
	}
	handler, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    show,
		UpdateFunc: func(_, obj any) { show(obj) },
		DeleteFunc: func(obj any) {
			if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = tombstone.Obj
			}
			if u, ok := obj.(*unstructured.Unstructured); ok {
				gone(u.GetName())
			}
		},
	})
	return &Grants{factory, handler}, err
}

// GrantResource is the resource of grants.
func GrantResource() schema.GroupVersionResource {
	return v1alpha1.GroupVersion().WithResource("grants")
}

func asGrant(obj any) *v1alpha1.Grant {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil
	}
	g := new(v1alpha1.Grant)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, g); err != nil {
		return nil // its schema forbids what does not fit
	}
	return g
}

// Run watches until the context ends.
func (g *Grants) Run(ctx context.Context) {
	g.factory.Start(ctx.Done())
	<-ctx.Done()
	g.factory.Shutdown()
}

// Synced tells whether the grants have been listed once, and each has been handed to seen.
func (g *Grants) Synced() bool { return g.handler.HasSynced() }
