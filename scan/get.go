package scan

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
)

// Get reads one live object by what a person calls its kind: deploy, Deployment, deployments.apps.
func (s *Scanner) Get(ctx context.Context, kind, namespace, name string) (map[string]any, error) {
	cached := memory.NewMemCacheClient(s.discovery)
	mapper := restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(cached), cached, nil)
	mapping, err := mappingOf(mapper, kind)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		namespace = ""
	}
	o, err := s.objects.Resource(mapping.Resource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return o.Object, nil
}

// mappingOf finds a kind by its resource's name, singular or short name, or by its own name.
func mappingOf(mapper meta.RESTMapper, kind string) (*meta.RESTMapping, error) {
	full, short := schema.ParseResourceArg(kind)
	if full != nil {
		if gvk, err := mapper.KindFor(*full); err == nil {
			return mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		}
	}
	if gvk, err := mapper.KindFor(short.WithVersion("")); err == nil {
		return mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	return mapper.RESTMapping(schema.ParseGroupKind(kind))
}
