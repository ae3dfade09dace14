package account

import (
	"sort"
)

// maxNamed bounds how many paths a result names: nobody reads more, and a request must not make us write a book.
const maxNamed = 64

// Explain accounts for a change of the object. It is the request path: microseconds, no lock.
func (o *Object) Explain(c Change) Result {
	var steps [32]step
	w := walk{object: o, change: o.normal(c), path: steps[:0]}
	w.run()
	return w.result
}

// Fields lists every leaf of c.Object with its reason, in order: the long form of Explain, for `why` and `review --fields`.
// A leaf without one has the zero Why.
func (o *Object) Fields(c Change) []Field {
	fields := []Field{}
	w := walk{object: o, change: o.normal(c), fields: &fields}
	w.run()
	return fields
}

// normal is a change in the form in which objects of the kind are compared.
func (o *Object) normal(c Change) *Change {
	d := &o.declaration
	c.Object, c.Old, c.Mutated = d.normal(c.Object), d.normal(c.Old), d.normal(c.Mutated)
	return &c
}

// walk is one pass over an object and what is expected of it, side by side with its old version and its dry-run.
type walk struct {
	object *Object
	change *Change
	path   []step
	result Result
	fields *[]Field // of the long form; nil in the short one
	// rigid counts the values around this one that belong to one owner as a whole (atomic lists and maps): inside,
	// nothing is explained by the old object alone.
	rigid  int
	exempt [][]segment // of change.Exempt, parsed when first needed
}

func (w *walk) run() {
	root := w.object.tree.root()
	if v, ok := w.change.Object["apiVersion"].(string); ok && v != w.object.apiVersion {
		// Another served version of the kind: rare, and dear, but the same question.
		if gvk, err := parseGVK(v, w.object.gvk.Kind); err == nil && gvk.Group == w.object.gvk.Group {
			if converted, err := w.object.expected(gvk); err == nil {
				root = converted.pack().root()
			}
		}
	}
	w.fieldsOf(w.change.Object, root, w.change.Old, w.change.Mutated)
	sort.Strings(w.result.Unexplained) // maps are walked in any order
	sort.Strings(w.result.Missing)
}

func (w *walk) enter(s step) { w.path = append(w.path, s) }
func (w *walk) leave()       { w.path = w.path[:len(w.path)-1] }

// note records why the value at the current path is there.
func (w *walk) note(why Why) {
	switch why {
	case Opaque:
		w.result.Opaque = true
	case Decrypted:
		w.result.Decrypted = true
	}
	if w.fields != nil {
		*w.fields = append(*w.fields, Field{pathText(w.path), why})
	}
}

func (w *walk) unexplained() {
	if len(w.result.Unexplained) < maxNamed {
		w.result.Unexplained = append(w.result.Unexplained, pathText(w.path))
	}
	w.note("")
}

func (w *walk) missing() {
	if len(w.result.Missing) < maxNamed {
		w.result.Missing = append(w.result.Missing, pathText(w.path))
	}
}

// value explains a value that is there and expected.
func (w *walk) value(v any, n spot, old, mutated any) {
	switch n.kind {
	case expectAny:
		w.everything(v, whys[n.why])
	case expectLeaf:
		if n.holds(v) {
			w.note(whys[n.why])
			return
		}
		w.differs(v, n, old, mutated)
	case expectMap:
		if _, ok := v.(map[string]any); ok {
			w.whole(v, n, old, mutated)
			return
		}
		w.differs(v, n, old, mutated)
	case expectList:
		if _, ok := v.([]any); ok {
			w.whole(v, n, old, mutated)
			return
		}
		w.differs(v, n, old, mutated)
	case expectOpaque:
		w.opaque(v, n, old, mutated)
	case expectLastApplied:
		if text, ok := v.(string); ok && w.object.isLastApplied(text) {
			w.note(Agent)
			return
		}
		w.differs(v, n, old, mutated)
	default:
		w.unexpected(v, n, old, mutated)
	}
}

// opaque explains a value that Git holds encrypted: by the decrypted one where that is known, else by its shape.
func (w *walk) opaque(v any, n spot, old, mutated any) {
	leaf, known := n.value().(sealedLeaf)
	switch v.(type) {
	case map[string]any, []any:
		w.differs(v, n, old, mutated)
		return
	}
	if known && !w.agrees(v, leaf) {
		w.differs(v, n, old, mutated)
		return
	}
	w.note(whys[n.why])
}

// unexpected explains a value where the server may, but need not, set one.
func (w *walk) unexpected(v any, n spot, old, mutated any) {
	if n.row().explains(w, n.name(), v, old) {
		w.everything(v, Server)
		return
	}
	w.extra(v, n.shape(), old, mutated)
}

// whole walks a map or list. If it belongs to one owner as a whole and is not what was expected, it is still explained if
// somebody else made it: it is the old one and Git says nothing in it, or it is what this cluster's admission made.
func (w *walk) whole(v any, n spot, old, mutated any) {
	if w.rigid > 0 || n.kind == expectMap && !n.shape().atomic || n.kind == expectList && n.shape().separate() {
		w.inside(v, n, old, mutated)
		return
	}
	unexplained, missing, fields := len(w.result.Unexplained), len(w.result.Missing), 0
	opaque, decrypted := w.result.Opaque, w.result.Decrypted
	if w.fields != nil {
		fields = len(*w.fields)
	}
	w.rigid++
	w.inside(v, n, old, mutated)
	w.rigid--
	if len(w.result.Unexplained) == unexplained && len(w.result.Missing) == missing {
		return
	}
	why := w.inherited(v, old, mutated, n.declares)
	if n.row().keeps(w, v, old) {
		why = Server
	}
	if why == "" {
		return
	}
	w.result.Unexplained, w.result.Missing = w.result.Unexplained[:unexplained], w.result.Missing[:missing]
	w.result.Opaque, w.result.Decrypted = opaque, decrypted
	if w.fields != nil {
		*w.fields = (*w.fields)[:fields]
	}
	w.everything(v, why)
}

// inside explains the fields of a map, or the items of a list.
func (w *walk) inside(v any, n spot, old, mutated any) {
	switch v := v.(type) {
	case map[string]any:
		w.fieldsOf(v, n, old, mutated)
	case []any:
		w.items(v, n, old, mutated)
	}
}

// inherited is the reason of a value that is as a whole that of the old object or of the dry-run.
func (w *walk) inherited(v, old, mutated any, declared bool) Why {
	switch {
	case old != nil && (!declared || w.ignored()) && equal(v, old):
		return Unchanged
	case mutated != nil && equal(v, mutated):
		return Mutated
	}
	return ""
}

// differs explains a value that is not the expected one.
func (w *walk) differs(v any, n spot, old, mutated any) {
	declared := n.declares
	switch {
	case n.row().keeps(w, v, old):
		w.everything(v, Server)
		return
	case !declared && n.row().explains(w, n.name(), v, old):
		w.everything(v, Server)
		return
	case w.rigid == 0 && old != nil && (n.why != whyAgent || n.kind == expectLastApplied):
		if why := w.inherited(v, old, mutated, declared); why != "" {
			w.everything(v, why)
			return
		}
	case mutated != nil && equal(v, mutated):
		w.everything(v, Mutated)
		return
	}
	if w.exempted() {
		w.everything(v, Exempt)
		return
	}
	w.unexplained()
	if declared {
		w.missing()
	}
}

// absent judges an expected value that is not there. What the agent adds need not be there yet, but nobody takes it away.
func (w *walk) absent(n spot, old, mutated any) {
	if n.why == whyAgent && n.kind == expectLeaf && old != nil && n.holds(old) && !w.exempted() {
		w.missing()
		return
	}
	if !n.declares || n.row().keeps(w, nil, old) || w.change.Mutated != nil && mutated == nil {
		return
	}
	if w.exempted() || old == nil && w.change.Old != nil && w.ignored() {
		return
	}
	if n.size() == 0 {
		w.missing()
		return
	}
	om, mm := asMap(old), asMap(mutated)
	for i := range n.size() {
		kid := n.child(i)
		if n.kind == expectMap {
			name := kid.name()
			w.enter(fieldStep(n.shape(), name))
			w.absent(kid, om[name], mm[name])
		} else {
			w.enter(expectedStep(n.shape(), i, kid))
			w.absent(kid, nil, nil)
		}
		w.leave()
	}
}

// fieldsOf explains the fields of a map.
func (w *walk) fieldsOf(m map[string]any, n spot, old, mutated any) {
	om, mm := asMap(old), asMap(mutated)
	if len(m) == 0 {
		w.note(whys[n.why]) // emptyDir: {} is a leaf
	}
	if w.fields != nil {
		w.orderedFields(m, n, om, mm)
		return
	}
	seen := 0
	for i := range n.size() {
		kid := n.child(i)
		v, ok := m[kid.name()]
		if ok {
			seen++
		}
		w.field(v, kid, n, om, mm)
	}
	if seen == len(m) {
		return
	}
	for name, v := range m {
		if _, ok := n.kid(name); !ok && v != nil {
			w.extraField(name, v, n, om, mm)
		}
	}
}

// orderedFields is fieldsOf with the fields in the order of their names, for the long form.
func (w *walk) orderedFields(m map[string]any, n spot, om, mm map[string]any) {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if kid, ok := n.kid(name); ok {
			w.field(m[name], kid, n, om, mm)
		} else if m[name] != nil {
			w.extraField(name, m[name], n, om, mm)
		}
	}
}

func (w *walk) field(v any, kid, n spot, om, mm map[string]any) {
	name := kid.name()
	w.enter(fieldStep(n.shape(), name))
	if v == nil {
		w.absent(kid, om[name], mm[name])
	} else {
		w.value(v, kid, om[name], mm[name])
	}
	w.leave()
}

func (w *walk) extraField(name string, v any, n spot, om, mm map[string]any) {
	w.enter(fieldStep(n.shape(), name))
	if n.row().explains(w, name, v, om[name]) {
		w.everything(v, Server)
	} else {
		w.extra(v, n.shape().field(name), om[name], mm[name])
	}
	w.leave()
}

// extra explains a value that nobody expected: it was there before, this cluster's admission adds it, or it is exempt.
func (w *walk) extra(v any, s *shape, old, mutated any) {
	switch x := v.(type) {
	case map[string]any:
		if len(x) == 0 && s.lax && s.form == formMap {
			return
		}
		if len(x) > 0 && (!s.atomic || w.rigid > 0) {
			om, mm := asMap(old), asMap(mutated)
			for name, item := range w.ordered(x) {
				if item == nil {
					continue
				}
				w.enter(fieldStep(s, name))
				w.extra(item, s.field(name), om[name], mm[name])
				w.leave()
			}
			return
		}
	case []any:
		if len(x) == 0 && s.lax {
			return
		}
		if len(x) > 0 && (w.rigid > 0 || s.separate()) {
			w.extraItems(x, s, old, mutated)
			return
		}
	}
	why := Why("")
	if w.rigid == 0 {
		why = w.inherited(v, old, mutated, false)
	} else if mutated != nil && equal(v, mutated) {
		why = Mutated
	}
	switch {
	case why != "":
		w.everything(v, why)
	case w.exempted():
		w.everything(v, Exempt)
	case compound(v) && w.rigid == 0:
		w.changed(v, s, old)
	default:
		w.unexplained()
	}
}

// changed names what is new in an atomic list or map: the leaves that differ from the old one, or the whole of it if it
// only lost some.
func (w *walk) changed(v any, s *shape, old any) {
	d := differ{path: w.path}
	d.compare(old, v, s)
	named := false
	for _, p := range d.changed {
		if !w.exemptedAt(p) {
			w.result.Unexplained = appendNamed(w.result.Unexplained, pathText(p))
			named = true
		}
	}
	switch {
	case w.fields != nil && named:
		w.everything(v, "")
	case w.fields != nil:
		w.everything(v, Exempt)
	}
}

func (w *walk) extraItems(items []any, s *shape, old, mutated any) {
	ol, ml := asList(old), asList(mutated)
	op, mp := pairs(items, ol, s), pairs(items, ml, s)
	for i, item := range items {
		w.enter(itemStep(s, i, item))
		w.extra(item, s.element(), at(ol, op, i), at(ml, mp, i))
		w.leave()
	}
}

// items explains the items of a list.
func (w *walk) items(items []any, n spot, old, mutated any) {
	s := n.shape()
	ol, ml := asList(old), asList(mutated)
	op, mp := pairs(items, ol, s), pairs(items, ml, s)
	np := n.pairs(items)
	left, last := n.size(), -1
	for i, item := range items {
		w.enter(itemStep(s, i, item))
		k := i
		if np != nil {
			k = np[i]
		}
		switch {
		case k >= 0 && k < n.size():
			left--
			if k < last && s.form == formListMap && n.child(k).declares && !ordered(ml, mp, i) && !w.exempted() {
				w.unexplained() // init containers and variables have another meaning in another order
			}
			last = max(last, k)
			w.value(item, n.child(k), at(ol, op, i), at(ml, mp, i))
		case n.row().explains(w, "", item, at(ol, op, i)):
			w.everything(item, Server)
		default:
			w.extra(item, s.element(), at(ol, op, i), at(ml, mp, i))
		}
		w.leave()
	}
	if left > 0 {
		w.absentItems(items, n, np, ol, ml)
	}
}

// ordered tells whether item i follows the one before it in the dry-run too.
func ordered(mutated []any, pairs []int, i int) bool {
	return mutated != nil && i > 0 && (pairs == nil || pairs[i-1] < pairs[i])
}

// absentItems judges the expected items that have no counterpart in the list.
func (w *walk) absentItems(items []any, n spot, np []int, ol, ml []any) {
	found := make([]bool, n.size())
	for i := range items {
		k := i
		if np != nil {
			k = np[i]
		}
		if k >= 0 && k < len(found) {
			found[k] = true
		}
	}
	for k := range n.size() {
		if found[k] {
			continue
		}
		kid := n.child(k)
		w.enter(expectedStep(n.shape(), k, kid))
		w.absent(kid, kid.findIn(ol, n.shape(), k), kid.findIn(ml, n.shape(), k))
		w.leave()
	}
}

// everything notes one reason for all leaves of a value.
func (w *walk) everything(v any, why Why) {
	if w.fields == nil {
		w.note(why)
		return
	}
	d := differ{path: w.path, all: func(p []step) { *w.fields = append(*w.fields, Field{pathText(p), why}) }}
	s := formlessShape
	if len(w.path) > 0 && w.path[len(w.path)-1].name == "managedFields" {
		w.note(why) // one leaf: nobody reads its inside
		return
	}
	d.leaves(v, s)
}

// ordered iterates over a map: in any order, or by name for the long form.
func (w *walk) ordered(m map[string]any) func(func(string, any) bool) {
	return func(yield func(string, any) bool) {
		if w.fields == nil {
			for k, v := range m {
				if !yield(k, v) {
					return
				}
			}
			return
		}
		names := make([]string, 0, len(m))
		for k := range m {
			names = append(names, k)
		}
		sort.Strings(names)
		for _, k := range names {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}

// exempted tells whether an exemption covers the current path.
func (w *walk) exempted() bool { return w.exemptedAt(w.path) }

func (w *walk) exemptedAt(path []step) bool {
	if len(w.change.Exempt) == 0 {
		return false
	}
	if w.exempt == nil {
		for _, p := range w.change.Exempt {
			if s, err := p.segments(); err == nil {
				w.exempt = append(w.exempt, s)
			}
		}
	}
	return anyMatch(w.exempt, path)
}

// ignored tells whether the agent keeps the live value of the current path.
func (w *walk) ignored() bool { return anyMatch(w.object.ignored, w.path) }

func anyMatch(patterns [][]segment, path []step) bool {
	for _, p := range patterns {
		if matches(p, path) {
			return true
		}
	}
	return false
}

func appendNamed(to []string, path string) []string {
	if len(to) >= maxNamed {
		return to
	}
	return append(to, path)
}

func asMap(v any) map[string]any { m, _ := v.(map[string]any); return m }
func asList(v any) []any         { l, _ := v.([]any); return l }

func compound(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}
