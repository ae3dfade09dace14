package policy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sort"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
)

// Source is a folder of a verified commit.
type Source struct {
	Verified signing.Verified
	Path     git.Path // "." or "" is the whole tree
}

// Load compiles the policies of the sources and runs their tests. Without sources it returns nil: no policies are configured. What is
// wrong with the policies is returned as Errors.
//
// Packages of different sources do not see each other.
func Load(ctx context.Context, sources ...Source) (*Set, error) {
	return LoadLimited(ctx, Limits{}, sources...)
}

// LoadLimited is Load with bounds of one's own for each decision.
func LoadLimited(ctx context.Context, limits Limits, sources ...Source) (*Set, error) {
	if len(sources) == 0 {
		return nil, nil
	}
	in := make([]folder, len(sources))
	for i, s := range sources {
		if s.Verified.IsZero() {
			return nil, errors.New("policies load from verified commits only")
		}
		p := s.Path
		if p == "" {
			p = "."
		}
		in[i] = folder{
			fsys: s.Verified.Tree(), root: string(p), repository: s.Verified.Repository(), commit: s.Verified.Commit().ID,
		}
	}
	return load(ctx, limits, true, in...)
}

// LoadUnverified is Load for the tools on a developer's machine: from a folder that nobody signed. What it returns must never
// judge for a cluster. Tests are run only if they are asked for.
func LoadUnverified(ctx context.Context, fsys fs.FS, root string, tests bool) (*Set, error) {
	return load(ctx, Limits{}, tests, folder{fsys: fsys, root: root})
}

// folder is a source without its proof.
type folder struct {
	fsys       fs.FS
	root       string
	repository string
	commit     git.ID
}

// source is a folder, read and parsed.
type source struct {
	folder
	files       files
	modules     []*module
	universe    *universe
	templates   map[string]*template // by kind
	refused     map[string]bool      // kinds whose template is wrong: its constraints are not told, too
	constraints []*constraint
	expansions  []*expansion
	suites      []document
	listed      []Kind // what SyncSet and Config objects list
	judging     []file // of files.object those that hold more than suites
}

func load(ctx context.Context, limits Limits, tests bool, folders ...folder) (*Set, error) {
	s := &Set{limits: limits}
	if s.limits.Time == 0 {
		s.limits.Time = DefaultTime
	}
	if s.limits.Memory == 0 {
		s.limits.Memory = DefaultMemory
	}
	var p problems
	var listing bytes.Buffer
	s.documents = [][]byte{nil} // the place of the listing
	for _, f := range folders {
		src, err := read(ctx, f, &p)
		if err != nil {
			return nil, err
		}
		if p.err() == nil {
			src.compile(ctx, s, &p)
		}
		if p.err() == nil && tests {
			src.test(ctx, time.Now(), &p)
		}
		s.documents = append(s.documents, src.list(&listing)...)
		s.revisions = append(s.revisions, Revision{f.repository, f.commit, git.Path(f.root)})
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	if len(s.rules) == 0 {
		var names []string
		for _, f := range folders {
			names = append(names, f.root)
		}
		return nil, Errors{{File: strings.Join(names, ", "), Msg: "holds no rule that could deny or warn; without policies, configure none"}}
	}
	s.inventory = uniqueKinds(s.inventory)
	s.documents[0] = listing.Bytes()
	digest := sha256.Sum256(listing.Bytes())
	s.digest = "sha256:" + hex.EncodeToString(digest[:])
	return s, nil
}

// read parses everything in the folder.
func read(ctx context.Context, f folder, p *problems) (*source, error) {
	src := &source{folder: f, templates: map[string]*template{}, refused: map[string]bool{}}
	var err error
	if src.files, err = readFiles(ctx, f.fsys, f.root, p); err != nil {
		return nil, fmt.Errorf("read policies in %s: %w", f.root, err)
	}
	if err := src.parse(p); err != nil {
		return nil, err
	}
	src.objects(ctx, p)
	return src, nil
}

// parse reads Rego and data files.
func (src *source) parse(p *problems) error {
	static, err := src.data(p)
	if err != nil {
		return err
	}
	for _, f := range src.files.rego {
		m, err := parse(f)
		if err != nil {
			p.addErr(f.path, 1, err)
			continue
		}
		src.modules = append(src.modules, m)
	}
	src.universe = newUniverse(packs(src.modules), static)
	return nil
}

// data merges the data files: the document of a/b/data.yaml stands at data.a.b, as in an OPA bundle.
func (src *source) data(p *problems) (map[string]any, error) {
	root := map[string]any{}
	for _, f := range src.files.data {
		doc := map[string]any{}
		if err := decodeYAML(f.content, &doc); err != nil {
			p.addErr(f.path, 1, err)
			continue
		}
		m := root
		if f.dir != "." {
			for _, part := range strings.Split(f.dir, "/") {
				next, _ := m[part].(map[string]any)
				if next == nil {
					next = map[string]any{}
					m[part] = next
				}
				m = next
			}
		}
		for k, v := range doc {
			if _, there := m[k]; there {
				p.add(f.path, 1, "%q is also defined in another data file", k)
			}
			m[k] = v
		}
	}
	if _, there := root[reservedLib]; there {
		p.add(src.root, 0, "a data file defines data.inventory, which is the cluster's state")
	}
	return root, nil
}

// objects reads Gatekeeper's objects. Anything else in YAML is none of ours.
func (src *source) objects(ctx context.Context, p *problems) {
	var constraints []document
	for _, f := range src.files.object {
		docs := src.split(f, p)
		before := len(src.suites)
		for _, d := range docs {
			switch group, kind := d.group(), d.str("kind"); {
			case group == templateGroup && kind == "ConstraintTemplate":
				src.template(ctx, d, p)
			case group == constraintGroup:
				constraints = append(constraints, d)
			case group == suiteGroup && kind == "Suite":
				src.suites = append(src.suites, d)
			case group == expansionGroup && kind == "ExpansionTemplate":
				e, err := readExpansion(d)
				if err != nil {
					p.add(d.file, d.line, "ExpansionTemplate: %v", err)
					continue
				}
				src.expansions = append(src.expansions, e)
			case group == syncSetGroup && kind == "SyncSet":
				src.listed = append(src.listed, listedKinds(dig(d.object, "spec", "gvks"))...)
			case group == configGroup && kind == "Config":
				src.listed = append(src.listed, listedKinds(dig(d.object, "spec", "sync", "syncOnly"))...)
			}
		}
		if len(src.suites)-before < len(docs) {
			src.judging = append(src.judging, f)
		}
	}
	src.constrain(constraints, p)
}

func (src *source) split(f file, p *problems) []document {
	docs, err := documents(f)
	if err != nil {
		p.addErr(f.path, 1, err)
	}
	return docs
}

// findSuites is objects for tests alone: a library's samples need not make a set.
func (src *source) findSuites(p *problems) {
	for _, f := range src.files.object {
		if !bytes.Contains(f.content, []byte(suiteGroup+"/")) {
			continue
		}
		for _, d := range src.split(f, p) {
			if d.group() == suiteGroup && d.str("kind") == "Suite" {
				src.suites = append(src.suites, d)
			}
		}
	}
}

func (src *source) template(ctx context.Context, d document, p *problems) {
	t, err := newTemplate(ctx, d)
	src.refused[d.str("spec", "crd", "spec", "names", "kind")] = err != nil || len(t.traps) > 0
	if err != nil {
		var es Errors
		if errors.As(err, &es) {
			p.list = append(p.list, es...)
		} else {
			p.add(d.file, d.line, "%v", err)
		}
		return
	}
	if len(t.traps) > 0 {
		p.list = append(p.list, t.traps...)
		return
	}
	if other := src.templates[t.kind]; other != nil {
		p.add(d.file, d.line, "ConstraintTemplate %s is also in %s:%d", strings.ToLower(t.kind), other.file, other.line)
		return
	}
	src.templates[t.kind] = t
}

func (src *source) constrain(docs []document, p *problems) {
	seen := map[string]document{}
	for _, d := range docs {
		id := d.str("kind") + "/" + d.str("metadata", "name")
		if other, there := seen[id]; there {
			p.add(d.file, d.line, "constraint %s is also in %s:%d; which of them holds cannot be told", id, other.file, other.line)
			continue
		}
		seen[id] = d
		t := src.templates[d.str("kind")]
		if t == nil && src.refused[d.str("kind")] {
			continue
		}
		if t == nil {
			p.add(d.file, d.line, "constraint %s: there is no ConstraintTemplate of this kind here", id)
			continue
		}
		c, err := newConstraint(d, t, webhookPoint)
		if err != nil {
			p.add(d.file, d.line, "constraint %s: %v", id, err)
			continue
		}
		src.constraints = append(src.constraints, c)
	}
}

func listedKinds(v any) []Kind {
	items, _ := v.([]any)
	var out []Kind
	for _, i := range items {
		g, _ := dig(i, "group").(string)
		version, _ := dig(i, "version").(string)
		kind, _ := dig(i, "kind").(string)
		if kind != "" {
			out = append(out, Kind{g, version, kind})
		}
	}
	return out
}

// compile makes the rules: first the packages by name, then the constraints by kind and name.
func (src *source) compile(ctx context.Context, s *Set, p *problems) {
	sources := map[string]bool{}
	for _, t := range src.templates {
		sources[t.pkg] = true
	}
	for _, pk := range src.universe.packs {
		src.universe.check(pk, sources, p)
	}
	if p.err() != nil {
		return
	}
	st, err := newStore(src.universe.static)
	if err != nil {
		p.add(src.root, 0, "data: %v", err)
		return
	}
	for _, pk := range src.universe.packs {
		if pk.convention == "" {
			continue
		}
		r, err := src.rule(ctx, pk, st)
		if err != nil {
			p.addErr(pk.first().File, pk.first().Row, err)
			continue
		}
		s.rules = append(s.rules, r)
		s.inventory = append(s.inventory, r.reads()...)
	}
	src.compileConstraints(s, p)
}

func (src *source) compileConstraints(s *Set, p *problems) {
	s.expansions = append(s.expansions, src.expansions...)
	used := map[string]bool{}
	cs := append([]*constraint{}, src.constraints...)
	sort.Slice(cs, func(i, j int) bool {
		if cs[i].kind != cs[j].kind {
			return cs[i].kind < cs[j].kind
		}
		return cs[i].name < cs[j].name
	})
	for _, c := range cs {
		used[c.kind] = true
		if t := c.template; t.inventory && len(t.needs) == 0 {
			if t.needs = src.listed; len(t.needs) == 0 {
				p.add(t.file, t.ruleLine, "the template reads data.inventory, but says nowhere of which kinds: add the annotation %s or a SyncSet", syncDataAnnotation)
				continue
			}
		}
		r := c.rule()
		s.rules = append(s.rules, r)
		s.inventory = append(s.inventory, r.reads()...)
	}
	for kind, t := range src.templates {
		if !used[kind] {
			s.unused = append(s.unused, fmt.Sprintf("%s (%s)", kind, t.file))
		}
	}
	sort.Strings(s.unused)
}

// rule compiles one package with what it needs. Each definition of deny, warn and so on is asked by itself, under a name of its own, so
// that a finding knows its line and its metadata.
func (src *source) rule(ctx context.Context, pk *pack, st *store) (*rule, error) {
	closure := src.universe.closure(pk, false)
	modules := trees(closure)
	version := ast.RegoV0
	strict := pk.convention == Own
	for _, m := range closure {
		if !m.v0 {
			version = ast.RegoV1
		}
		strict = strict && !m.v0
	}
	r := &rule{
		policy: pk.name, convention: pk.convention, store: st,
		file: pk.entries[0].Location.File, line: pk.entries[0].Location.Row,
	}
	var expressions []string
	for _, m := range pk.modules {
		copied := m.tree.Copy()
		as, errs := ast.BuildAnnotationSet([]*ast.Module{m.tree})
		if len(errs) > 0 {
			return nil, errs
		}
		for i, def := range m.tree.Rules {
			if !entryName.MatchString(ruleName(def)) {
				continue
			}
			name := fmt.Sprintf("commitgate__answer__%d", len(expressions))
			asked := copied.Rules[i].Copy()
			asked.Module = copied
			asked.Head.Name = ast.Var(name)
			asked.Head.Reference = ast.Ref{ast.VarTerm(name)}
			asked.Annotations = nil
			copied.Rules = append(copied.Rules, asked)
			expressions = append(expressions, pk.path.String()+"."+name)
			id, controls := annotationsOf(as, def)
			r.answers = append(r.answers, answer{
				name: ruleName(def), action: actionOf(ruleName(def)), id: id, controls: controls,
				file: def.Location.File, line: def.Location.Row,
			})
		}
		modules[m.path] = copied
	}
	if r.exceptions = pk.convention != Own && len(pk.exceptions) > 0; r.exceptions {
		expressions = append(expressions, pk.path.String()+".exception")
	}
	c, err := compile(modules, compiling{version: version, strict: strict, own: pk.convention == Own, static: src.universe.static})
	if err != nil {
		return nil, err
	}
	if r.needs, err = src.inventoryOf(closure); err != nil {
		return nil, err
	}
	r.inventory = len(r.needs) > 0
	for _, m := range closure {
		r.namespace = r.namespace || pk.convention == Own && bytes.Contains(m.content, []byte(namespaceField))
	}
	r.query, err = prepare(ctx, c, version, st, true, expressions)
	return r, err
}

func (src *source) policies() []file {
	var out []file
	for _, m := range src.modules {
		if !m.test {
			out = append(out, m.file)
		}
	}
	return out
}

func actionOf(name string) Action {
	if name == "warn" || strings.HasPrefix(name, "warn_") {
		return Warn
	}
	return Deny
}

// inventoryOf are the kinds that a package reads from data.inventory.
func (src *source) inventoryOf(modules []*module) ([]Kind, error) {
	var kinds []Kind
	var where *ast.Location
	for _, m := range modules {
		for _, r := range refs(m.tree, "data") {
			if len(r.ref) > 1 && isString(r.ref[1], reservedLib) {
				where = r.loc
			}
		}
		kinds = append(kinds, inventoryKinds(m.tree)...)
	}
	if where != nil && len(kinds) == 0 {
		if len(src.listed) == 0 {
			return nil, ast.NewError(ast.CompileErr, where,
				"data.inventory is read, but nothing says of which kinds: name the kind in the reference, or add a SyncSet")
		}
		kinds = src.listed
	}
	return uniqueKinds(kinds), nil
}

func uniqueKinds(in []Kind) []Kind {
	seen := map[Kind]bool{}
	var out []Kind
	for _, k := range in {
		if !seen[k] {
			seen[k] = true
			out = append(out, k)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].String() < out[j].String() })
	return out
}

// list writes the name and the sum of everything that can influence a verdict, and returns its content. Tests and suites cannot. Names are
// relative to the folder, so that a developer's copy has the digest of the record.
func (src *source) list(w io.Writer) (documents [][]byte) {
	type entry struct{ Path, Sum string }
	var entries []entry
	for _, group := range [][]file{src.policies(), src.files.data, src.judging} {
		for _, f := range group {
			sum := sha256.Sum256(f.content)
			entries = append(entries, entry{path.Join(f.dir, path.Base(f.path)), hex.EncodeToString(sum[:])})
			documents = append(documents, f.content)
		}
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Path < entries[j].Path })
	text, _ := json.Marshal(entries) // strings only: cannot fail
	w.Write(text)                    // a buffer takes everything
	return documents
}
