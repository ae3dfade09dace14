package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// rule is one prepared query: a package of rules, or one constraint. It is immutable.
type rule struct {
	policy     string
	convention Convention
	file       string
	line       int
	// answers describe the query's expressions, in order.
	answers    []answer
	exceptions bool // the query has one more expression: conftest's exceptions
	query      rego.PreparedEvalQuery
	store      *store
	needs      []Kind      // of the inventory
	inventory  bool        // the rule reads data.inventory
	namespace  bool        // the rule reads the Namespace of the object
	constraint *constraint // Gatekeeper only
}

// answer is one definition of one rule: deny contains msg if …
type answer struct {
	name     string // deny, deny_latest, violation
	action   Action
	id       string // of its metadata
	controls []string
	line     int
	file     string
}

// reads are the kinds of the cluster that an answer may depend on.
func (r *rule) reads() []Kind {
	if r.namespace || r.constraint != nil && r.constraint.match.NamespaceSelector != nil {
		return append(slices.Clone(r.needs), namespaceKind)
	}
	return r.needs
}

func (r *rule) describe() Rule {
	out := Rule{Policy: r.policy, Convention: r.convention, File: r.file}
	var names, actions []string
	for _, a := range r.answers {
		names, actions = append(names, a.name), append(actions, string(a.action))
	}
	if r.constraint != nil {
		actions = nil
		for _, a := range r.constraint.actions {
			actions = append(actions, string(a))
		}
	}
	out.Rules = sortedUnique(names)
	for _, a := range sortedUnique(actions) {
		out.Actions = append(out.Actions, Action(a))
	}
	return out
}

// prepare makes the query of a rule, once.
func prepare(ctx context.Context, c *ast.Compiler, v ast.RegoVersion, s *store, strict bool, expressions []string) (rego.PreparedEvalQuery, error) {
	return rego.New(
		rego.Query(strings.Join(expressions, "; ")),
		rego.Compiler(c),
		rego.Store(s),
		rego.SetRegoVersion(v),
		rego.Capabilities(capabilities(v)),
		rego.StrictBuiltinErrors(strict),
	).PrepareForEval(ctx)
}

// applies tells whether the request is one for this rule. An error means that this cannot be told.
func (r *rule) applies(req *request) (bool, error) {
	switch r.convention {
	case Conftest:
		return req.in.Object != nil, nil // it judges manifests; where there is none (DELETE) it has no question
	case Gatekeeper:
		return r.constraint.matches(req)
	}
	return true, nil
}

func (r *rule) input(req *request) (ast.Value, error) {
	switch r.convention {
	case Own:
		return req.ownDocument()
	case Admission:
		return req.admissionDocument()
	case Conftest:
		return req.object.Value, nil
	}
	review, err := req.reviewDocument()
	if err != nil {
		return nil, err
	}
	return ast.NewObject(pair("review", ast.NewTerm(review)), pair("parameters", r.constraint.parameters)), nil
}

// ask puts the request to the rule. Whatever goes wrong is one failed finding.
func (r *rule) ask(ctx context.Context, req *request, cancel topdown.Cancel) (out []Finding) {
	defer func() {
		if p := recover(); p != nil {
			out = r.failed(fmt.Errorf("panic: %v", p))
		}
	}()
	out, err := r.evaluate(ctx, req, cancel)
	if err != nil {
		return r.failed(err)
	}
	return out
}

func (r *rule) evaluate(ctx context.Context, req *request, cancel topdown.Cancel) ([]Finding, error) {
	if err := req.in.Inventory.holds(r.needs); err != nil {
		return nil, err
	}
	if r.namespace && req.in.Namespace == nil && req.inNamespace() && !req.in.Inventory.fixed() {
		return nil, fmt.Errorf("the Namespace %s is %w", req.meta.namespace, errNotThereYet)
	}
	if r.constraint != nil && r.constraint.template.native != nil {
		return r.evaluateNative(ctx, req)
	}
	input, err := r.input(req)
	if err != nil {
		return nil, err
	}
	var swallowed []topdown.Error
	rs, err := r.query.Eval(ctx,
		rego.EvalParsedInput(input),
		rego.EvalTransaction(r.transaction(req)),
		rego.EvalTime(req.in.Time),
		rego.EvalExternalCancel(cancel),
		rego.EvalMetrics(metrics.NoOp()),
		rego.EvalBuiltinErrorList(&swallowed),
	)
	if err != nil {
		return nil, errors.New(evaluationError(err))
	}
	if len(rs) != 1 {
		return nil, errors.New("the rule is undefined")
	}
	values := rs[0].Expressions
	var excepted map[string]bool
	if r.exceptions {
		if excepted, err = exceptions(values[len(r.answers)].Value); err != nil {
			return nil, err
		}
	}
	var out []Finding
	for i, a := range r.answers {
		if excepted[suffix(a.name)] {
			continue
		}
		found, err := r.read(a, values[i].Value)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	if len(out) == 0 && len(swallowed) > 0 && r.constraint != nil {
		return nil, r.constraint.swallowed(evaluationError(&swallowed[0]))
	}
	return out, nil
}

func (r *rule) transaction(req *request) storage.Transaction {
	if !r.inventory {
		return r.store.with(nil)
	}
	return r.store.with(req.in.Inventory.document())
}

// errShape is wrapped where a rule's answer cannot be read.
var errShape = errors.New("not a set of messages")

// read turns an answer's set into findings.
func (r *rule) read(a answer, v any) ([]Finding, error) {
	members, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%s is %T, %w", a.name, v, errShape)
	}
	var out []Finding
	for _, m := range members {
		f := Finding{
			ID: a.id, Policy: r.policy, Rule: a.name, Convention: r.convention,
			Action: a.action, Controls: a.controls, File: a.file, Line: a.line,
		}
		if err := f.fill(m); err != nil {
			return nil, fmt.Errorf("%s: %w", a.name, err)
		}
		if f.ID == "" {
			f.ID = r.policy + "/" + a.name
		}
		out = append(out, f)
	}
	if r.constraint != nil {
		out = r.constraint.spread(unique(out))
	}
	return out, nil
}

// evaluateNative asks a template in CEL.
func (r *rule) evaluateNative(ctx context.Context, req *request) ([]Finding, error) {
	c := r.constraint
	found, err := c.template.native.ask(ctx, req, c.document, !c.tolerant)
	if err != nil {
		return nil, err
	}
	if c.note != nil {
		strict, err := c.template.native.ask(ctx, req, c.document, true)
		if err == nil && len(found) == 0 && len(strict) > 0 {
			c.note(strict[0])
		}
	}
	a := r.answers[0]
	var out []Finding
	for _, msg := range found {
		out = append(out, Finding{
			ID: r.policy + "/" + a.name, Msg: msg, Policy: r.policy, Rule: a.name, Convention: r.convention,
			Controls: a.controls, File: a.file, Line: a.line,
		})
	}
	return c.spread(out), nil
}

// fill reads one member: a message, or an object with msg.
func (f *Finding) fill(member any) error {
	switch m := member.(type) {
	case string:
		if f.Convention == Gatekeeper {
			break
		}
		f.Msg = m
		return nil
	case map[string]any:
		msg, ok := m["msg"].(string)
		if !ok {
			return fmt.Errorf("%w: a member has no msg that is a string", errShape)
		}
		f.Msg = msg
		f.Details = m["details"]
		if id, ok := m["id"].(string); ok && f.Convention != Gatekeeper {
			f.ID = id
		}
		return nil
	}
	return fmt.Errorf("%w: a member is %T, neither a message nor an object with msg", errShape, member)
}

// failed is the denial of a rule that gave no answer. A constraint that only warns still denies nothing.
func (r *rule) failed(err error) []Finding {
	f := Finding{
		ID: r.policy + "/failed", Policy: r.policy, Rule: r.answers[0].name, Convention: r.convention,
		Action: Deny, Controls: r.answers[0].controls, File: r.file, Line: r.line,
		Msg: "no answer: " + err.Error(), Failed: true, shapeless: errors.Is(err, errShape),
		waiting: errors.Is(err, errNotThereYet) || errors.Is(err, errNoNamespace),
	}
	if r.constraint != nil {
		return r.constraint.spread([]Finding{f})
	}
	onlyWarns := true
	for _, a := range r.answers {
		onlyWarns = onlyWarns && a.action == Warn
	}
	if onlyWarns {
		f.Action = Warn
	}
	return []Finding{f}
}

// evaluationError is OPA's error as a sentence.
func evaluationError(err error) string {
	var t *topdown.Error
	if errors.As(err, &t) {
		if t.Code == topdown.CancelErr {
			return "cut off: it took too long or too much memory"
		}
		if t.Location != nil && t.Location.File != "" {
			return fmt.Sprintf("%s:%d: %s", t.Location.File, t.Location.Row, t.Message)
		}
		return t.Message
	}
	return err.Error()
}

// suffix is what conftest's exceptions name: run_as_root for deny_run_as_root, "" for deny.
func suffix(name string) string {
	_, after, _ := strings.Cut(name, "_")
	return after
}

func exceptions(v any) (map[string]bool, error) {
	sets, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("exception is %T, not a set of lists", v)
	}
	out := map[string]bool{}
	for _, s := range sets {
		names, ok := s.([]any)
		if !ok {
			return nil, fmt.Errorf("a member of exception is %T, not a list of rule names", s)
		}
		for _, n := range names {
			if name, ok := n.(string); ok {
				out[name] = true
			}
		}
	}
	return out, nil
}
