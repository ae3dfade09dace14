package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/git"
)

// file names a file or folder of a repository.
type file struct {
	repository string
	path       git.Path
}

// unitID tells units apart: their owner with the part of it, and for a path that no object describes the path.
type unitID struct {
	owner agent.Owner
	part  string
	root  file
}

// about is what every unit tells of itself.
type about struct {
	owner agent.Owner
	part  string // of an owner that makes several releases, which one; "" is the owner as a whole
	root  file   // only of a root path
	at    Source // where the owner stands; zero if the configuration holds it word for word
	spec  string // all that shapes the result, but for the files it reads and the values it takes from others
	depth int    // agents' objects above it
}

func (a *about) id() unitID { return unitID{a.owner, a.part, a.root} }

func (a *about) name() string {
	name := ownerKey(a.owner).String()
	if a.root != (file{}) {
		name = "root " + a.root.repository + ":" + string(a.root.path)
	}
	if a.part != "" {
		name += " (" + a.part + ")"
	}
	return name
}

func (a *about) place() string {
	if a.at.Repository == "" {
		return "the one in the configuration"
	}
	return "the one in " + a.at.place()
}

// unit is what an agent renders and applies as a whole: the path of a root, a Flux Kustomization, an Argo CD Application.
type unit interface {
	about() *about
	// waits says what must be found before the unit can be rendered, as a problem for whoever declared it; "" if nothing. With last
	// nothing more will be found: what is optional is done without.
	waits(r *renderer, last bool) string
	// taken is a digest of the values that others declare and that shape this unit's result.
	taken(r *renderer) string
	// read reads or renders the unit's documents into b. A problem of what somebody pushed is noted, and the error is errReported or a syntaxError.
	read(r *renderer, b *Build) error
	// dress completes an object as the agent applies it: namespace, what it adds, how it applies. False: the agent does not apply it.
	dress(r *renderer, o *Object) bool
}

// errReported: what is wrong has been noted as a problem.
var errReported = errors.New("reported as a problem")

// Build is what one agent's object, or one root path, renders to. It is immutable, and shared by the sets of revisions in which nothing of
// it changes.
type Build struct {
	// Owner is the agent's object; only its Agent is set for the path of a root.
	Owner agent.Owner
	// Part is which of the owner's releases it is, "" if the owner makes but one.
	Part string
	// Declared is where that object stands; zero if the configuration holds it word for word.
	Declared Source
	// Repository and Path are what it renders.
	Repository string
	Path       git.Path
	// Release is the Helm release that the agent makes of it; zero if it makes none.
	Release Release
	// Bundles are the names of those that a GitRepo of Fleet makes, for whatever cluster. Elsewhere: it is for other clusters, and was not looked into.
	Bundles   []string
	Elsewhere bool
	blobs     []git.ID // of a bundle: the files of its folder, sorted
	remote    bool     // a chart of it is not in Git
	// Objects in the order of the files.
	Objects []*Object

	id        unitID
	self      *unitID // the same, as the objects name it: one for the builds of all revisions
	spec      string
	taken     string
	inputs    map[file]git.ID // what was read, and what was not there
	files     map[file]*parsed
	rendered  map[file]*rendered // of kustomizations and charts, by folder
	documents []*document
	dressed   dressed
	scopes    map[groupKind]scope // of custom kinds, as they were taken to be
	tracking  argoTracking
	bundles   []*fleetBundle // that a GitRepo of Fleet makes
	lacking   bool           // something outside of Git was not there: with the next push it may be
	shaped    bool           // the owner's own fields shape the content
	decrypts  bool           // the agent decrypts what SOPS encrypted
	shapedBy  []git.Path     // files of the repository that shape the content of all objects: options, values files
	unfollows Problems
	lean      *Build // without Objects and all that the next rendering takes over
}

// Release names a Helm release.
type Release struct {
	Namespace, Name string
	// Storage is the namespace in which Helm keeps its record of the release, where the agent names it (Flux); else it is the release's own.
	Storage string
	// Chart is the name of the chart, where the agent makes another release of a chart with another name (Flux).
	Chart string
	// Rollback: what a failed install has made may be deleted again (--rollback-on-failure).
	Rollback bool
}

// RecordedIn is the namespace in which Helm keeps its record of the release.
func (r Release) RecordedIn() string { return cmp.Or(r.Storage, r.Namespace) }

// parsed is a file that was read.
type parsed struct {
	id   git.ID
	docs []*document
	size int // bytes of the file
}

// rendered is a kustomization or chart that was built.
type rendered struct {
	with      string // digest of the files that were written over the tree's
	inputs    map[file]git.ID
	folder    git.ID // of the folder itself if all inputs lie in it, else ""
	docs      []*document
	unfollows Problems
}

// build takes over the unit's build of the revision before if nothing of it changed, and makes it anew if not.
func (r *renderer) build(u unit) (*Build, error) {
	b, err := r.buildBefore(u)
	if b != nil || err != nil {
		return b, err
	}
	a := u.about()
	b = newBuild(r, u)
	if err := u.read(r, b); err != nil {
		if errors.Is(err, errReported) {
			r.dress(u, b) // for what is wrong with the rest
		}
		return nil, err
	}
	if old := r.previous[a.id()]; old != nil && old.spec == a.spec && old.taken == b.taken && old.Declared.same(a.at) {
		b.dressed, b.scopes, b.tracking = old.dressed, old.scopes, old.tracking
	}
	return r.dress(u, b), nil
}

// buildBefore is the unit's build of the revision before if nothing of it changed, nil if something did.
func (r *renderer) buildBefore(u unit) (*Build, error) {
	a := u.about()
	old := r.previous[a.id()]
	if old == nil || old.lacking || old.spec != a.spec || old.taken != u.taken(r) || !old.Declared.same(a.at) {
		return nil, nil
	}
	// Where all of a folder was read, the folder is enough to know that something changed.
	if root := (file{old.Repository, old.Path}); old.inputs[root] != "" {
		if id, err := r.fileID(root); err != nil || id != old.inputs[root] {
			return nil, err
		}
	}
	same, err := r.unchanged(old.inputs)
	if err != nil || !same || !r.stillDressed(old) {
		return nil, err
	}
	return old, nil
}

func newBuild(r *renderer, u unit) *Build {
	a := u.about()
	id := a.id()
	self := &id
	if old := r.previous[id]; old != nil {
		self = old.self
	}
	return &Build{
		Owner: a.owner, Part: a.part, Declared: a.at, id: id, self: self, spec: a.spec, taken: u.taken(r),
		inputs: map[file]git.ID{}, files: map[file]*parsed{}, rendered: map[file]*rendered{},
	}
}

// same compares places; their inputs are the build's.
func (s Source) same(o Source) bool {
	return s.Repository == o.Repository && s.Path == o.Path && s.Line == o.Line && s.Commit == o.Commit
}

// unchanged tells whether files are what they were. Equal ids are equal content.
func (r *renderer) unchanged(inputs map[file]git.ID) (bool, error) {
	for f, was := range inputs {
		id, err := r.fileID(f)
		if err != nil {
			return false, fmt.Errorf("%s:%s: %w", f.repository, f.path, err)
		}
		if id != was {
			return false, nil
		}
	}
	return true, nil
}

// stillDressed tells whether the scopes and settings that a build took for granted are still so.
func (r *renderer) stillDressed(b *Build) bool {
	for gk, was := range b.scopes {
		if r.scopes[gk] != was {
			return false
		}
	}
	return b.tracking == r.tracking(b.Owner.Agent)
}

// dressed are documents, and at the same places the objects that were made of them: nil where the agent does not apply it.
type dressed struct {
	documents []*document
	objects   []*Object
}

// of are the objects of these documents as far as they were made before, and a map of those of the places in between, where the documents are others.
func (d dressed) of(documents []*document) (objects []*Object, from, to int, known map[*document]*Object) {
	objects = make([]*Object, len(documents))
	from = sharedHead(d.documents, documents)
	tail := sharedTail(d.documents[from:], documents[from:])
	to = len(documents) - tail
	copy(objects, d.objects[:from])
	copy(objects[to:], d.objects[len(d.objects)-tail:])
	known = map[*document]*Object{}
	for i := from; i < len(d.documents)-tail; i++ {
		known[d.documents[i]] = d.objects[i]
	}
	return objects, from, to, known
}

// dress makes the objects of a build. Those that are what they were keep their pointer.
func (r *renderer) dress(u unit, b *Build) *Build {
	made := *b
	made.scopes, made.tracking = map[groupKind]scope{}, r.tracking(b.Owner.Agent)
	was := b.dressed
	if r.stillDressed(b) {
		maps.Copy(made.scopes, b.scopes)
	} else {
		was = dressed{}
	}
	objects, from, to, known := was.of(b.documents)
	var before *objectsBefore
	for i := from; i < to; i++ {
		doc := b.documents[i]
		o, ok := known[doc]
		if !ok {
			if o = r.object(u, &made, doc); o != nil {
				if before == nil {
					before = r.objectsBefore(b.id)
				}
				if was := before.find(o.Key); was != nil && reflect.DeepEqual(was, o) {
					o = was
				}
			}
		}
		objects[i] = o
	}
	made.dressed = dressed{b.documents, objects}
	if made.Objects = objects; slices.Contains(objects, nil) {
		made.Objects = slices.DeleteFunc(slices.Clone(objects), func(o *Object) bool { return o == nil })
	}
	made.lean = &Build{
		Owner: made.Owner, Part: made.Part, Declared: made.Declared, Repository: made.Repository, Path: made.Path, Release: made.Release, id: made.id,
		Bundles: made.Bundles, Elsewhere: made.Elsewhere, blobs: made.blobs, remote: made.remote,
	}
	return &made
}

// objectsBefore finds what a build declared in the revision before.
type objectsBefore struct {
	list  []*Object
	asked int
	byKey map[Key]*Object // nil while few were asked for
}

// fewObjects are looked for one by one: a push changes few, and an index would cost a look at all.
const fewObjects = 16

func (r *renderer) objectsBefore(id unitID) *objectsBefore {
	if old := r.previous[id]; old != nil {
		return &objectsBefore{list: old.Objects}
	}
	return &objectsBefore{}
}

// find is the object with a key, nil if there was none.
func (b *objectsBefore) find(k Key) *Object {
	if b.asked++; b.asked <= fewObjects {
		for _, o := range slices.Backward(b.list) {
			if o.Name == k.Name && o.Key == k {
				return o
			}
		}
		return nil
	}
	if b.byKey == nil {
		b.byKey = make(map[Key]*Object, len(b.list))
		for _, o := range b.list {
			b.byKey[o.Key] = o
		}
	}
	return b.byKey[k]
}

// object makes a declared object of a document, nil if the agent does not apply it or it cannot be one.
func (r *renderer) object(u unit, b *Build, doc *document) *Object {
	a := u.about()
	repository, commit := splitPinned(b.Repository)
	at := Source{Repository: repository, Path: doc.path, Line: doc.line, Commit: commit, Base: doc.base}
	gk, version := kindOf(doc.content)
	if gk.kind == "" || version == "" {
		r.problem(at, "not a Kubernetes object: it has no %s", map[bool]string{true: "kind", false: "apiVersion"}[gk.kind == ""])
		return nil
	}
	metadata := doc.content.Child("metadata")
	o := &Object{
		Key:     Key{Group: gk.group, Kind: gk.kind, Namespace: text(metadata, "namespace"), Name: text(metadata, "name")},
		Version: version, Content: doc.content, Source: at, Owner: a.owner, by: b.self,
	}
	if o.Name == "" {
		if prefix := text(metadata, "generateName"); prefix != "" {
			o.Name, o.Apply.GenerateName = prefix, true
		} else {
			r.problem(at, "%s has no metadata.name", gk.kind)
			return nil
		}
	}
	if builtinScope(gk) == scopeUnknown {
		b.scopes[gk] = r.scopes[gk]
	}
	o.Source.Inputs, o.Opaque, o.Sealed, o.implied, o.crd, o.written = doc.inputs, doc.opaque, doc.sealed, doc.implied, doc.crd, doc.written
	switch {
	case doc.implied && a.at.Repository != "":
		o.Source.Repository = a.at.Repository
	case doc.implied: // the owner stands in the configuration: what it renders is why the object is there
		o.Source.Path, o.Source.Line = b.Path, 0
	}
	if b.shaped && a.at.Repository != "" && a.at.Repository == b.Repository && !slices.Contains(doc.inputs, a.at.Path) {
		o.Source.Inputs = append(slices.Clone(doc.inputs), a.at.Path)
	}
	for _, p := range b.shapedBy {
		if !slices.Contains(o.Source.Inputs, p) {
			o.Source.Inputs = append(slices.Clip(o.Source.Inputs), p)
		}
	}
	if !u.dress(r, o) {
		return nil
	}
	return o
}

// scopeOf is the scope of a kind, as far as it is known.
func (r *renderer) scopeOf(gk groupKind) scope {
	if s := builtinScope(gk); s != scopeUnknown {
		return s
	}
	return r.scopes[gk]
}

// place puts an object where its kind lives: into the namespace that its agent falls back on, or into none. False: it has none, which is noted.
func (r *renderer) place(o *Object, fallback, hint string) bool {
	s := r.scopeOf(groupKind{o.Group, o.Kind})
	if s == scopeUnknown && o.Namespace == "" && len(o.Kind) > len("Cluster") && strings.HasPrefix(o.Kind, "Cluster") {
		s = scopeCluster // ClusterIssuer, ClusterPolicy: a guess; if it is wrong, the object is not found declared
	}
	switch {
	case s == scopeCluster:
		if o.Namespace != "" {
			o.setNamespace("")
		}
	case o.Namespace != "":
	case fallback != "":
		o.setNamespace(fallback)
	case s == scopeNamespaced:
		r.problem(o.Source, "%s %s names no namespace%s", o.Kind, o.Name, hint)
		return false
	}
	return true
}

// setNamespace changes the namespace, in the content too.
func (o *Object) setNamespace(namespace string) {
	o.Namespace = namespace
	o.editMetadata(func(metadata map[string]any) {
		if namespace == "" {
			delete(metadata, "namespace")
		} else {
			metadata["namespace"] = namespace
		}
	})
}

// editMetadata changes the metadata.
func (o *Object) editMetadata(edit func(map[string]any)) {
	content := o.Content.Map()
	metadata := childMap(content, "metadata")
	if metadata == nil {
		metadata = map[string]any{}
		content["metadata"] = metadata
	}
	edit(metadata)
	o.Content = compact.Of(content)
}

func (o *Object) annotation(key string) string {
	return o.Content.Text("metadata", "annotations", key)
}

func (o *Object) label(key string) string {
	return o.Content.Text("metadata", "labels", key)
}
