package policy

import (
	"encoding/json"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
)

// readSchema builds the schema of the template's constraints, as Gatekeeper builds their CRD.
func (t *template) readSchema(d document) error {
	parameters, err := parameterSchema(d)
	if err != nil {
		return err
	}
	full := constraintSchema(parameters)
	if t.structural, err = schema.NewStructural(full); err != nil {
		return err
	}
	if errs := schema.ValidateStructural(nil, t.structural); len(errs) > 0 {
		return errs.ToAggregate()
	}
	t.validator, _, err = validation.NewSchemaValidator(full)
	return err
}

// parameterSchema is nil if the template has none. Before v1 a template's schema is legacy unless it says otherwise: unknown parameters are kept.
func parameterSchema(d document) (*apiextensions.JSONSchemaProps, error) {
	legacy := !strings.HasSuffix(d.str("apiVersion"), "/v1")
	if l, ok := dig(d.object, "spec", "crd", "spec", "validation", "legacySchema").(bool); ok {
		legacy = l
	}
	raw := dig(d.object, "spec", "crd", "spec", "validation", "openAPIV3Schema")
	if raw == nil && !legacy {
		return nil, nil
	}
	v1 := &apiextensionsv1.JSONSchemaProps{}
	if raw != nil {
		text, err := json.Marshal(raw)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, v1); err != nil {
			return nil, err
		}
	}
	if legacy {
		keepUnknown(v1)
	}
	out := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v1, out, nil); err != nil {
		return nil, err
	}
	return out, nil
}

// keepUnknown marks every object of a schema as open, and gives lists of anything the items that a structural schema needs.
func keepUnknown(s *apiextensionsv1.JSONSchemaProps) {
	yes := true
	switch s.Type {
	case "", "object":
		s.XPreserveUnknownFields = &yes
	case "array":
		if s.Items == nil || s.Items.Schema == nil && s.Items.JSONSchemas == nil {
			s.Items = &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{XPreserveUnknownFields: &yes}}
		}
	}
	for k, v := range s.Properties {
		keepUnknown(&v)
		s.Properties[k] = v
	}
	if s.Items != nil && s.Items.Schema != nil {
		keepUnknown(s.Items.Schema)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		keepUnknown(s.AdditionalProperties.Schema)
	}
}

// constraintSchema is the schema of a template's constraints. parameters may be nil.
func constraintSchema(parameters *apiextensions.JSONSchemaProps) *apiextensions.JSONSchemaProps {
	deny := apiextensions.JSON(string(Deny))
	action := stringSchema("")
	action.Default = &deny
	spec := map[string]apiextensions.JSONSchemaProps{
		"match":             matchSchema(),
		"enforcementAction": action,
		"scopedEnforcementActions": arraySchema(objectSchema(map[string]apiextensions.JSONSchemaProps{
			"action":            stringSchema(""),
			"enforcementPoints": arraySchema(objectSchema(map[string]apiextensions.JSONSchemaProps{"name": stringSchema("")})),
		})),
	}
	if parameters != nil {
		spec["parameters"] = *parameters
	}
	name, length, yes := stringSchema(""), int64(63), true
	name.MaxLength = &length
	s := objectSchema(map[string]apiextensions.JSONSchemaProps{
		"metadata": objectSchema(map[string]apiextensions.JSONSchemaProps{"name": name}),
		"spec":     objectSchema(spec),
		"status":   {XPreserveUnknownFields: &yes},
	})
	return &s
}

func matchSchema() apiextensions.JSONSchemaProps {
	pattern := stringSchema(`^\*?[-:a-z0-9]*\*?$`)
	source := stringSchema("")
	source.Enum = []apiextensions.JSON{"All", "Generated", "Original"}
	strs := arraySchema(stringSchema(""))
	requirement := objectSchema(map[string]apiextensions.JSONSchemaProps{
		"key": stringSchema(""), "operator": stringSchema(""), "values": strs,
	})
	requirement.Required = []string{"key", "operator"}
	value := stringSchema("")
	selector := objectSchema(map[string]apiextensions.JSONSchemaProps{
		"matchExpressions": arraySchema(requirement),
		"matchLabels": {Type: "object", AdditionalProperties: &apiextensions.JSONSchemaPropsOrBool{
			Allows: true, Schema: &value,
		}},
	})
	return objectSchema(map[string]apiextensions.JSONSchemaProps{
		"source":             source,
		"kinds":              arraySchema(objectSchema(map[string]apiextensions.JSONSchemaProps{"apiGroups": strs, "kinds": strs})),
		"scope":              stringSchema(""),
		"namespaces":         arraySchema(pattern),
		"excludedNamespaces": arraySchema(pattern),
		"labelSelector":      selector,
		"namespaceSelector":  selector,
		"name":               pattern,
	})
}

func stringSchema(pattern string) apiextensions.JSONSchemaProps {
	return apiextensions.JSONSchemaProps{Type: "string", Pattern: pattern}
}

func arraySchema(items apiextensions.JSONSchemaProps) apiextensions.JSONSchemaProps {
	return apiextensions.JSONSchemaProps{Type: "array", Items: &apiextensions.JSONSchemaPropsOrArray{Schema: &items}}
}

func objectSchema(properties map[string]apiextensions.JSONSchemaProps) apiextensions.JSONSchemaProps {
	return apiextensions.JSONSchemaProps{Type: "object", Properties: properties}
}
