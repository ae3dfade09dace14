package manifest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/git"
)

// bundleUnit is a bundle of Fleet: a folder that fleet-agent makes a Helm release of, whether a chart, a kustomization or plain manifests stand in it.
type bundleUnit struct {
	self               about
	bundle             *fleetBundle
	release, namespace string
}

func (r *renderer) meetBundle(found *fleetBundle, above *about) {
	u := &bundleUnit{
		self:   about{owner: above.owner, part: "bundle " + found.Name, at: above.at, depth: above.depth, spec: specText([]any{found, found.Dir.repository, found.Dir.path})},
		bundle: found,
	}
	u.release, u.namespace = found.Options.release(found.Name)
	r.add(u)
}

func (u *bundleUnit) about() *about { return &u.self }

func (u *bundleUnit) charts(r *renderer) bool {
	if h := u.bundle.Options.Helm; u.bundle.ChartAlone || h.Repo != "" || strings.HasPrefix(h.Chart, "oci://") {
		return true
	}
	dir, ok := u.chart()
	if !ok || u.bundle.Unfollowed != "" {
		return false
	}
	chart, err := r.usesChart(file{u.bundle.Dir.repository, dir})
	return err == nil && chart
}

// chart is the folder of the bundle's chart, if it has one; false: it lies outside of the bundle.
func (u *bundleUnit) chart() (git.Path, bool) {
	below := path.Clean(cmp.Or(u.bundle.Options.Helm.Chart, "."))
	return join(u.bundle.Dir.path, below), below != ".." && !strings.HasPrefix(below, "../") && !strings.Contains(below, "://")
}

func (u *bundleUnit) waits(r *renderer, _ bool) string {
	for _, from := range u.valuesFrom() {
		if r.value(from.key) == nil {
			return fmt.Sprintf("%s takes values from %s, which is declared nowhere in Git", u.self.name(), from.key)
		}
	}
	return ""
}

// namedValues are values that stand in a ConfigMap or Secret.
type namedValues struct {
	key  Key
	name string // of the entry
}

func (u *bundleUnit) valuesFrom() []namedValues {
	var list []namedValues
	for _, from := range u.bundle.Options.Helm.ValuesFrom {
		for _, ref := range []struct {
			kind string
			*fleetKeyRef
		}{{"ConfigMap", from.ConfigMapKeyRef}, {"Secret", from.SecretKeyRef}} {
			if ref.fleetKeyRef != nil {
				list = append(list, namedValues{Key{Kind: ref.kind, Namespace: cmp.Or(ref.Namespace, u.namespace), Name: ref.Name}, cmp.Or(ref.Key, "values.yaml")})
			}
		}
	}
	return list
}

func (u *bundleUnit) taken(r *renderer) string {
	digest := sha256.New()
	for _, from := range u.valuesFrom() {
		if o := r.value(from.key); o != nil {
			digestEntries(digest, o)
		}
	}
	if u.charts(r) {
		fmt.Fprintf(digest, "%q %q\n", r.in.Gate.Kubernetes, r.declaredVersions())
	}
	return hex.EncodeToString(digest.Sum(nil))
}

func (u *bundleUnit) read(r *renderer, b *Build) error {
	at := u.bundle.Dir
	b.Repository, b.Path, b.shapedBy = at.repository, at.path, u.bundle.ShapedBy
	b.Release = Release{Namespace: u.namespace, Name: u.release, Rollback: u.bundle.Options.Helm.Atomic}
	if !u.bundle.ChartAlone {
		if _, err := r.input(b, at); err != nil { // a file more may be a resource more
			return err
		}
	}
	b.remote = u.bundle.Remote
	if !u.bundle.ChartAlone {
		var err error
		if b.blobs, err = r.blobsBelow(at); err != nil {
			return err
		}
	}
	for _, p := range u.bundle.ShapedBy {
		if _, err := r.input(b, file{at.repository, p}); err != nil {
			return err
		}
	}
	if u.bundle.Unfollowed != "" {
		return u.unfollow(r, b, "%s", u.bundle.Unfollowed)
	}
	if err := u.readContent(r, b); err != nil {
		return err
	}
	if len(u.bundle.Options.DownstreamResources) > 0 {
		if err := u.unfollow(r, b, "downstreamResources: what is copied from beside the bundle is not (declare it in the bundle)"); err != nil {
			return err
		}
	}
	b.documents = append(b.documents, &document{
		content: compact.Of(map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": u.namespace}}),
		path:    u.self.at.Path, line: u.self.at.Line, implied: true,
	})
	return nil
}

// unfollow notes what is not followed, at the options of the bundle: they stand in Git, wherever the GitRepo does. A HelmOp has its own place.
func (u *bundleUnit) unfollow(r *renderer, b *Build, format string, args ...any) error {
	at, line := u.bundle.Dir.path, 0
	switch {
	case u.bundle.ChartAlone && u.self.at.Repository == "":
		return r.unfollow(&u.self, b, format, args...)
	case u.bundle.ChartAlone:
		line = u.self.at.Line
	case len(u.bundle.ShapedBy) > 0:
		at = u.bundle.ShapedBy[0]
	}
	b.unfollows = append(b.unfollows, Problem{b.Repository, at, line, fmt.Sprintf("%s is not followed: %s", u.self.name(), fmt.Sprintf(format, args...))})
	return nil
}

// readContent reads the folder in the style that Fleet would find in it (fleet, internal/bundlereader, DetermineStyle).
func (u *bundleUnit) readContent(r *renderer, b *Build) error {
	if u.bundle.ChartAlone {
		return u.readPacked(r, b, u.bundle.Options.Helm)
	}
	dir, inside := u.chart()
	chart, err := r.usesChart(file{b.Repository, dir})
	if err != nil {
		return err
	}
	options := u.bundle.Options
	if h := options.Helm; h.Repo != "" || h.Chart != "" && (!inside || !chart) {
		return u.readPacked(r, b, h)
	}
	kustomization := join(u.bundle.Dir.path, path.Join(options.Kustomize.Dir, "kustomization.yaml"))
	id, err := r.fileID(file{b.Repository, kustomization})
	if err != nil {
		return err
	}
	switch {
	case chart:
		if err := u.helm(r, b, file{b.Repository, dir}); err != nil || id == "" {
			return err
		}
		return u.kustomizeChart(r, b, kustomization)
	case id != "":
		return r.kustomize(b, file{b.Repository, git.Path(path.Dir(string(kustomization)))})
	}
	return u.plain(r, b)
}

// readPacked renders a chart that comes from a repository or registry, if Git records its digest and its bytes are here.
func (u *bundleUnit) readPacked(r *renderer, b *Build, h fleetHelm) error {
	c := chartName{h.Repo, h.Chart, h.Version}
	if url, oci := strings.CutPrefix(h.Chart, "oci://"); oci {
		c = ociChart(url, h.Version)
	} else if h.Repo == "" {
		return u.unfollow(r, b, "chart %s is neither in the bundle's folder nor in a repository or registry", cmp.Or(h.Chart, "\"\""))
	}
	p, why, err := r.packed(b, u.bundle.Dir.repository, c)
	if err != nil {
		return err
	}
	if why != "" {
		return u.unfollow(r, b, "%s", why)
	}
	o, followed, err := u.options(r, b)
	if err != nil || !followed {
		return err
	}
	return r.helmPacked(b, p, o)
}

func (u *bundleUnit) helm(r *renderer, b *Build, at file) error {
	o, followed, err := u.options(r, b)
	if err != nil || !followed {
		return err
	}
	return r.helm(b, at, o)
}

// options are what the release gives to its chart. False: it is not followed.
func (u *bundleUnit) options(r *renderer, b *Build) (helmOptions, bool, error) {
	o := helmOptions{Release: u.release, Namespace: u.namespace, CRDs: true}
	var refs []valuesRef
	for _, from := range u.valuesFrom() {
		refs = append(refs, valuesRef{from: from.key, entry: from.name})
	}
	values := &releaseValues{layers: []valuesLayer{{values: u.bundle.Options.Helm.Values}}}
	followed, err := r.giveValues(&u.self, b, u.self.at, values, refs, &o)
	return o, followed, err
}

// kustomizeChart lets the kustomization of the bundle have what the chart made, as its first resource; not what stands in crds/.
func (u *bundleUnit) kustomizeChart(r *renderer, b *Build, kustomization git.Path) error {
	const output = "fleet-manifests.yaml"
	docs, err := r.readFile(b, file{b.Repository, kustomization}, folderRules{})
	if err != nil {
		return err
	}
	k := map[string]any{}
	if len(docs) > 0 {
		k = docs[0].content.Map()
	}
	resources := listOf(k["resources"])
	if !slices.Contains(resources, any(output)) {
		k["resources"] = append([]any{output}, resources...)
	}
	var made bytes.Buffer
	kept, before := []*document{}, b.documents
	for _, doc := range before {
		text, err := json.Marshal(doc.content)
		if err != nil {
			return err
		}
		if doc.crd {
			kept = append(kept, doc)
			continue
		}
		made.WriteString("---\n" + string(text) + "\n")
	}
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	dir := git.Path(path.Dir(string(kustomization)))
	b.documents = kept
	if err := r.kustomizeWith(b, file{b.Repository, dir}, map[string][]byte{string(kustomization): text, string(join(dir, output)): made.Bytes()}, nil); err != nil {
		return err
	}
	for i, doc := range b.documents[len(kept):] {
		if doc.path != join(dir, output) {
			continue
		}
		copied := *doc
		copied.path, copied.line = kustomization, 0
		for _, was := range before {
			if identity(was.content) == identity(doc.content) {
				copied.path, copied.opaque, copied.sealed = was.path, opaqueAfter(was, doc), was.sealed
				copied.inputs = slices.Concat(doc.inputs, was.inputs)
			}
		}
		copied.inputs = slices.DeleteFunc(slices.Clone(copied.inputs), func(p git.Path) bool { return p == join(dir, output) })
		b.documents[len(kept)+i] = &copied
	}
	return nil
}

// plain reads a folder of manifests, and lays its overlays over them.
func (u *bundleUnit) plain(r *renderer, b *Build) error {
	names, err := u.resources(r, b)
	if err != nil {
		return err
	}
	var apart []string // folders that are bundles or charts of their own
	for _, name := range names {
		if base := path.Base(name); path.Dir(name) != "." && (slices.Contains(fleetFiles[:], base) || base == "Chart.yaml") {
			apart = append(apart, path.Dir(name)+"/")
		}
	}
	files := map[string]git.Path{} // by the name that the bundle knows it by
	patches := [][2]string{}
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, "overlays/"), slices.Contains(fleetFiles[:], name), !slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(name)),
			slices.ContainsFunc(apart, func(dir string) bool { return strings.HasPrefix(name, dir) }):
		case strings.HasPrefix(name, "templates/"):
			return u.unfollow(r, b, "its templates belong to no chart: add a Chart.yaml")
		default:
			files[name] = join(u.bundle.Dir.path, name)
		}
	}
	for _, overlay := range u.bundle.Options.YAML.Overlays {
		prefix := "overlays/" + overlay + "/"
		for _, name := range names {
			below, ok := strings.CutPrefix(name, prefix)
			switch {
			case !ok:
			case strings.Contains(path.Base(below), "_patch."):
				patches = append(patches, [2]string{path.Join(path.Dir(below), strings.Replace(path.Base(below), "_patch.", ".", 1)), name})
			default:
				files[below] = join(u.bundle.Dir.path, name)
			}
		}
	}
	return u.readFiles(r, b, files, patches)
}

// readFiles reads the manifests of a bundle by name. A file in which something is no object is left out as a whole, as Fleet does.
func (u *bundleUnit) readFiles(r *renderer, b *Build, files map[string]git.Path, patches [][2]string) error {
	read := map[string][]*document{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		docs, err := r.readFile(b, file{b.Repository, files[name]}, folderRules{})
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(docs, func(doc *document) bool { return doc.content.Text("kind") == "" }) {
			read[name] = docs
		}
	}
	for _, p := range patches {
		at := file{b.Repository, join(u.bundle.Dir.path, p[1])}
		if len(read[p[0]]) != 1 {
			r.problem(Source{Repository: at.repository, Path: at.path}, "patches %s, which is no file of one object in the bundle", p[0])
			return errReported
		}
		patched, err := r.patch(read[p[0]][0], at)
		if err != nil {
			return err
		}
		b.inputs[at], read[p[0]] = patched.id, []*document{patched.doc}
	}
	for _, name := range slices.Sorted(maps.Keys(read)) {
		for _, doc := range read[name] {
			if doc.content.Text("apiVersion") != "" {
				b.documents = append(b.documents, doc)
			}
		}
	}
	return nil
}

type patchedDocument struct {
	doc *document
	id  git.ID
}

// patch changes an object by a file: a JSON patch if it is a list, and otherwise a patch that is merged as kubectl merges its kind.
func (r *renderer) patch(doc *document, by file) (made patchedDocument, err error) {
	if made.id, err = r.fileID(by); err != nil {
		return made, err
	}
	data, err := r.readBytes(by)
	if err != nil {
		return made, err
	}
	at := Source{Repository: by.repository, Path: by.path}
	patch := string(data)
	if docs, err := parse(by.path, data, dialectKubernetes); err == nil {
		if len(docs) != 1 {
			r.problem(at, "a patch is one document, not %d", len(docs))
			return made, errReported
		}
		// kustomize wants to read in a patch what it is of; Fleet does not.
		full := docs[0].content.Map()
		for _, k := range []string{"apiVersion", "kind"} {
			full[k] = doc.content.At(k)
		}
		metadata := childMap(full, "metadata")
		if metadata == nil {
			metadata = map[string]any{}
		}
		metadata["name"] = doc.content.At("metadata", "name")
		full["metadata"] = metadata
		patch = specText(full)
	}
	object, err := json.Marshal(doc.content)
	if err != nil {
		return made, err
	}
	target := map[string]any{"kind": doc.content.At("kind"), "name": doc.content.At("metadata", "name")}
	k, err := json.Marshal(map[string]any{"resources": []string{"object.yaml"}, "patches": []any{map[string]any{"patch": patch, "target": target}}})
	if err != nil {
		return made, err
	}
	tree := overlay{emptyFolder{}, map[string][]byte{"kustomization.yaml": k, "object.yaml": object}}
	a, err := r.do(tree, by.path, job{Kustomize: &kustomizeJob{".", r.limits}})
	switch {
	case err != nil:
		return made, r.refuseHere(at, "", err)
	case len(a.Docs) != 1:
		r.problem(at, "patches an object away, which Fleet does not")
		return made, errReported
	}
	made.doc = &document{content: compact.Of(a.Docs[0].Content), path: doc.path, line: doc.line, inputs: append(slices.Clip(doc.inputs), doc.path, by.path)}
	return made, nil
}

// resources are the files of a bundle by their names below its folder: not hidden ones, nor those that a .fleetignore names, nor options
// (fleet, internal/bundlereader, GetContent).
func (u *bundleUnit) resources(r *renderer, b *Build) ([]string, error) {
	tree, err := r.tree(b.Repository)
	if err != nil {
		return nil, err
	}
	root := string(u.bundle.Dir.path)
	ignores := map[string][]string{} // by folder: its own and those above
	var names []string
	err = fs.WalkDir(tree, root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == root {
			ignores[name], err = fleetIgnore(tree, name)
			return err
		}
		ignored := strings.HasPrefix(entry.Name(), ".") || fleetIgnores(ignores[path.Dir(name)], entry)
		switch {
		case ignored && entry.IsDir():
			return fs.SkipDir
		case ignored, slices.Contains(u.bundle.Apart, git.Path(name)):
			return nil
		case entry.IsDir():
			own, err := fleetIgnore(tree, name)
			ignores[name] = append(slices.Clip(ignores[path.Dir(name)]), own...)
			return err
		case !entry.Type().IsRegular():
			r.problem(Source{Repository: b.Repository, Path: git.Path(name)}, "a symbolic link or submodule, which is not followed: put the file here")
			return errReported
		}
		names = append(names, strings.TrimPrefix(strings.TrimPrefix(name, root), "/"))
		return nil
	})
	return names, err
}

// fleetIgnore reads the .fleetignore of a folder.
func fleetIgnore(tree fs.FS, dir string) ([]string, error) {
	data, err := fs.ReadFile(tree, path.Join(dir, ".fleetignore"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var patterns []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimRight(line, " \t\r\n"); line != "" && !strings.HasPrefix(line, "#") {
			patterns = append(patterns, line)
		}
	}
	return patterns, err
}

// fleetIgnores tells whether a pattern names an entry: by its own name, and a folder as NAME/*.
func fleetIgnores(patterns []string, entry fs.DirEntry) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if folder, _, ok := strings.Cut(p, "/*"); ok && folder != "" {
			return entry.IsDir() && folder == entry.Name()
		}
		matched, err := path.Match(p, entry.Name())
		return matched && err == nil
	})
}

// dress: what fleet-agent and Helm do to each object of the release (fleet, internal/helmdeployer, postrender).
func (u *bundleUnit) dress(r *renderer, o *Object) bool {
	options := u.bundle.Options
	if o.implied { // Helm makes the namespace, and the agent labels it afterwards
		o.Adds = agent.Metadata{Labels: options.NamespaceLabels, Annotations: options.NamespaceAnnotations, Loose: map[string]string{"name": u.namespace}}
		return true
	}
	hooks := helmHooks(o)
	if onlyTests(hooks) {
		return false // nobody runs them
	}
	o.Apply.Hook = len(hooks) > 0
	o.Apply.Recreate = options.Helm.Atomic
	definition := o.Group == "apiextensions.k8s.io" && o.Kind == "CustomResourceDefinition"
	o.Apply.NoPrune = o.annotation("helm.sh/resource-policy") == "keep" || o.crd || definition && !options.DeleteCRDResources || options.KeepResources
	if !o.crd {
		o.Adds = agent.FleetMarks(u.bundle.Scope, u.self.owner, u.bundle.Name)
		if definition && !options.DeleteCRDResources {
			o.Adds.Annotations["helm.sh/resource-policy"] = "keep"
		}
		if !o.Apply.Hook {
			helm := agent.HelmMetadata(u.namespace, u.release)
			maps.Copy(o.Adds.Labels, helm.Labels)
			maps.Copy(o.Adds.Annotations, helm.Annotations)
		}
	}
	if options.TargetNamespace == "" || o.crd {
		return r.place(o, u.namespace, "")
	}
	if r.scopeOf(groupKind{o.Group, o.Kind}) == scopeCluster {
		r.problem(o.Source, "%s lives in no namespace, and %s puts all its objects into %s: Fleet refuses such a bundle", o.Key, u.self.name(), options.TargetNamespace)
		return false
	}
	if o.Namespace != options.TargetNamespace {
		o.setNamespace(options.TargetNamespace)
	}
	return true
}

// readFleetRoot reads a path for a Fleet agent: GitRepos, and what else of Fleet's own kinds stands there. Fleet applies nothing that no GitRepo names, so nothing
// else of it is declared by this root.
func (r *renderer) readFleetRoot(b *Build, at file) error {
	b.Repository, b.Path = at.repository, at.path
	id, err := r.input(b, at)
	if err != nil {
		return err
	}
	if id == "" {
		r.problem(Source{Repository: at.repository}, "no file or folder %s: a root of the configuration names it", at.path)
		return errReported
	}
	skip := func(p git.Path, folder bool) (bool, error) { // bundles and charts are for GitRepos to name
		if !folder {
			return slices.Contains(fleetFiles[:], path.Base(string(p))), nil
		}
		for _, name := range append(fleetFiles[:], "Chart.yaml", "kustomization.yaml") {
			if id, err := r.fileID(file{at.repository, join(p, name)}); id != "" || err != nil {
				return true, err
			}
		}
		return false, nil
	}
	err = r.readFolder(b, at, folderRules{recurse: true, extensions: []string{".yaml", ".yml", ".json"}, lenient: true, skip: skip})
	b.documents = slices.DeleteFunc(b.documents, func(doc *document) bool {
		gk, _ := kindOf(doc.content)
		return gk.group != agent.FleetGroup
	})
	if err == nil && len(b.documents) == 0 {
		r.problem(Source{Repository: at.repository}, "no GitRepo in %s, which a root of the configuration names: Fleet would apply nothing of it", at.path)
		return errReported
	}
	return err
}
