package policy

import (
	"fmt"
	"sort"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// checkSet refuses a definition whose answer would not be a set of messages: it would be true or an object, and nobody would be denied.
func checkSet(r *ast.Rule, p *problems) {
	name := ruleName(r)
	switch {
	case r.Default:
		p.at(r.Location, "default %s: a set of messages has no default; remove it", name)
	case len(r.Head.Args) > 0:
		p.at(r.Location, "%s is a function, and would never be asked; write: %s contains msg if { … }", name, name)
	case len(r.Head.Ref()) != 1 || r.Head.RuleKind() != ast.MultiValue:
		p.at(r.Location, "%s is no set of messages, and would deny nothing; write: %s contains msg if { … }", name, name)
	}
}

// check decides how a package is asked, and refuses what would silently allow. sources are the packages that templates were made from:
// their text stands in the template, and that is what is asked.
func (u *universe) check(p *pack, sources map[string]bool, out *problems) {
	if len(p.modules) == 0 {
		return
	}
	if p.name == reservedLib || strings.HasPrefix(p.name, reservedLib+".") {
		out.at(p.first(), "package %s: data.inventory is the cluster's state", p.name)
		return
	}
	if len(p.entries) == 0 {
		u.checkLibrary(p, out)
		return
	}
	closure := u.closure(p, false)
	fields := inputFields(closure)
	if p.own() {
		p.convention = Own
		checkOwnNames(p, out)
	} else if !u.detect(p, fields, sources, out) {
		return
	}
	for _, r := range p.entries {
		checkSet(r, out)
	}
	if p.convention != Own {
		for _, r := range p.exceptions {
			checkSet(r, out)
		}
	}
	u.checkData(closure, out)
}

// detect tells conftest's packages from OPA's admission packages and from the source of Gatekeeper templates, by what they read.
func (u *universe) detect(p *pack, fields map[string]*ast.Location, sources map[string]bool, out *problems) bool {
	_, review := fields["review"]
	request := fields["request"]
	switch {
	case review && sources[p.name]:
		return false // the template is asked instead
	case review:
		out.at(fields["review"], "package %s reads input.review, so it is a Gatekeeper rule, but no ConstraintTemplate here holds it: it would never be asked", p.name)
		return false
	case request != nil:
		for _, f := range []string{"spec", "metadata", "kind"} {
			if loc := fields[f]; loc != nil && f != "kind" {
				out.at(loc, "package %s reads both input.request (an AdmissionReview) and input.%s (an object): one of them will never be there", p.name, f)
				return false
			}
		}
		p.convention = Admission
	default:
		p.convention = Conftest
	}
	return true
}

func checkOwnNames(p *pack, out *problems) {
	for _, m := range p.modules {
		for _, r := range m.tree.Rules {
			name := ruleName(r)
			if name == "violation" || strings.HasPrefix(name, "violation_") || name == "allow" || name == "exception" {
				out.at(r.Location, "%s is not asked in package %s: rules are called deny or warn", name, p.name)
			}
		}
	}
}

// checkLibrary refuses a package that neither denies nor warns nor helps another: most likely a misspelt rule.
func (u *universe) checkLibrary(p *pack, out *problems) {
	if u.used(p) {
		return
	}
	names := map[string]bool{}
	for _, m := range p.modules {
		for _, r := range m.tree.Rules {
			names[ruleName(r)] = true
		}
	}
	have := make([]string, 0, len(names))
	for n := range names {
		have = append(have, n)
	}
	sort.Strings(have)
	out.at(p.first(), "package %s has no rule deny or warn (it has %s), and no other package uses it: it enforces nothing",
		p.name, strings.Join(have, ", "))
}

// checkData refuses references to documents that are in no package and no data file: they are never defined, and so a rule that needs
// them never denies.
func (u *universe) checkData(modules []*module, out *problems) {
	for _, m := range modules {
		for _, r := range refs(m.tree, "data") {
			if !u.there(r.ref) {
				out.at(r.loc, "%s is not there: it is in no package and no data file, and is not data.inventory", r.ref)
			}
		}
	}
}

func (u *universe) there(ref ast.Ref) bool {
	if len(ref) < 2 {
		return true
	}
	first, ok := ref[1].Value.(ast.String)
	if !ok || string(first) == reservedLib {
		return true
	}
	if u.documented(ref) {
		return true
	}
	for _, p := range u.packs {
		if len(p.modules) > 0 && related(ref, p.path) && p.defines(ref) {
			return true
		}
	}
	return false
}

// documented tells whether a reference leads into the data files, as far as its names are known.
func (u *universe) documented(ref ast.Ref) bool {
	var at any = u.static
	for _, t := range ref[1:] {
		name, ok := t.Value.(ast.String)
		if !ok {
			return true // a computed name may be any
		}
		m, ok := at.(map[string]any)
		if !ok {
			return true // a list or a value: what is below it is for the rule to know
		}
		if at, ok = m[string(name)]; !ok {
			return false
		}
	}
	return true
}

// defines tells whether a reference that leads into the package names one of its rules, or only the package.
func (p *pack) defines(ref ast.Ref) bool {
	if len(ref) <= len(p.path) {
		return true
	}
	name, ok := ref[len(p.path)].Value.(ast.String)
	if !ok {
		return true
	}
	for _, m := range p.modules {
		for _, r := range m.tree.Rules {
			if ruleName(r) == string(name) {
				return true
			}
		}
	}
	return false
}

// annotationsOf reads a rule's metadata, from the package down: custom.id, and controls from labels or custom.
func annotationsOf(as *ast.AnnotationSet, r *ast.Rule) (id string, controls []string) {
	if as == nil {
		return "", nil
	}
	for _, a := range as.Chain(r) { // from the rule outwards
		if a.Annotations == nil {
			continue
		}
		if s, ok := a.Annotations.Custom["id"].(string); ok && id == "" {
			id = s
		}
		controls = append(controls, controlsOf(a.Annotations)...)
	}
	return id, sortedUnique(controls)
}

func labelList(v any) []string {
	switch x := v.(type) {
	case string:
		return splitList(x)
	case []any:
		var out []string
		for _, e := range x {
			out = append(out, fmt.Sprint(e))
		}
		return out
	}
	return nil
}
