package account

import (
	"fmt"
	"sync"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	crdschemas "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/install"
	apiservices "k8s.io/kube-aggregator/pkg/client/applyconfiguration"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"

	_ "k8s.io/kubernetes/pkg/apis/admissionregistration/install"
	_ "k8s.io/kubernetes/pkg/apis/apiserverinternal/install"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/authentication/install"
	_ "k8s.io/kubernetes/pkg/apis/authorization/install"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	_ "k8s.io/kubernetes/pkg/apis/certificates/install"
	_ "k8s.io/kubernetes/pkg/apis/coordination/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/discovery/install"
	_ "k8s.io/kubernetes/pkg/apis/events/install"
	_ "k8s.io/kubernetes/pkg/apis/flowcontrol/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/node/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	_ "k8s.io/kubernetes/pkg/apis/rbac/install"
	_ "k8s.io/kubernetes/pkg/apis/resource/install"
	_ "k8s.io/kubernetes/pkg/apis/scheduling/install"
	_ "k8s.io/kubernetes/pkg/apis/storage/install"
	_ "k8s.io/kubernetes/pkg/apis/storagemigration/install"
)

// builtins are the built-in kinds: Kubernetes' own types, defaults, conversions and schemas, from the same code that the API
// server runs.
type builtins struct {
	kinds map[schema.GroupVersionKind]builtinKind
	// metadata is the shape of ObjectMeta.
	metadata *shape
}

type builtinKind struct {
	scheme *runtime.Scheme
	shape  *shape
}

// loadBuiltins builds the table once per process: it depends on nothing and never changes. The API server is three servers
// in one, each with its scheme.
var loadBuiltins = sync.OnceValue(func() *builtins {
	b := &builtins{kinds: map[schema.GroupVersionKind]builtinKind{}}
	b.addKinds(legacyscheme.Scheme, schemaOf(legacyscheme.Scheme, applyconfigurations.NewTypeConverter(legacyscheme.Scheme)))
	services := runtime.NewScheme()
	apiregistration.Install(services)
	b.addKinds(services, schemaOf(services, apiservices.NewTypeConverter(services)))
	crds := runtime.NewScheme()
	apiextensions.Install(crds)
	b.addKinds(crds, schemaOfCRDs())
	b.metadata = b.kinds[podKind].shape.field("metadata")
	return b
})

// schemaOf takes the schema out of a type converter, which shows it only with a value of some type.
func schemaOf(scheme *runtime.Scheme, converter managedfields.TypeConverter) *smd.Schema {
	for gvk := range scheme.AllKnownTypes() {
		object, err := scheme.New(gvk)
		if err != nil {
			continue
		}
		object.GetObjectKind().SetGroupVersionKind(gvk)
		if value, err := converter.ObjectToTyped(object); err == nil {
			return value.Schema()
		}
	}
	return &smd.Schema{}
}

// schemaOfCRDs makes the schema of CustomResourceDefinition, for which no type converter is published, from its OpenAPI.
func schemaOfCRDs() *smd.Schema {
	definitions := crdschemas.GetOpenAPIDefinitions(func(name string) spec.Ref {
		return spec.MustCreateRef("#/definitions/" + name)
	})
	models := make(map[string]*spec.Schema, len(definitions))
	for name, d := range definitions {
		models[name] = modelOf(d)
	}
	s, err := schemaconv.ToSchemaFromOpenAPI(models, false)
	if err != nil {
		return &smd.Schema{} // a test sees that the kind is there
	}
	return s
}

// modelOf is the schema of a definition: the OpenAPI v2 form where v3 says oneOf, as the API server's converter wants it.
func modelOf(d common.OpenAPIDefinition) *spec.Schema {
	if v2, ok := d.Schema.Extensions[common.ExtensionV2Schema].(spec.Schema); ok {
		return &v2
	}
	return &d.Schema
}

// addKinds adds the kinds of a scheme that have metadata: only those are ever declared.
func (b *builtins) addKinds(scheme *runtime.Scheme, types *smd.Schema) {
	build := &shapes{schema: types, named: map[string]*shape{}}
	for gvk := range scheme.AllKnownTypes() {
		if gvk.Version == runtime.APIVersionInternal {
			continue
		}
		name, err := scheme.ToOpenAPIDefinitionName(gvk)
		if err != nil {
			continue
		}
		if _, ok := types.FindNamedType(name); !ok {
			continue // options, lists and reviews: nothing that is applied
		}
		if s := build.name(name); s.fields["metadata"] != nil && s.fields["items"] == nil {
			b.kinds[gvk] = builtinKind{scheme, s}
		}
	}
}

// normal is content as the API server holds it after decoding: defaulted if asked, through the internal version, in the
// version of target. content is not changed; the answer shares nothing with it.
func (k builtinKind) normal(content map[string]any, from, target schema.GroupVersionKind, defaulted bool) (map[string]any, error) {
	object, err := k.scheme.New(from)
	if err != nil {
		return nil, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, object); err != nil {
		return nil, fmt.Errorf("decode %s: %w", from.Kind, err)
	}
	if defaulted {
		k.scheme.Default(object)
	}
	internal, err := k.scheme.UnsafeConvertToVersion(object, schema.GroupVersion{Group: from.Group, Version: runtime.APIVersionInternal})
	if err != nil {
		return nil, fmt.Errorf("convert %s: %w", from.Kind, err)
	}
	versioned, err := k.scheme.UnsafeConvertToVersion(internal, target.GroupVersion())
	if err != nil {
		return nil, fmt.Errorf("convert %s to %s: %w", from.Kind, target.Version, err)
	}
	out, err := runtime.DefaultUnstructuredConverter.ToUnstructured(versioned)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", from.Kind, err)
	}
	out["apiVersion"], out["kind"] = target.GroupVersion().String(), target.Kind
	return out, nil
}
