package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	apivalidation "k8s.io/apimachinery/pkg/util/validation"
)

// errSchema is wrapped where a constraint does not follow its template's schema: what a suite's "invalid: true" expects.
var errSchema = errors.New("does not follow the schema")

// constraint is one Gatekeeper constraint, ready to be asked.
type constraint struct {
	template   *template
	kind, name string
	file       string
	line       int
	match      *match
	parameters *ast.Term
	// document is the whole constraint, with defaults: what CEL calls params.
	document *unstructured.Unstructured
	actions  []Action // empty: not for this enforcement point
	controls []string
	// anyOperation: the template's operations are not looked at, as gator does.
	anyOperation bool
	// tolerant: a built-in function that fails is undefined, whatever follows from that.
	tolerant bool
	// note is told of such failures, if it is set.
	note func(string)
}

// newConstraint checks a constraint against its template and fills in defaults. point is the enforcement point that scoped actions are
// looked up for.
func newConstraint(d document, t *template, point string) (*constraint, error) {
	c := &constraint{
		template: t, kind: d.str("kind"), name: d.str("metadata", "name"), file: d.file, line: d.line,
		anyOperation: point == gatorPoint,
	}
	if err := checkIdentity(d, t); err != nil {
		return nil, err
	}
	for _, f := range []string{"labelSelector", "namespaceSelector"} {
		v := dig(d.object, "spec", "match", f)
		if v == nil {
			continue
		}
		if _, err := parseMatch(map[string]any{f: v}); err != nil {
			return nil, fmt.Errorf("spec.match: %w", err)
		}
	}
	if errs := validation.ValidateCustomResource(nil, d.object, t.validator); len(errs) > 0 {
		return nil, fmt.Errorf("the constraint %w: %w", errSchema, errs.ToAggregate())
	}
	object := runtime.DeepCopyJSON(d.object)
	unknown := pruning.PruneWithOptions(runtime.DeepCopyJSON(object), t.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	if len(unknown) > 0 {
		return nil, fmt.Errorf("fields that the template does not know: %s", strings.Join(unknown, ", "))
	}
	defaulting.Default(object, t.structural)
	c.document = &unstructured.Unstructured{Object: object}
	var err error
	if c.match, err = parseMatch(dig(object, "spec", "match")); err != nil {
		return nil, fmt.Errorf("spec.match: %w", err)
	}
	if c.actions, err = actionsAt(object, point); err != nil {
		return nil, err
	}
	for _, a := range c.actions {
		if !a.known() && point != gatorPoint { // in a suite, a violation counts whatever becomes of it
			return nil, fmt.Errorf("enforcementAction %q is not known: it is deny, warn, dryrun or scoped; Gatekeeper would let everything pass", a)
		}
	}
	parameters := dig(object, "spec", "parameters")
	if parameters == nil {
		parameters = map[string]any{}
	}
	v, err := ast.InterfaceToValue(parameters)
	if err != nil {
		return nil, err
	}
	c.parameters = ast.NewTerm(v)
	if c.tolerant, err = tolerates(d, t); err != nil {
		return nil, err
	}
	c.controls = sortedUnique(append(splitList(d.str("metadata", "annotations", controlsAnnotation)), t.controls...))
	return c, nil
}

// tolerates tells whether the constraint, or else its template, accepts that built-in functions fail silently.
func tolerates(d document, t *template) (bool, error) {
	switch v := d.str("metadata", "annotations", builtinErrorsAnnotation); v {
	case "":
		return t.tolerant, nil
	case "undefined":
		return true, nil
	case "deny":
		return false, nil
	default:
		return false, fmt.Errorf("annotation %s: want undefined or deny, have %q", builtinErrorsAnnotation, v)
	}
}

// swallowed judges a review in which nothing was found, but a built-in function failed: Gatekeeper takes the failure for
// undefined and lets the request pass, and an attacker who can make the function fail passes with it.
func (c *constraint) swallowed(what string) error {
	if c.note != nil {
		c.note(what)
	}
	if c.tolerant {
		return nil
	}
	return fmt.Errorf("a function failed, and Gatekeeper would let that pass: %s (annotation %s: undefined accepts it)", what, builtinErrorsAnnotation)
}

func checkIdentity(d document, t *template) error {
	name := d.str("metadata", "name")
	if name == "" {
		return errors.New("the constraint has no name")
	}
	if errs := apivalidation.IsDNS1123Subdomain(name); len(errs) > 0 {
		return fmt.Errorf("the name %q: %s", name, strings.Join(errs, "; "))
	}
	if d.str("kind") != t.kind {
		return fmt.Errorf("kind %q is not the template's, %q", d.str("kind"), t.kind)
	}
	switch v := strings.TrimPrefix(d.str("apiVersion"), constraintGroup+"/"); v {
	case "v1beta1", "v1alpha1":
	default:
		return fmt.Errorf("version %q of a constraint is not known; it is v1beta1", v)
	}
	return nil
}

// actionsAt is what a violation leads to at an enforcement point.
func actionsAt(object map[string]any, point string) ([]Action, error) {
	action, _ := dig(object, "spec", "enforcementAction").(string)
	if action == "" {
		action = string(Deny)
	}
	if action != "scoped" {
		return []Action{Action(action)}, nil
	}
	raw := dig(object, "spec", "scopedEnforcementActions")
	if raw == nil {
		return nil, errors.New("enforcementAction is scoped, but there are no scopedEnforcementActions")
	}
	text, err := json.Marshal(raw)
	if err != nil {
		return nil, err
	}
	var scoped []struct {
		Action            string `json:"action"`
		EnforcementPoints []struct {
			Name string `json:"name"`
		} `json:"enforcementPoints"`
	}
	if err := json.Unmarshal(text, &scoped); err != nil {
		return nil, err
	}
	var found []string
	for _, s := range scoped {
		for _, p := range s.EnforcementPoints {
			if p.Name == point || p.Name == "*" {
				found = append(found, s.Action)
			}
		}
	}
	var out []Action
	for _, a := range sortedUnique(found) {
		out = append(out, Action(a))
	}
	return out, nil
}

func (a Action) known() bool { return a == Deny || a == Warn || a == Dryrun }

// matches tells whether the constraint is asked about a request.
func (c *constraint) matches(req *request) (bool, error) {
	if len(c.actions) == 0 {
		return false, nil
	}
	if !c.anyOperation && len(c.template.operations) > 0 && !listed(c.template.operations, req.meta.operation) {
		return false, nil
	}
	return c.match.any(req.meta)
}

// rule makes the constraint something that can be asked.
func (c *constraint) rule() *rule {
	return &rule{
		policy: c.kind + "/" + c.name, convention: Gatekeeper, file: c.file, line: c.line,
		answers: []answer{{
			name: "violation", controls: c.controls, file: c.template.file, line: c.template.ruleLine,
		}},
		query: c.template.query, store: c.template.store, needs: c.template.needs,
		inventory: c.template.inventory, namespace: c.template.namespace, constraint: c,
	}
}

// spread gives each finding the constraint's actions.
func (c *constraint) spread(in []Finding) []Finding {
	var out []Finding
	for _, f := range in {
		for _, a := range c.actions {
			f.Action = a
			out = append(out, f)
		}
	}
	return out
}

// unique leaves out equal answers, as Gatekeeper does of Rego's: without details is the same as with none.
func unique(in []Finding) []Finding {
	seen := map[string]bool{}
	var out []Finding
	for _, f := range in {
		details := f.Details
		if details == nil {
			details = map[string]any{}
		}
		text, _ := json.Marshal(details) // what Rego returned is JSON
		if key := f.Msg + "\x00" + string(text); !seen[key] {
			seen[key] = true
			out = append(out, f)
		}
	}
	return out
}
