package manifest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/resid"

	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/git"
)

// oneBuild lets one kustomize build at a time run: kustomize keeps the schema of a build in a variable of its own
// (sigs.k8s.io/kustomize/kyaml/openapi; kubernetes-sigs/kustomize#3659).
var oneBuild sync.Mutex

// kustomizeBuild builds the kustomization of a folder. Nothing leaves the tree: remote bases and files, plugins, functions and Helm are refused. A
// build cannot be interrupted; after the end of ctx it ends with the next file that it reads. inputs are the paths that were read or looked
// for. Files that are read again count again: folders that are built twice, each with folders that are built twice, grow without end.
func kustomizeBuild(ctx context.Context, tree fs.FS, dir git.Path, limits Limits) (docs []*document, inputs []git.Path, err error) {
	k := &kustomizer{ctx: ctx, tree: tree, limits: limits, seen: map[git.Path]bool{}, configures: map[git.Path]bool{}}
	docs, err = k.build(dir)
	return docs, sortedPaths(k.seen), err
}

// kustomizer is a tree as kustomize sees it: rooted at /, read only, and without what would lead out of it.
type kustomizer struct {
	ctx     context.Context // of the build, which kustomize does not know about
	tree    fs.FS
	limits  Limits
	seen    map[git.Path]bool
	refused error // why a file was not shown to kustomize: the first that was not
	files   int   // read so far
	bytes   int64
	// configures are the files that configure generators, transformers and validators.
	configures map[git.Path]bool
}

func (k *kustomizer) build(dir git.Path) (docs []*document, err error) {
	oneBuild.Lock()
	defer oneBuild.Unlock()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("kustomize gave up: %T", p) // a panic's text may hold values
		}
	}()
	made, err := k.run(dir)
	if err != nil {
		return nil, err
	}
	docs, err = k.documents(dir, made)
	if err != nil {
		return nil, k.explain(err)
	}
	return docs, nil
}

func (k *kustomizer) run(dir git.Path) (resmap.ResMap, error) {
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = types.LoadRestrictionsNone // the tree is the restriction
	options.PluginConfig = types.DisabledPluginConfig()
	options.Reorder = krusty.ReorderOptionUnspecified // as Flux has it; an order of its own draws a warning on the standard error
	made, err := krusty.MakeKustomizer(options).Run(k, path.Join("/", string(dir)))
	switch {
	case k.refused != nil:
		return nil, k.refused
	case err != nil:
		return nil, k.explain(err)
	}
	return made, nil
}

// explain finds the file and line behind an error of kustomize, which often names neither: the first file that it read and that is no YAML.
func (k *kustomizer) explain(err error) error {
	for _, p := range sortedPaths(k.seen) {
		if !slices.Contains(kustomizationNames[:], path.Base(string(p))) && !slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(string(p))) {
			continue
		}
		data, unread := fs.ReadFile(k.tree, string(p))
		if unread != nil {
			continue
		}
		var syntax *syntaxError
		_, strict := parse(p, data, dialectKubernetes)
		if errors.As(readable(data), &syntax) || errors.As(strict, &syntax) {
			return &refusedFile{path: p, line: syntax.line, err: errors.New(k.withoutSecrets(syntax.what))}
		}
	}
	return errors.New(k.withoutSecrets(strings.ReplaceAll(err.Error(), "'/", "'")))
}

// origins builds once more to know which file each resource comes from. The annotation in which kustomize notes that could change what a patch
// does, so that the resources of this build are not used. Without an answer the folder is named.
func (k *kustomizer) origins(dir git.Path) map[resid.ResId]git.Path {
	tree := k.tree
	defer func() { k.tree = tree }()
	if !k.askForOrigins(dir) {
		return nil
	}
	made, err := k.run(dir)
	if err != nil {
		return nil
	}
	found := map[resid.ResId]git.Path{}
	for _, res := range made.Resources() {
		origin, err := res.GetOrigin()
		if err != nil || origin == nil {
			continue
		}
		switch { // a patch that replaces all annotations loses where the resource comes from
		case origin.Path != "":
			found[res.OrgId()] = join(dir, origin.Path)
		case strings.HasSuffix(origin.ConfiguredBy.Kind, "Generator"):
			found[res.OrgId()] = join(dir, origin.ConfiguredIn)
		}
	}
	return found
}

// askForOrigins overlays the folder's kustomization with one that has kustomize note origins.
func (k *kustomizer) askForOrigins(dir git.Path) bool {
	for _, name := range kustomizationNames {
		p := path.Join(string(dir), name)
		data, err := fs.ReadFile(k.tree, p)
		if err != nil {
			continue
		}
		docs, err := parse(git.Path(p), data, dialectKubernetes)
		if err != nil || len(docs) != 1 {
			return false
		}
		content := docs[0].content.Map()
		content["buildMetadata"] = append(listOf(content["buildMetadata"]), types.OriginAnnotations)
		text, err := json.Marshal(content)
		if err != nil {
			return false
		}
		k.tree = overlay{k.tree, map[string][]byte{p: text}}
		return true
	}
	return false
}

// documents are the resources, each with the place that it comes from.
func (k *kustomizer) documents(dir git.Path, made resmap.ResMap) ([]*document, error) {
	sources := k.sources()
	var docs []*document
	var origins map[resid.ResId]git.Path
	for _, res := range made.Resources() {
		content, err := contentOf(&res.RNode)
		if err != nil {
			return nil, err
		}
		doc := &document{content: compact.Of(content)}
		var found bool
		if doc.path, doc.line, found = sources.find(res.GetKind(), res.GetName()); !found {
			if origins == nil {
				origins = k.origins(dir)
			}
			if doc.path = cmp.Or(origins[res.OrgId()], dir); doc.path != dir {
				doc.line = sources.line(doc.path, res.GetKind(), res.GetName())
			}
		}
		docs = append(docs, doc)
	}
	return docs, nil
}

// sourceFiles are what the files that a build has read declare.
type sourceFiles struct {
	declared map[string][]declared // by kind
}

// declared is a name that a file declares: a resource, or what a generator makes.
type declared struct {
	name string
	path git.Path
	line int
}

func (k *kustomizer) sources() *sourceFiles {
	s := &sourceFiles{declared: map[string][]declared{}}
	for _, p := range sortedPaths(k.seen) {
		kustomization := slices.Contains(kustomizationNames[:], path.Base(string(p)))
		if !kustomization && !slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(string(p))) {
			continue
		}
		data, err := fs.ReadFile(k.tree, string(p))
		if err != nil {
			continue // looked for and not there
		}
		docs, err := parse(p, data, dialectKustomize)
		if err != nil {
			continue // a patch, or a file of a generator
		}
		for _, doc := range docs {
			if !kustomization {
				kind := doc.content.Text("kind")
				s.declared[kind] = append(s.declared[kind], declared{doc.content.Text("metadata", "name"), p, doc.line})
				continue
			}
			for kind, field := range map[string]string{"ConfigMap": "configMapGenerator", "Secret": "secretGenerator"} {
				for _, item := range listOf(doc.content.At(field)) {
					generator, _ := item.(map[string]any)
					s.declared[kind] = append(s.declared[kind], declared{text(generator, "name"), p, 0})
				}
			}
		}
	}
	return s
}

// find is where a resource is declared; false if that is not plain to see, because several places declare one that may have become it: names get
// prefixes and suffixes.
func (s *sourceFiles) find(kind, name string) (git.Path, int, bool) {
	var found []declared
	for _, d := range s.declared[kind] {
		if d.name != "" && strings.Contains(name, d.name) {
			found = append(found, d)
		}
	}
	if len(found) != 1 {
		return "", 0, false
	}
	return found[0].path, found[0].line, true
}

// line is where a resource begins in a file, 0 if that is not plain to see.
func (s *sourceFiles) line(p git.Path, kind, name string) int {
	line := 0
	for _, d := range s.declared[kind] {
		if d.path == p && d.name != "" && strings.Contains(name, d.name) {
			line = d.line
			if d.name == name {
				break
			}
		}
	}
	return line
}

// inside is a path of kustomize as one of the tree.
func inside(name string) string {
	if p := strings.TrimPrefix(path.Clean("/"+filepath.ToSlash(name)), "/"); p != "" {
		return p
	}
	return "."
}

// stat notes the path, unless it is a folder: that is there as long as what is in it.
func (k *kustomizer) stat(name string) (p string, folder bool, err error) {
	p = inside(name)
	info, err := fs.Stat(k.tree, p)
	folder = err == nil && info.IsDir()
	if !folder {
		k.seen[git.Path(p)] = true
	}
	return p, folder, err
}

func (k *kustomizer) IsDir(name string) bool {
	_, folder, _ := k.stat(name)
	return folder
}

func (k *kustomizer) Exists(name string) bool {
	_, _, err := k.stat(name)
	return err == nil
}

func (k *kustomizer) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	p, folder, err := k.stat(name)
	switch {
	case err != nil:
		return "", "", err
	case folder:
		return filesys.ConfirmedDir(path.Join("/", p)), "", nil
	}
	return filesys.ConfirmedDir(path.Join("/", path.Dir(p))), path.Base(p), nil
}

func (k *kustomizer) ReadDir(name string) ([]string, error) {
	k.seen[git.Path(inside(name))] = true
	entries, err := fs.ReadDir(k.tree, inside(name))
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (k *kustomizer) Glob(pattern string) ([]string, error) {
	dir, _, _ := strings.Cut(inside(pattern), "*")
	k.seen[git.Path(path.Dir(dir))] = true
	found, err := fs.Glob(k.tree, inside(pattern))
	for i := range found {
		found[i] = "/" + found[i]
	}
	return found, err
}

func (k *kustomizer) ReadFile(name string) ([]byte, error) {
	p, folder, err := k.stat(name) // what may be a base is first read as a file
	if err != nil {
		return nil, err
	}
	if folder {
		return nil, &fs.PathError{Op: "read", Path: p, Err: errors.New("is a folder")}
	}
	if k.refused == nil {
		k.refused = k.within(p)
	}
	if k.refused != nil {
		return nil, k.refused
	}
	data, err := fs.ReadFile(k.tree, p)
	if err == nil {
		k.files, k.bytes = k.files+1, k.bytes+int64(len(data))
		err = k.admit(git.Path(p), data)
	}
	return data, err
}

// within says why a file must not be read any more, or at all.
func (k *kustomizer) within(p string) error {
	info, err := fs.Stat(k.tree, p)
	switch {
	case k.ctx.Err() != nil:
		return context.Cause(k.ctx)
	case err == nil && info.Size() > k.limits.FileSize:
		return &refusedFile{path: git.Path(p), err: fmt.Errorf("larger than %d bytes", k.limits.FileSize)}
	case k.files >= k.limits.Files:
		return fmt.Errorf("%w: a kustomization that reads more than %d files", ErrLimit, k.limits.Files)
	case k.bytes > k.limits.Bytes:
		return fmt.Errorf("%w: a kustomization that reads more than %d bytes", ErrLimit, k.limits.Bytes)
	}
	return nil
}

func (k *kustomizer) Open(name string) (filesys.File, error) {
	data, err := k.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return readOnlyFile{&overlaid{bytes.NewReader(data), overlaidInfo{path.Base(name), len(data)}}}, nil
}

type readOnlyFile struct{ *overlaid }

func (readOnlyFile) Write([]byte) (int, error) { return 0, fs.ErrPermission }

func (k *kustomizer) Walk(name string, visit filepath.WalkFunc) error {
	k.seen[git.Path(inside(name))] = true
	return fs.WalkDir(k.tree, inside(name), func(p string, entry fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = entry.Info()
		}
		return visit(path.Join("/", p), info, err)
	})
}

func (k *kustomizer) Create(string) (filesys.File, error) { return nil, fs.ErrPermission }
func (k *kustomizer) Mkdir(string) error                  { return fs.ErrPermission }
func (k *kustomizer) MkdirAll(string) error               { return fs.ErrPermission }
func (k *kustomizer) RemoveAll(string) error              { return fs.ErrPermission }
func (k *kustomizer) WriteFile(string, []byte) error      { return fs.ErrPermission }

// refusedFile is a file that is not shown to kustomize.
type refusedFile struct {
	path git.Path
	line int // 0 if it concerns no line in particular
	err  error
}

func (e *refusedFile) Error() string { return string(e.path) + ": " + e.err.Error() }

// admit refuses a kustomization, or the configuration of a generator, transformer or validator, that would have kustomize run git or fetch a file.
// What cannot be read here is refused too: kustomize may read it in another way.
func (k *kustomizer) admit(p git.Path, data []byte) error {
	if what := explodes(data); what != "" {
		k.refused = &refusedFile{path: p, err: errors.New(what)}
		return k.refused
	}
	kustomization := slices.Contains(kustomizationNames[:], path.Base(string(p)))
	if !kustomization && !k.configures[p] {
		return nil
	}
	docs, err := parse(p, data, dialectKubernetes)
	var syntax *syntaxError
	if errors.As(err, &syntax) {
		k.refused = &refusedFile{path: p, line: syntax.line, err: errors.New(syntax.what)}
		return k.refused
	}
	for _, doc := range docs {
		if err := k.admitOne(doc, kustomization); err != nil {
			k.refused = &refusedFile{path: p, line: doc.line, err: err}
			return k.refused
		}
	}
	return err
}

// maxAliased bounds the values of a file for kustomize, which takes some 15 µs for each.
const maxAliased = 1 << 17

// explodes tells what is wrong with a file, or a patch in place, whose aliases kustomize would expand without a bound; "" if nothing is. Files
// without aliases cannot grow.
func explodes(data []byte) string {
	if !bytes.Contains(data, []byte("&")) || !bytes.Contains(data, []byte("*")) {
		return ""
	}
	dec := yamlv3.NewDecoder(bytes.NewReader(data))
	values := 0
	for {
		var node yamlv3.Node
		if err := decodeNode(dec, &node); err != nil {
			return "" // it ends here, or kustomize says what is wrong with it
		}
		if values += expanded(&node, maxAliased-values, 0); values >= maxAliased {
			return fmt.Sprintf("its aliases make it grow beyond %d values", maxAliased)
		}
	}
}

// expanded counts the values of a node with its aliases expanded, as far as most.
func expanded(n *yamlv3.Node, most, depth int) int {
	if most <= 0 || depth > maxDepth {
		return max(most, 1)
	}
	if n.Kind == yamlv3.AliasNode {
		n = n.Alias
	}
	count := 1
	for _, item := range n.Content {
		if count += expanded(item, most-count, depth+1); count >= most {
			return most
		}
	}
	return count
}

func (k *kustomizer) admitOne(doc *document, kustomization bool) error {
	if remote := remoteFile(doc.content.Map()); remote != "" {
		return fmt.Errorf("%s is not in this repository, and nothing is fetched from elsewhere", remote)
	}
	if !kustomization {
		return nil
	}
	for _, p := range inPlace(doc.content.Map()) {
		if what := explodes([]byte(p)); what != "" {
			return errors.New("a patch: " + what)
		}
	}
	for _, field := range []string{"helmCharts", "helmChartInflationGenerator", "helmGlobals"} {
		if doc.content.At(field) != nil {
			return fmt.Errorf("%s: kustomize would run helm and fetch a chart, which is not done here", field)
		}
	}
	for _, field := range []string{"resources", "bases", "components", "crds", "configurations"} {
		for _, item := range listOf(doc.content.At(field)) {
			if s, _ := item.(string); s != "" {
				if _, err := k.local(doc, s); err != nil {
					return fmt.Errorf("%s: %w", field, err)
				}
			}
		}
	}
	for _, field := range []string{"generators", "transformers", "validators"} {
		for _, item := range listOf(doc.content.At(field)) {
			if s, _ := item.(string); s != "" {
				if err := k.admitConfiguration(doc, s); err != nil {
					return fmt.Errorf("%s: %w", field, err)
				}
			}
		}
	}
	return nil
}

// local finds what a kustomization names in the tree; anything else kustomize would take for a remote base.
func (k *kustomizer) local(doc *document, name string) (fs.FileInfo, error) {
	info, err := fs.Stat(k.tree, string(join(git.Path(path.Dir(string(doc.path))), name)))
	if err != nil || remoteBase(name) {
		return nil, fmt.Errorf("%s is not in this repository, and nothing is fetched from elsewhere", name)
	}
	return info, nil
}

// admitConfiguration looks at what configures a generator, transformer or validator: written in place, or a file, which is looked at when it is read. A
// folder could make it of parts, after they were looked at.
func (k *kustomizer) admitConfiguration(doc *document, s string) error {
	if strings.Contains(s, "\n") {
		docs, err := parse(doc.path, []byte(s), dialectKubernetes)
		for _, inner := range docs {
			err = errors.Join(err, k.admitOne(inner, false))
		}
		return err
	}
	info, err := k.local(doc, s)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%s is a folder: name the files that configure it", s)
	}
	k.configures[join(git.Path(path.Dir(string(doc.path))), s)] = true
	return nil
}

// inPlace are the patches that a kustomization holds itself.
func inPlace(content map[string]any) []string {
	var texts []string
	for _, field := range []string{"patches", "patchesStrategicMerge", "patchesJson6902"} {
		for _, item := range listOf(content[field]) {
			switch item := item.(type) {
			case string:
				texts = append(texts, item)
			case map[string]any:
				texts = append(texts, text(item, "patch"))
			}
		}
	}
	return texts
}

// remoteBase tells whether kustomize would clone a repository, even where a folder of that name is in the tree.
func remoteBase(s string) bool {
	return isURL(s) || (&resource.Origin{}).Append(s).Repo != ""
}

// isURL is how kustomize tells a file to fetch from a path.
func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}

// remoteFile finds a URL where kustomize takes the path of a file.
func remoteFile(v any) string {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			switch key {
			case "path", "paths", "files", "envs", "env", "replacements", "patches", "patchesStrategicMerge", "patchesJson6902", "openapi", "crds",
				"configMapGenerator", "secretGenerator", "configurations":
				if s := remoteFile(v[key]); s != "" {
					return s
				}
			}
		}
	case []any:
		for _, item := range v {
			if s := remoteFile(item); s != "" {
				return s
			}
		}
	case string:
		if _, file, named := strings.Cut(v, "="); named && isURL(file) {
			return file
		}
		if isURL(v) {
			return v
		}
	}
	return ""
}
