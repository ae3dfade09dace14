package account

import (
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	crdv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// customKind is a kind that a CRD describes.
type customKind struct {
	plural   string // the name of the resource in paths
	versions map[string]*customVersion
	// converted: a webhook converts between the versions, so that what it makes of an object cannot be known here.
	converted bool
}

type customVersion struct {
	schema *structural.Structural
	shape  *shape
	status bool // status is a subresource
}

// unknown is the shape of an object of which only the metadata are known.
func (b *builtins) unknown() *shape {
	return &shape{form: formStruct, fields: map[string]*shape{"apiVersion": scalarShape, "kind": scalarShape, "metadata": b.metadata}}
}

// newCustomKind understands the manifest of a CRD as the API server does when it starts to serve it.
func (b *builtins) newCustomKind(manifest map[string]any) (schema.GroupKind, *customKind, error) {
	var crd crdv1.CustomResourceDefinition
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(manifest, &crd); err != nil {
		return schema.GroupKind{}, nil, fmt.Errorf("decode CustomResourceDefinition: %w", err)
	}
	if crd.APIVersion != crdv1.SchemeGroupVersion.String() || crd.Kind != "CustomResourceDefinition" {
		return schema.GroupKind{}, nil, fmt.Errorf("%s %s %s is not a CustomResourceDefinition of %s", crd.APIVersion, crd.Kind, crd.Name, crdv1.SchemeGroupVersion)
	}
	gk := schema.GroupKind{Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind}
	k := &customKind{plural: crd.Spec.Names.Plural, versions: make(map[string]*customVersion, len(crd.Spec.Versions))}
	k.converted = crd.Spec.Conversion != nil && crd.Spec.Conversion.Strategy == crdv1.WebhookConverter
	for i := range crd.Spec.Versions {
		v := &crd.Spec.Versions[i]
		made, err := b.newCustomVersion(v)
		if err != nil {
			return gk, nil, fmt.Errorf("CustomResourceDefinition %s, version %s: %w", crd.Name, v.Name, err)
		}
		k.versions[v.Name] = made
	}
	return gk, k, nil
}

func (b *builtins) newCustomVersion(v *crdv1.CustomResourceDefinitionVersion) (*customVersion, error) {
	made := &customVersion{shape: b.unknown(), status: v.Subresources != nil && v.Subresources.Status != nil}
	if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
		return made, nil
	}
	var internal apiextensions.JSONSchemaProps
	if err := crdv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, &internal, nil); err != nil {
		return nil, err
	}
	s, err := structural.NewStructural(&internal)
	if err != nil {
		return nil, err
	}
	s = s.DeepCopy() // its defaults are shared with the CRD
	if err := defaulting.PruneDefaults(s); err != nil {
		return nil, err
	}
	made.schema, made.shape = s, customShape(s, b.metadata, true)
	return made, nil
}

// normal is content as the API server holds it after decoding, in the version of target. The steps and their order are those
// of its customresource_handler.go: prune, drop nulls, coerce metadata, default.
func (k *customKind) normal(content map[string]any, from, target string) (map[string]any, error) {
	out := runtime.DeepCopyJSON(content)
	if from != target {
		// Without a webhook, conversion is a change of apiVersion. With one it may be anything.
		source := k.versions[from]
		if k.converted || source == nil {
			return nil, fmt.Errorf("version %s of a kind that is declared in %s: %w", target, from, ErrNoSchema)
		}
		if err := source.normalise(out); err != nil {
			return nil, err
		}
		gv, err := schema.ParseGroupVersion(out["apiVersion"].(string))
		if err != nil {
			return nil, err
		}
		out["apiVersion"] = schema.GroupVersion{Group: gv.Group, Version: target}.String()
	}
	return out, k.versions[target].normalise(out)
}

func (v *customVersion) normalise(object map[string]any) error {
	metadata, found, err := objectmeta.GetObjectMeta(object, true)
	if err != nil {
		return err
	}
	if v.schema != nil {
		apiVersion, kind := object["apiVersion"], object["kind"]
		pruning.Prune(object, v.schema, true)
		defaulting.PruneNonNullableNullsWithoutDefaults(object, v.schema)
		if err := objectmeta.Coerce(nil, object, v.schema, false, true); err != nil {
			return err
		}
		object["apiVersion"], object["kind"] = apiVersion, kind
	}
	if found {
		if err := objectmeta.SetObjectMeta(object, metadata); err != nil {
			return err
		}
	}
	if v.schema != nil {
		defaulting.Default(object, v.schema)
	}
	return nil
}

// plainNumbers is a copy of content with the number types that Kubernetes' own JSON code knows: int64 and float64.
func plainNumbers(content map[string]any) map[string]any {
	out, _ := plainValue(content).(map[string]any)
	return out
}

func plainValue(v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, item := range x {
			out[k] = plainValue(item)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, item := range x {
			out[i] = plainValue(item)
		}
		return out
	case nil, string, bool, int64:
		return v
	}
	i, f, integer, ok := number(v)
	switch {
	case !ok:
		return nil // not of JSON: whatever it was meant to be, nothing in a request is explained by it
	case integer:
		return i
	}
	return f
}
