package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "k8s.io/apimachinery/pkg/util/json"
)

// suite is a Suite of test.gatekeeper.sh/v1alpha1, as gator verify reads it. Paths are relative to the file that holds it.
type suite struct {
	Skip  bool        `json:"skip"`
	Tests []suiteTest `json:"tests"`
}

// suiteTest is a template and a constraint, and what they are tried with.
type suiteTest struct {
	Name       string      `json:"name"`
	Template   string      `json:"template"`
	Constraint string      `json:"constraint"`
	Expansion  string      `json:"expansion"`
	Invalid    bool        `json:"invalid"` // the constraint must not follow the template's schema
	Skip       bool        `json:"skip"`
	Cases      []suiteCase `json:"cases"`
}

// suiteCase is one object, or one AdmissionReview.
type suiteCase struct {
	Name       string      `json:"name"`
	Object     string      `json:"object"`
	Inventory  []string    `json:"inventory"`
	Assertions []assertion `json:"assertions"` // all must hold
	Skip       bool        `json:"skip"`
}

// assertion counts the violations whose message matches.
type assertion struct {
	Violations violations `json:"violations"`
	Message    *string    `json:"message"` // a regular expression (RE2); nil matches every message
}

// violations is how many are expected: a number, "yes" (at least one; the default) or "no".
type violations struct {
	number *int32
	word   *string
}

func (v *violations) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		return nil
	}
	if text[0] == '"' {
		return json.Unmarshal(text, &v.word)
	}
	if err := json.Unmarshal(text, &v.number); err != nil {
		return fmt.Errorf(`violations: want a number, "yes" or "no", have %s`, text)
	}
	return nil
}

func parseSuite(object map[string]any) (suite, error) {
	var s suite
	text, err := json.Marshal(object)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(text, &s)
}

// suiteRunner runs suites against the files of a tree.
type suiteRunner struct {
	fsys   fs.FS
	filter filter
	now    time.Time
}

// run runs one suite. Each case, and each test that could not begin, is one result.
func (sr suiteRunner) run(ctx context.Context, d document) []TestResult {
	s, err := parseSuite(d.object)
	if err != nil {
		return []TestResult{{Name: d.file, File: d.file, Line: d.line, Outcome: TestError, Msg: err.Error()}}
	}
	if s.Skip {
		return []TestResult{{Name: d.file, File: d.file, Line: d.line, Outcome: TestSkip}}
	}
	var out []TestResult
	for i, t := range s.Tests {
		line := d.line
		if n := d.at("tests", i); n != nil {
			line = n.Line
		}
		base := TestResult{Name: t.Name, File: d.file, Line: line}
		if t.Skip || !sr.filter.test(t) {
			if t.Skip {
				base.Outcome = TestSkip
				out = append(out, base)
			}
			continue
		}
		out = append(out, sr.test(ctx, d, i, t, base)...)
	}
	return out
}

func (sr suiteRunner) test(ctx context.Context, d document, i int, t suiteTest, base TestResult) []TestResult {
	start := time.Now()
	c, err := sr.constraint(ctx, path.Dir(d.file), t)
	switch {
	case t.Invalid && errors.Is(err, errSchema):
		base.Outcome, base.Duration = TestPass, time.Since(start)
		return []TestResult{base}
	case t.Invalid:
		base.Outcome = TestFail
		base.Msg = "the constraint should not follow its template's schema, but does"
		if err != nil {
			base.Msg = "the constraint should not follow its template's schema; instead: " + err.Error()
		}
		return []TestResult{base}
	}
	var es []*expansion
	if err == nil {
		es, err = sr.expansions(path.Dir(d.file), t.Expansion)
	}
	if err != nil {
		base.Outcome, base.Msg = TestError, err.Error()
		return []TestResult{base}
	}
	var out []TestResult
	for j, cs := range t.Cases {
		if !sr.filter.matches(t.Name, cs.Name) {
			continue
		}
		r := TestResult{Name: t.Name + "/" + cs.Name, File: d.file, Line: base.Line}
		if n := d.at("tests", i, "cases", j); n != nil {
			r.Line = n.Line
		}
		if cs.Skip {
			r.Outcome = TestSkip
			out = append(out, r)
			continue
		}
		start := time.Now()
		r.Outcome = TestPass
		if c.note != nil {
			c.note = func(what string) {
				r.Output += "the gate would deny this, gator does not: a function failed: " + what + "\n"
			}
		}
		if err := sr.check(ctx, path.Dir(d.file), c, es, cs); err != nil {
			r.Outcome, r.Msg = TestFail, err.Error()
		}
		r.Duration = time.Since(start)
		out = append(out, r)
	}
	return out
}

// constraint reads a test's template and constraint, anew for each test.
func (sr suiteRunner) constraint(ctx context.Context, dir string, t suiteTest) (*constraint, error) {
	td, err := sr.first(dir, t.Template, "template")
	if err != nil {
		return nil, err
	}
	if td.group() != templateGroup || td.str("kind") != "ConstraintTemplate" {
		return nil, fmt.Errorf("%s is no ConstraintTemplate", td.file)
	}
	tmpl, err := newTemplate(ctx, td)
	if err != nil {
		return nil, err
	}
	cd, err := sr.first(dir, t.Constraint, "constraint")
	if err != nil {
		return nil, err
	}
	if cd.group() != constraintGroup {
		return nil, fmt.Errorf("%s is no constraint", cd.file)
	}
	c, err := newConstraint(cd, tmpl, gatorPoint)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cd.file, err)
	}
	if len(c.actions) > 0 {
		c.actions = []Action{Deny} // a suite counts violations, whatever becomes of them
	}
	if !c.tolerant {
		c.tolerant, c.note = true, func(string) {} // as gator does; each case tells what it swallowed
	}
	return c, nil
}

// first reads the first document of a file that a suite names.
func (sr suiteRunner) first(dir, name, what string) (document, error) {
	if name == "" {
		return document{}, fmt.Errorf("the test names no %s", what)
	}
	file := file{path: path.Join(dir, name)}
	var err error
	if file.content, err = readBounded(sr.fsys, file.path); err != nil {
		return document{}, err
	}
	docs, err := documents(file)
	if err != nil {
		return document{}, fmt.Errorf("%s: %w", file.path, err)
	}
	if len(docs) == 0 {
		return document{}, fmt.Errorf("%s holds no object", file.path)
	}
	return docs[0], nil
}

func (sr suiteRunner) expansions(dir, name string) ([]*expansion, error) {
	if name == "" {
		return nil, nil
	}
	f := file{path: path.Join(dir, name)}
	var err error
	if f.content, err = readBounded(sr.fsys, f.path); err != nil {
		return nil, err
	}
	docs, err := documents(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	var out []*expansion
	for _, d := range docs {
		if d.group() != expansionGroup || d.str("kind") != "ExpansionTemplate" {
			return nil, fmt.Errorf("%s:%d: is no ExpansionTemplate", f.path, d.line)
		}
		e, err := readExpansion(d)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", f.path, d.line, err)
		}
		out = append(out, e)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no ExpansionTemplate", f.path)
	}
	return out, nil
}

// check runs one case.
func (sr suiteRunner) check(ctx context.Context, dir string, c *constraint, es []*expansion, cs suiteCase) error {
	if cs.Object == "" {
		return errors.New("the case names no object")
	}
	if len(cs.Assertions) == 0 {
		return errors.New("the case asserts nothing")
	}
	objects, err := sr.read(dir, cs.Object)
	if err != nil {
		return err
	}
	if len(objects) != 1 {
		return fmt.Errorf("%s holds %d objects, not one", path.Join(dir, cs.Object), len(objects))
	}
	var others []map[string]any
	for _, name := range cs.Inventory {
		more, err := sr.read(dir, name)
		if err != nil {
			return err
		}
		others = append(others, more...)
	}
	in, err := reviewOf(objects[0])
	if err != nil {
		return err
	}
	if in.Request["operation"] != nil {
		es = nil // gator expands bare objects only
	}
	if in.Inventory, err = fixedInventory(others); err != nil {
		return err
	}
	in.Time = sr.now
	if _, err := expand(es, in.Object, 0); err != nil {
		return err
	}
	s := &Set{rules: []*rule{c.rule()}, expansions: es, limits: Limits{Time: suiteTime, Memory: 1 << 30}}
	result, err := s.Decide(ctx, in)
	if err != nil {
		return err
	}
	found := slices.Concat(result.Denials, result.Warnings, result.Dryruns)
	for _, f := range found {
		if f.shapeless {
			return errors.New(f.Msg)
		}
	}
	for _, a := range cs.Assertions {
		if err := a.holds(found); err != nil {
			return err
		}
	}
	return nil
}

// suiteTime bounds one case: a machine under load is no reason to fail a test, nor a revision that brings it.
const suiteTime = time.Minute

func (sr suiteRunner) read(dir, name string) ([]map[string]any, error) {
	file := path.Join(dir, name)
	text, err := readBounded(sr.fsys, file)
	if err != nil {
		return nil, err
	}
	objects, err := decodeObjects(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(objects) == 0 {
		return nil, fmt.Errorf("%s holds no object", file)
	}
	for _, o := range objects {
		if kind, _ := o["kind"].(string); kind == "" {
			return nil, fmt.Errorf("%s: an object has no kind", file)
		}
	}
	return objects, nil
}

// reviewOf makes the input from a bare object, which is reviewed without an operation, or from an AdmissionReview.
func reviewOf(object map[string]any) (Input, error) {
	m := objectMetaOf(object)
	if m.kind == "AdmissionReview" && m.group == admissionv1.GroupName {
		return ReadReview(object)
	}
	request := map[string]any{"kind": map[string]any{"group": m.group, "version": m.version(), "kind": m.kind}}
	if m.name != "" {
		request["name"] = m.name
	}
	if m.namespace != "" {
		request["namespace"] = m.namespace
	}
	return Input{Object: object, Request: request}, nil
}

// ReadReview makes an Input from an AdmissionReview (admission.k8s.io), without provenance and time. Unknown fields are refused.
func ReadReview(review map[string]any) (Input, error) {
	var ar admissionv1.AdmissionReview
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(review, &ar, true); err != nil {
		return Input{}, fmt.Errorf("AdmissionReview: %w", err)
	}
	if ar.Request == nil {
		return Input{}, errors.New("AdmissionReview: there is no request")
	}
	if ar.Request.Object.Raw == nil && ar.Request.OldObject.Raw == nil {
		return Input{}, errors.New("AdmissionReview: there is neither object nor oldObject")
	}
	if ar.Request.Operation == admissionv1.Delete && ar.Request.OldObject.Raw == nil {
		return Input{}, errors.New("AdmissionReview: a DELETE has an oldObject")
	}
	in := Input{}
	for _, x := range []struct {
		raw []byte
		to  *map[string]any
	}{{ar.Request.Object.Raw, &in.Object}, {ar.Request.OldObject.Raw, &in.OldObject}} {
		if x.raw == nil {
			continue
		}
		if err := kjson.Unmarshal(x.raw, x.to); err != nil {
			return Input{}, fmt.Errorf("AdmissionReview: %w", err)
		}
		if kind, _ := (*x.to)["kind"].(string); kind == "" {
			return Input{}, errors.New("AdmissionReview: an object has no kind")
		}
	}
	text, err := json.Marshal(ar.Request)
	if err != nil {
		return Input{}, err
	}
	return in, kjson.Unmarshal(text, &in.Request)
}

func (a assertion) holds(found []Finding) error {
	var re *regexp.Regexp
	if a.Message != nil {
		var err error
		if re, err = regexp.Compile(*a.Message); err != nil {
			return fmt.Errorf("message: %w", err)
		}
	}
	var got []string
	n := int32(0)
	for _, f := range found {
		got = append(got, f.Msg)
		if re == nil || re.MatchString(f.Msg) {
			n++
		}
	}
	want, ok := "", false
	switch {
	case a.Violations.number != nil && *a.Violations.number < 0:
		return errors.New("violations: a number is not negative")
	case a.Violations.number != nil:
		want, ok = fmt.Sprintf("exactly %d", *a.Violations.number), n == *a.Violations.number
	case a.Violations.word == nil || *a.Violations.word == "yes":
		want, ok = "at least one", n > 0
	case *a.Violations.word == "no":
		want, ok = "none", n == 0
	default:
		return fmt.Errorf(`violations: want a number, "yes" or "no", have %q`, *a.Violations.word)
	}
	if ok {
		return nil
	}
	text := fmt.Sprintf("%d violations", n)
	if a.Message != nil {
		text += fmt.Sprintf(" with a message like %q", *a.Message)
	}
	return fmt.Errorf("got %s, want %s; all messages: %q", text, want, got)
}
