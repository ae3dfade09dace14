package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"
)

// nativeEngine is the name of Gatekeeper's engine for CEL, which is that of ValidatingAdmissionPolicy. Where a template has code for it
// and in Rego, this one speaks, as in Gatekeeper.
const nativeEngine = "K8sNativeValidation"

// nativeSource is the code of a template for the native engine. The fields are those of a ValidatingAdmissionPolicy's spec, but for
// matchCondition, which Gatekeeper spells in the singular.
type nativeSource struct {
	Validations []struct {
		Expression        string `json:"expression"`
		Message           string `json:"message"`
		MessageExpression string `json:"messageExpression"`
	} `json:"validations"`
	FailurePolicy   string                                   `json:"failurePolicy"`
	MatchConditions []admissionregistrationv1.MatchCondition `json:"matchCondition"`
	Variables       []admissionregistrationv1.Variable       `json:"variables"`
}

// native is CEL, compiled. CEL is without side effects, without a clock and bounded in cost by the API server's own limits.
type native struct {
	// asWritten follows the failurePolicy of the source, strict is the same with Fail: an expression that fails denies.
	asWritten, strict validating.Validator
	// problem is what does not compile: Gatekeeper would find out with the first request. A message is not among it, because the
	// default stands in for it.
	problem error
}

// reservedNames are the variables that Gatekeeper brings along.
var reservedNames = []string{"params", "anyObject"}

const reservedPrefix = "gatekeeper_internal_"

// newNative compiles the code of a template. The error is of what Gatekeeper refuses, too; see native.problem for the rest.
func newNative(name string, source any) (*native, error) {
	text, err := json.Marshal(source)
	if err != nil {
		return nil, err
	}
	var src nativeSource
	if err := json.Unmarshal(text, &src); err != nil {
		return nil, err
	}
	policy := admissionregistrationv1.Fail
	switch src.FailurePolicy {
	case "", string(admissionregistrationv1.Fail):
	case string(admissionregistrationv1.Ignore):
		policy = admissionregistrationv1.Ignore
	default:
		return nil, fmt.Errorf("failurePolicy %q is not known: it is Fail or Ignore", src.FailurePolicy)
	}
	c, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return nil, err
	}
	n := &native{}
	if len(src.Validations) == 0 {
		n.problem = errors.New("there are no validations: the template would deny nothing")
	}
	if err := n.compileVariables(c, src.Variables); err != nil {
		return nil, err
	}
	conditions, validations, messages, err := n.compileConditions(c, src)
	if err != nil {
		return nil, err
	}
	none := c.CompileCondition(nil, cel.OptionalVariableDeclarations{}, environment.StoredExpressions)
	validator := func(p admissionregistrationv1.FailurePolicyType) validating.Validator {
		m := matchconditions.NewMatcher(conditions, &p, "validatingadmissionpolicy", "vap-matcher", name)
		return validating.NewValidator(validations, m, none, messages, &p, nil)
	}
	n.asWritten, n.strict = validator(policy), validator(admissionregistrationv1.Fail)
	return n, nil
}

// compileVariables makes Gatekeeper's own variables and those of the source. Only variables see the whole constraint.
func (n *native) compileVariables(c *cel.CompositedCompiler, own []admissionregistrationv1.Variable) error {
	variables := []admissionregistrationv1.Variable{
		{Name: "anyObject", Expression: `has(request.operation) && request.operation == "DELETE" && object == null ? oldObject : object`},
		{Name: "params", Expression: "!has(params.spec) || !has(params.spec.parameters) ? null : params.spec.parameters"},
	}
	for _, v := range own {
		if slices.Contains(reservedNames, v.Name) || strings.HasPrefix(v.Name, reservedPrefix) {
			return fmt.Errorf("variable %s: the name is reserved", v.Name)
		}
	}
	for _, v := range append(variables, own...) {
		r := c.CompileAndStoreVariable(&validating.Variable{Name: v.Name, Expression: v.Expression},
			cel.OptionalVariableDeclarations{HasParams: true}, environment.StoredExpressions)
		if r.Error != nil {
			n.problem = errors.Join(n.problem, fmt.Errorf("variable %s: %s", v.Name, r.Error.Detail))
		}
	}
	return nil
}

func (n *native) compileConditions(c *cel.CompositedCompiler, src nativeSource) (conditions, validations, messages cel.ConditionEvaluator, err error) {
	var cs, vs []cel.ExpressionAccessor
	for _, m := range src.MatchConditions {
		if strings.HasPrefix(m.Name, reservedPrefix) {
			return nil, nil, nil, fmt.Errorf("match condition %s: the name is reserved", m.Name)
		}
		cs = append(cs, &matchconditions.MatchCondition{Name: m.Name, Expression: m.Expression})
	}
	ms := make([]cel.ExpressionAccessor, len(src.Validations))
	for i, v := range src.Validations {
		vs = append(vs, &validating.ValidationCondition{Expression: v.Expression, Message: v.Message})
		if v.MessageExpression != "" {
			ms[i] = &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression}
		}
	}
	compiled := func(what string, in []cel.ExpressionAccessor) cel.ConditionEvaluator {
		e := c.CompileCondition(in, cel.OptionalVariableDeclarations{}, environment.StoredExpressions)
		for _, problem := range e.CompilationErrors() {
			n.problem = errors.Join(n.problem, fmt.Errorf("%s: %w", what, problem))
		}
		return e
	}
	conditions = compiled("match condition", cs)
	validations = compiled("validation", vs)
	messages = c.CompileCondition(ms, cel.OptionalVariableDeclarations{}, environment.StoredExpressions)
	return conditions, validations, messages, nil
}

// ask evaluates the validations for one constraint, whose document is what CEL calls params.
func (n *native) ask(ctx context.Context, req *request, params *unstructured.Unstructured, strict bool) ([]string, error) {
	attributes, err := req.attributes()
	if err != nil {
		return nil, err
	}
	namespace, err := req.namespaceObject()
	if err != nil {
		return nil, err
	}
	validator := n.asWritten
	if strict {
		validator = n.strict
	}
	var out []string
	for _, d := range validator.Validate(ctx, attributes.GetResource(), attributes, params, namespace, celconfig.PerCallLimit, nil).Decisions {
		if d.Action == validating.ActionDeny {
			out = append(out, d.Message)
		}
	}
	return out, nil
}

// attributes is the request as the API server's own admission plugins see it. On DELETE there is no object, whatever Gatekeeper's Rego sees.
func (r *request) attributes() (*admission.VersionedAttributes, error) {
	if r.native != nil {
		return r.native, nil
	}
	var ar admissionv1.AdmissionRequest
	fields := make(map[string]any, len(r.fields))
	for k, v := range r.fields {
		if k != "options" {
			fields[k] = v
		}
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &ar); err != nil {
		return nil, err
	}
	object := r.in.Object
	if r.meta.operation == string(admissionv1.Delete) {
		object = nil
	}
	who := &user.DefaultInfo{Name: ar.UserInfo.Username, UID: ar.UserInfo.UID, Groups: ar.UserInfo.Groups, Extra: map[string][]string{}}
	for k, v := range ar.UserInfo.Extra {
		who.Extra[k] = v
	}
	kind := schema.GroupVersionKind(ar.Kind)
	record := admission.NewAttributesRecord(
		runtimeObject(object), runtimeObject(r.in.OldObject), kind, ar.Namespace, ar.Name, schema.GroupVersionResource(ar.Resource),
		ar.SubResource, admission.Operation(ar.Operation), runtimeObject(mapOf(r.fields["options"])), ar.DryRun != nil && *ar.DryRun, who)
	r.native = &admission.VersionedAttributes{
		Attributes: record, VersionedKind: kind, VersionedObject: record.GetObject(), VersionedOldObject: record.GetOldObject(),
	}
	return r.native, nil
}

// runtimeObject is nil, and not an interface that holds nil, if there is no object.
func runtimeObject(o map[string]any) runtime.Object {
	if o == nil {
		return nil
	}
	return &unstructured.Unstructured{Object: o}
}

func mapOf(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// namespaceObject is the Namespace as CEL sees it, nil if it is not known.
func (r *request) namespaceObject() (*corev1.Namespace, error) {
	if r.in.Namespace == nil {
		return nil, nil
	}
	ns := &corev1.Namespace{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(r.in.Namespace, ns); err != nil {
		return nil, fmt.Errorf("the Namespace object: %w", err)
	}
	return ns, nil
}
