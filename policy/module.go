package policy

import (
	"errors"
	"path"
	"regexp"
	"sort"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// module is one parsed Rego file.
type module struct {
	file
	tree *ast.Module
	test bool
	v0   bool // written in the syntax before OPA 1.0
}

// pkg is the package path without the leading data: commitgate.images.
func (m *module) pkg() string { return pkgName(m.tree.Package.Path) }

func pkgName(ref ast.Ref) string {
	parts := make([]string, 0, len(ref)-1)
	for _, t := range ref[1:] {
		if s, ok := t.Value.(ast.String); ok {
			parts = append(parts, string(s))
		} else {
			parts = append(parts, t.String())
		}
	}
	return strings.Join(parts, ".")
}

// parse reads a file in today's Rego, and if that fails in the syntax before OPA 1.0. A text that both accept means the same in both.
func parse(f file) (*module, error) {
	tree, err := parseAs(f.path, f.content, ast.RegoV1)
	if err == nil {
		return &module{file: f, tree: tree, test: isTest(f.path, tree)}, nil
	}
	old, oldErr := parseAs(f.path, f.content, ast.RegoV0)
	if oldErr == nil {
		return &module{file: f, tree: old, test: isTest(f.path, old), v0: true}, nil
	}
	// The reading that got further is the one that was meant, unless it only fails for want of the new words.
	if lastRow(oldErr) > lastRow(err) && !strings.Contains(oldErr.Error(), "future.keywords") {
		return nil, oldErr
	}
	return nil, err
}

// isTest tells tests from policies: by the file's name, or because it has tests and nothing that is asked.
func isTest(name string, m *ast.Module) bool {
	if strings.HasSuffix(name, "_test.rego") {
		return true
	}
	tests := false
	for _, r := range m.Rules {
		switch n := ruleName(r); {
		case entryName.MatchString(n):
			return false
		case strings.HasPrefix(n, "test_"):
			tests = true
		}
	}
	return tests
}

func parseAs(name string, text []byte, v ast.RegoVersion) (*ast.Module, error) {
	tree, err := ast.ParseModuleWithOpts(name, string(text), ast.ParserOptions{
		RegoVersion:       v,
		Capabilities:      capabilities(v),
		ProcessAnnotation: true,
	})
	if err != nil {
		return nil, err
	}
	if tree == nil {
		return nil, errors.New("holds no Rego")
	}
	return tree, nil
}

func lastRow(err error) int {
	var es ast.Errors
	row := 0
	if errors.As(err, &es) {
		for _, e := range es {
			if e.Location != nil && e.Location.Row > row {
				row = e.Location.Row
			}
		}
	}
	return row
}

// pack is one Rego package of one source.
type pack struct {
	name    string
	path    ast.Ref
	modules []*module // without tests
	tests   []*module

	entries    []*ast.Rule // what is asked: definitions of deny, warn …
	exceptions []*ast.Rule // conftest's
	convention Convention  // "" for a library
}

var (
	entryName   = regexp.MustCompile(`^(deny|violation|warn)(_[a-zA-Z0-9]+)*$`)
	ownPrefix   = "commitgate"
	reservedLib = "inventory"
)

// packs groups modules by package, sorted by name.
func packs(modules []*module) []*pack {
	byName := map[string]*pack{}
	for _, m := range modules {
		name := m.pkg()
		p := byName[name]
		if p == nil {
			p = &pack{name: name, path: m.tree.Package.Path}
			byName[name] = p
		}
		if m.test {
			p.tests = append(p.tests, m)
			continue
		}
		p.modules = append(p.modules, m)
		for _, r := range m.tree.Rules {
			switch name := ruleName(r); {
			case entryName.MatchString(name):
				p.entries = append(p.entries, r)
			case name == "exception":
				p.exceptions = append(p.exceptions, r)
			}
		}
	}
	out := make([]*pack, 0, len(byName))
	for _, p := range byName {
		out = append(out, p)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out
}

// ruleName is the first part of a rule's name: deny for deny, deny.x and deny[x].
func ruleName(r *ast.Rule) string {
	if v, ok := r.Head.Ref()[0].Value.(ast.Var); ok {
		return string(v)
	}
	return ""
}

func (p *pack) own() bool { return p.name == ownPrefix || strings.HasPrefix(p.name, ownPrefix+".") }

// first is where the package begins, for errors about it as a whole.
func (p *pack) first() *ast.Location { return p.modules[0].tree.Package.Location }

// reference is one use of a document, with imports resolved.
type reference struct {
	ref ast.Ref
	loc *ast.Location
}

// refs are the references of a module that begin with root (data or input), imports among them.
func refs(m *ast.Module, root string) []reference {
	var out []reference
	alias := map[ast.Var]ast.Ref{}
	keep := func(r ast.Ref, loc *ast.Location) {
		if v, ok := r[0].Value.(ast.Var); ok && string(v) == root {
			out = append(out, reference{r, loc})
		}
	}
	for _, i := range m.Imports {
		if r, ok := i.Path.Value.(ast.Ref); ok {
			alias[i.Name()] = r
			keep(r, i.Location)
		}
	}
	visit := func(t *ast.Term) bool {
		switch x := t.Value.(type) {
		case ast.Ref:
			if v, ok := x[0].Value.(ast.Var); ok {
				if full, ok := alias[v]; ok {
					x = append(append(ast.Ref{}, full...), x[1:]...)
				}
			}
			keep(x, t.Location)
		case ast.Var:
			if full, ok := alias[x]; ok {
				keep(full, t.Location)
			}
		}
		return false
	}
	for _, r := range m.Rules {
		ast.WalkTerms(r, visit)
	}
	return out
}

// inputFields are the names that the modules read directly below input. The whole of input, or a computed name, is "*".
func inputFields(modules []*module) map[string]*ast.Location {
	out := map[string]*ast.Location{}
	for _, m := range modules {
		for _, r := range refs(m.tree, "input") {
			name := "*"
			if len(r.ref) > 1 {
				if s, ok := r.ref[1].Value.(ast.String); ok {
					name = string(s)
				}
			}
			if out[name] == nil {
				out[name] = r.loc
			}
		}
	}
	return out
}

// universe is every package of a source, for finding what a package needs.
type universe struct {
	packs  []*pack
	byName map[string]*pack
	static map[string]any // documents under data
}

func newUniverse(ps []*pack, static map[string]any) *universe {
	u := &universe{packs: ps, byName: map[string]*pack{}, static: static}
	for _, p := range ps {
		u.byName[p.name] = p
	}
	return u
}

// closure is p's modules and those of every package that they refer to, directly or not. Tests are in it only if they are asked for.
func (u *universe) closure(p *pack, tests bool) []*module {
	var out []*module
	seen := map[*pack]bool{}
	var add func(*pack, bool)
	add = func(p *pack, tests bool) {
		if seen[p] {
			return
		}
		seen[p] = true
		ms := p.modules
		if tests {
			ms = append(append([]*module{}, ms...), p.tests...)
		}
		out = append(out, ms...)
		for _, m := range ms {
			for _, r := range refs(m.tree, "data") {
				for _, q := range u.packs {
					if related(r.ref, q.path) {
						add(q, false)
					}
				}
			}
		}
	}
	add(p, tests)
	return out
}

// related tells whether one reference is a prefix of the other, as far as both are known.
func related(a, b ast.Ref) bool {
	for i := 1; i < len(a) && i < len(b); i++ {
		if _, ok := a[i].Value.(ast.String); !ok {
			return true // a computed name may be any
		}
		if !a[i].Equal(b[i]) {
			return false
		}
	}
	return true
}

// used tells whether a package other than p itself refers to it, tests aside.
func (u *universe) used(p *pack) bool {
	for _, q := range u.packs {
		if q == p {
			continue
		}
		for _, m := range q.modules {
			for _, r := range refs(m.tree, "data") {
				if len(r.ref) > 1 && related(r.ref, p.path) {
					return true
				}
			}
		}
	}
	return false
}

// sameDir keeps of each package those modules that stand in dir if there are any, else all.
func sameDir(ms []*module, dir string) []*module {
	here := map[string]bool{}
	for _, m := range ms {
		if path.Dir(m.path) == dir {
			here[m.pkg()] = true
		}
	}
	var out []*module
	for _, m := range ms {
		if path.Dir(m.path) == dir || !here[m.pkg()] {
			out = append(out, m)
		}
	}
	return out
}
