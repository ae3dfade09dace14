package watch

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

// Configuration watches the Gates and TrustedRepositories of a cluster.
type Configuration struct {
	client  dynamic.Interface
	factory dynamicinformer.DynamicSharedInformerFactory
	stores  []cache.Store
	synced  []cache.InformerSynced
}

func configurationResources() []schema.GroupVersionResource {
	return []schema.GroupVersionResource{v1alpha1.GroupVersion().WithResource("gates"), v1alpha1.GroupVersion().WithResource("trustedrepositories")}
}

// NewConfiguration prepares the watch. changed is called when something may have changed; it must not block.
func NewConfiguration(cfg *rest.Config, changed func()) (*Configuration, error) {
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("cluster client: %w", err)
	}
	c := &Configuration{client: client, factory: dynamicinformer.NewDynamicSharedInformerFactory(client, resync)}
	for _, resource := range configurationResources() {
		informer := c.factory.ForResource(resource).Informer()
		handler, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { changed() }, UpdateFunc: func(any, any) { changed() }, DeleteFunc: func(any) { changed() },
		})
		if err != nil {
			return nil, err
		}
		c.stores, c.synced = append(c.stores, informer.GetStore()), append(c.synced, handler.HasSynced)
	}
	return c, nil
}

// List asks the API server for the objects, all of them.
func (c *Configuration) List(ctx context.Context) ([]map[string]any, error) {
	var out []map[string]any
	for _, resource := range configurationResources() {
		list, err := c.client.Resource(resource).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			out = append(out, list.Items[i].Object)
		}
	}
	return out, nil
}

// Run watches until the context ends.
func (c *Configuration) Run(ctx context.Context) {
	c.factory.Start(ctx.Done())
	<-ctx.Done()
	c.factory.Shutdown()
}

// All are the objects as they were last seen; false until they have been listed once. They must not be changed.
func (c *Configuration) All() ([]map[string]any, bool) {
	var out []map[string]any
	for i, store := range c.stores {
		if !c.synced[i]() {
			return nil, false
		}
		for _, obj := range store.List() {
			if u, ok := obj.(*unstructured.Unstructured); ok {
				out = append(out, u.Object)
			}
		}
	}
	return out, true
}
