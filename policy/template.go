package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"go.yaml.in/yaml/v3"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
)

// The names of Gatekeeper's API, as its documentation and CRDs have them.
const (
	templateGroup   = "templates.gatekeeper.sh"
	constraintGroup = "constraints.gatekeeper.sh"
	suiteGroup      = "test.gatekeeper.sh"
	syncSetGroup    = "syncset.gatekeeper.sh"
	configGroup     = "config.gatekeeper.sh"

	gatekeeperTarget = "admission.k8s.gatekeeper.sh"
	webhookPoint     = "validation.gatekeeper.sh" // the enforcement point of admission
	gatorPoint       = "gator.gatekeeper.sh"      // that of suites

	syncDataAnnotation = "metadata.gatekeeper.sh/requires-sync-data"
	controlsAnnotation = "commitgate.dev/controls"
	// builtinErrorsAnnotation says on a constraint or template what it means that a built-in function fails in a review that finds
	// nothing: deny (the default) or undefined (Gatekeeper's reading).
	builtinErrorsAnnotation = "commitgate.dev/builtin-errors"
)

// template is a compiled ConstraintTemplate.
type template struct {
	kind       string
	file       string
	line       int
	pkg        string // of the entry module
	ruleLine   int    // of the first violation
	query      rego.PreparedEvalQuery
	store      *store
	native     *native // instead of query: the template is in CEL
	structural *schema.Structural
	validator  validation.SchemaValidator
	operations []string // empty is all
	inventory  bool     // reads data.inventory
	namespace  bool     // reads the Namespace of the object
	tolerant   bool     // see builtinErrorsAnnotation
	needs      []Kind
	controls   []string
	// traps are what Gatekeeper runs and what would silently allow. A set is not made from such a template; a suite sees what Gatekeeper
	// would answer.
	traps Errors
}

// templateSource is the Rego of a template, wherever it stands in the document.
type templateSource struct {
	entry   *yaml.Node
	libs    []*yaml.Node
	version ast.RegoVersion
	native  *yaml.Node // code in CEL, which goes before entry
}

// regoVersion is v0 unless the source says otherwise.
func (s templateSource) regoVersion() ast.RegoVersion {
	if s.version == ast.RegoUndefined {
		return ast.RegoV0
	}
	return s.version
}

// newTemplate checks and compiles the ConstraintTemplate of a document.
func newTemplate(ctx context.Context, d document) (*template, error) {
	t := &template{kind: d.str("spec", "crd", "spec", "names", "kind"), file: d.file, line: d.line}
	if err := t.checkShape(d); err != nil {
		return nil, Errors{{d.file, d.line, err.Error()}}
	}
	src, err := templateCode(d)
	if err != nil {
		return nil, Errors{{d.file, d.line, err.Error()}}
	}
	if err := t.readSchema(d); err != nil {
		line := d.line
		if n := d.at("spec", "crd", "spec", "validation"); n != nil {
			line = n.Line
		}
		return nil, Errors{{d.file, line, "schema of parameters: " + err.Error()}}
	}
	if src.native != nil {
		err = t.compileNative(d, src)
	} else {
		err = t.compile(ctx, d, src)
	}
	if err != nil {
		return nil, err
	}
	t.tolerant = d.str("metadata", "annotations", builtinErrorsAnnotation) == "undefined"
	t.controls = append(t.controls, splitList(d.str("metadata", "annotations", controlsAnnotation))...)
	return t, nil
}

func (t *template) checkShape(d document) error {
	switch v := strings.TrimPrefix(d.str("apiVersion"), templateGroup+"/"); v {
	case "v1", "v1beta1", "v1alpha1":
	default:
		return fmt.Errorf("version %q of ConstraintTemplate is not known", v)
	}
	name := d.str("metadata", "name")
	if t.kind == "" {
		return errors.New("spec.crd.spec.names.kind is missing")
	}
	if !strings.EqualFold(name, t.kind) {
		return fmt.Errorf("the template is named %q; it must be named %q, its kind in lower case", name, strings.ToLower(t.kind))
	}
	targets, _ := dig(d.object, "spec", "targets").([]any)
	if len(targets) != 1 {
		return fmt.Errorf("a template has exactly one target; this one has %d", len(targets))
	}
	if target, _ := dig(targets[0], "target").(string); target != gatekeeperTarget {
		return fmt.Errorf("target %q is not known; it must be %s", target, gatekeeperTarget)
	}
	ops, _ := dig(targets[0], "operations").([]any)
	for _, o := range ops {
		s, _ := o.(string)
		if s == "*" {
			t.operations = nil
			break
		}
		t.operations = append(t.operations, s)
	}
	return nil
}

// templateCode finds the code of a template, in Rego, CEL or both.
func templateCode(d document) (templateSource, error) {
	var src templateSource
	target := []any{"spec", "targets", 0}
	if n := d.at(append(target, "rego")...); n != nil && n.Value != "" {
		src.entry, src.libs = n, sequence(d.at(append(target, "libs")...))
	}
	var others []string
	for i, c := range sequence(d.at(append(target, "code")...)) {
		source := append(append([]any{}, target...), "code", i, "source")
		engine := ""
		if n := mapValue(c, "engine"); n != nil {
			engine = n.Value
		}
		switch {
		case engine == nativeEngine && src.native == nil:
			if src.native = d.at(source...); src.native == nil {
				return src, fmt.Errorf("the code for %s has no source", nativeEngine)
			}
		case engine == "Rego" && src.entry == nil:
			if src.entry = d.at(append(source, "rego")...); src.entry == nil {
				return src, errors.New("the Rego source has no field rego")
			}
			src.libs = sequence(d.at(append(source, "libs")...))
			if v := d.at(append(source, "version")...); v != nil && v.Value == "v1" {
				src.version = ast.RegoV1
			}
		default:
			others = append(others, engine)
		}
	}
	switch {
	case src.entry != nil || src.native != nil:
		return src, nil
	case len(others) > 0:
		return src, fmt.Errorf("the template has code for %s only; commitgate evaluates Rego and %s", strings.Join(others, ", "), nativeEngine)
	}
	return src, errors.New("the template has no code")
}

// compileNative compiles the CEL. The Rego beside it is for engines without CEL; of it, only the name of its package is read, by which
// the file that it was made from is known.
func (t *template) compileNative(d document, src templateSource) error {
	var source any
	if err := src.native.Decode(&source); err != nil {
		return Errors{{d.file, src.native.Line, err.Error()}}
	}
	var err error
	if t.native, err = newNative(d.str("metadata", "name"), source); err != nil {
		return Errors{{d.file, src.native.Line, err.Error()}}
	}
	t.ruleLine = src.native.Line
	t.namespace = speaksOfNamespace(src.native)
	if t.native.problem != nil {
		t.traps = append(t.traps, Error{d.file, t.ruleLine, t.native.problem.Error()})
	}
	if src.entry != nil {
		if m, err := parseAs(d.file, padded(src.entry), src.regoVersion()); err == nil {
			t.pkg = pkgName(m.Package.Path)
		}
	}
	return nil
}

func sequence(n *yaml.Node) []*yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

// padded is the text of a scalar behind as many empty lines as stand before it in the file, so that OPA counts lines as an editor does.
func padded(n *yaml.Node) []byte {
	before := n.Line - 1
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		before = n.Line
	}
	return []byte(strings.Repeat("\n", before) + n.Value)
}

func (t *template) compile(ctx context.Context, d document, src templateSource) error {
	var p problems
	version := src.regoVersion()
	t.namespace = speaksOfNamespace(append([]*yaml.Node{src.entry}, src.libs...)...)
	entry, err := parseAs(d.file, padded(src.entry), version)
	if err != nil {
		p.addErr(d.file, src.entry.Line, err)
		return p.err()
	}
	t.pkg = pkgName(entry.Package.Path)
	modules := map[string]*ast.Module{d.file: entry}
	libs := map[string]bool{}
	for i, n := range src.libs {
		lib, err := parseAs(d.file, padded(n), version)
		if err != nil {
			p.addErr(d.file, n.Line, err)
			continue
		}
		name := pkgName(lib.Package.Path)
		if !strings.HasPrefix(name, "lib.") {
			p.at(lib.Package.Location, "package %s: a template's libraries are in packages below lib", name)
		}
		libs[name] = true
		modules[fmt.Sprintf("%s#%d", d.file, i)] = lib
	}
	t.checkEntry(entry, &p)
	for _, m := range modules {
		t.checkData(m, libs, &p)
	}
	if p.err() != nil {
		return p.err()
	}
	c, err := compile(modules, compiling{version: version})
	if missing := missingBuiltins(err); len(missing) > 0 {
		var traps problems
		traps.addErr(d.file, src.entry.Line, missing)
		t.traps = append(t.traps, traps.list...)
		c, err = compile(modules, compiling{version: version, suite: true})
	}
	if err != nil {
		p.addErr(d.file, src.entry.Line, err)
		return p.err()
	}
	if t.store, err = newStore(nil); err != nil {
		return err
	}
	// Errors of functions are undefined, as in Gatekeeper: templates are written for that ("not to_number(x)"). See constraint.swallowed.
	t.query, err = prepare(ctx, c, version, t.store, false, []string{entry.Package.Path.String() + ".violation"})
	if err != nil {
		p.addErr(d.file, src.entry.Line, err)
		return p.err()
	}
	t.findInventory(d, modules)
	return nil
}

// namespaceField is what the object's Namespace is called, in all conventions that have it.
const namespaceField = "namespaceObject"

// namespaceKind is what must be in the inventory for it.
var namespaceKind = Kind{Version: "v1", Kind: "Namespace"}

// speaksOfNamespace tells whether code reads the Namespace. Too often does no harm.
func speaksOfNamespace(code ...*yaml.Node) bool {
	for _, n := range code {
		if strings.Contains(n.Value, namespaceField) || speaksOfNamespace(n.Content...) {
			return true
		}
	}
	return false
}

// checkEntry refuses what Gatekeeper would run and never hear an answer from.
func (t *template) checkEntry(entry *ast.Module, p *problems) {
	if t.pkg == reservedLib || strings.HasPrefix(t.pkg, reservedLib+".") {
		p.at(entry.Package.Location, "package %s: the name is reserved", t.pkg)
	}
	found := false
	as, _ := ast.BuildAnnotationSet([]*ast.Module{entry})
	for _, r := range entry.Rules {
		if ruleName(r) != "violation" {
			continue
		}
		if !found {
			found, t.ruleLine = true, r.Location.Row
		}
		checkSet(r, p)
		_, controls := annotationsOf(as, r)
		t.controls = append(t.controls, controls...)
	}
	if !found {
		p.at(entry.Package.Location, "package %s has no rule violation", t.pkg)
	}
}

// checkData refuses references to documents that will never be there.
func (t *template) checkData(m *ast.Module, libs map[string]bool, p *problems) {
	own := pkgName(m.Package.Path)
	var traps problems
	defer func() { t.traps = append(t.traps, traps.list...) }()
	for _, r := range refs(m, "data") {
		ref := r.ref
		if len(ref) < 2 {
			p.at(r.loc, "all of data is read; a template may read data.lib and data.inventory")
			continue
		}
		if s, ok := ref[1].Value.(ast.String); ok && string(s) == reservedLib {
			t.inventory = true
			continue
		}
		if refersTo(ref, libs) || refersTo(ref, map[string]bool{own: true}) {
			continue
		}
		to := p
		if isString(ref[1], "lib") {
			to = &traps
		}
		to.at(r.loc, "%s is not there: it is in no library of the template, and is not data.inventory", ref)
	}
}

// refersTo tells whether a reference leads into, or is a prefix of, one of the packages.
func refersTo(ref ast.Ref, names map[string]bool) bool {
	for name := range names {
		path := ast.Ref{ast.DefaultRootDocument}
		for _, part := range strings.Split(name, ".") {
			path = append(path, ast.StringTerm(part))
		}
		if related(ref, path) {
			return true
		}
	}
	return false
}

// findInventory tells which kinds of objects the template compares with: what it declares, and what its references name.
func (t *template) findInventory(d document, modules map[string]*ast.Module) {
	if !t.inventory {
		return
	}
	declared, err := syncData(d.str("metadata", "annotations", syncDataAnnotation))
	if err != nil {
		t.traps = append(t.traps, Error{d.file, d.line, syncDataAnnotation + ": " + err.Error()})
	}
	t.needs = declared
	if len(t.needs) == 0 {
		for _, m := range modules {
			t.needs = append(t.needs, inventoryKinds(m)...)
		}
	}
}

// syncData reads the annotation: a list of alternatives, each a list of groups, versions and kinds. The first alternative of each is taken.
func syncData(annotation string) ([]Kind, error) {
	text := strings.Trim(annotation, "\n\" ")
	if text == "" {
		return nil, nil
	}
	var requirements [][]struct {
		Groups, Versions, Kinds []string
	}
	if err := json.Unmarshal([]byte(text), &requirements); err != nil {
		return nil, err
	}
	var out []Kind
	for _, alternatives := range requirements {
		if len(alternatives) == 0 {
			continue
		}
		a := alternatives[0]
		for _, k := range a.Kinds {
			for _, g := range a.Groups {
				for _, v := range a.Versions {
					out = append(out, Kind{g, v, k})
				}
			}
		}
	}
	return out, nil
}

// inventoryKinds are the kinds that references into data.inventory name literally.
func inventoryKinds(m *ast.Module) []Kind {
	var out []Kind
	for _, r := range refs(m, "data") {
		ref := r.ref
		if len(ref) < 3 || !isString(ref[1], reservedLib) {
			continue
		}
		at := 3 // data.inventory.cluster[apiVersion][kind]
		if isString(ref[2], "namespace") {
			at = 4
		}
		if len(ref) <= at+1 {
			continue
		}
		kind, ok := ref[at+1].Value.(ast.String)
		if !ok {
			continue
		}
		k := Kind{Kind: string(kind)}
		if v, ok := ref[at].Value.(ast.String); ok {
			k.Group, k.Version, ok = strings.Cut(string(v), "/")
			if !ok {
				k.Group, k.Version = "", string(v)
			}
		}
		out = append(out, k)
	}
	return out
}

func isString(t *ast.Term, s string) bool {
	v, ok := t.Value.(ast.String)
	return ok && string(v) == s
}

func splitList(s string) []string {
	var out []string
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' }) {
		if part != "" {
			out = append(out, part)
		}
	}
	return out
}
