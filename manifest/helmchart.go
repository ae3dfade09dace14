package manifest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"helm.sh/helm/v4/pkg/ignore"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"

	"github.com/commitgate/commitgate/git"
)

// helmOptions are what a release gives to a chart.
type helmOptions struct {
	Release, Namespace string
	Values             map[string]any
	ChartValues        map[string]any // in the place of the chart's own values.yaml; nil: those
	KubeVersion        string         // "" is that of the Kubernetes libraries in this program
	APIVersions        []string       // served by the cluster beside the built-in ones
	CRDs               bool           // also what stands in crds/
	// ValuesFiles are files of the chart that stand in for its own values.yaml, in their order; IgnoreMissing: those that are not there are left out.
	ValuesFiles   []string
	IgnoreMissing bool
	// Build is the build metadata that the agent writes into the chart's version, "" if it does not. Numbered: a number that nobody knows is part of it.
	Build    string
	Numbered bool
	// Packed are the packed charts that the chart depends on and does not hold, by name, as files of the tree.
	Packed map[string]git.Path

	hidden *releaseValues // in the place of Values, where some of them are hidden; it stays in this process
}

// helmTemplate renders a chart of the tree as `helm template` does, without a cluster: lookup finds nothing. What a chart makes up anew each time
// (a random password, a certificate, the time) or what depends on how often it was upgraded cannot be known: those values come as opaque paths, by
// document. inputs are the files and folders that were read. at is told of each template that is begun with.
func helmTemplate(tree fs.FS, dir git.Path, o helmOptions, at func(path string)) (docs []*document, inputs []git.Path, err error) {
	h := &helmChart{tree: tree, seen: map[git.Path]bool{}, at: at, packed: o.Packed}
	docs, err = h.template(dir, o)
	return docs, sortedPaths(h.seen), err
}

// helmChart reads charts out of a tree.
type helmChart struct {
	tree   fs.FS
	seen   map[git.Path]bool
	at     func(path string)
	packed map[string]git.Path // of charts that it depends on, by name
	number int                 // of renderings
}

func (h *helmChart) template(dir git.Path, o helmOptions) ([]*document, error) {
	first, err := h.render(dir, o, false)
	if err != nil {
		return nil, err
	}
	if first.steady && !o.Numbered {
		return first.docs, nil
	}
	second, err := h.render(dir, o, true)
	if err != nil {
		return nil, err
	}
	installed := compare(first.docs, second.docs)
	upgraded := without(second.docs, first.docs)
	for upgrade, only := range map[bool][]*document{false: installed, true: upgraded} {
		if len(only) == 0 {
			continue
		}
		again, err := h.render(dir, o, upgrade)
		if err != nil {
			return nil, err
		}
		for _, doc := range compare(only, again.docs) {
			doc.nameless = true
		}
	}
	return append(first.docs, upgraded...), nil
}

// compare notes as opaque what the documents of another rendering say differently, and returns those that it has not at all.
func compare(docs, again []*document) (missing []*document) {
	counterparts := map[Key][]*document{}
	for _, doc := range again {
		k := identity(doc.content)
		counterparts[k] = append(counterparts[k], doc)
	}
	for _, doc := range docs {
		k := identity(doc.content)
		if len(counterparts[k]) == 0 {
			missing = append(missing, doc)
			continue
		}
		differing(doc.content.Map(), counterparts[k][0].content.Map(), nil, &doc.opaque)
		counterparts[k] = counterparts[k][1:]
	}
	return missing
}

// without are the documents of objects that others do not have.
func without(docs, others []*document) []*document {
	have := map[Key]bool{}
	for _, doc := range others {
		have[identity(doc.content)] = true
	}
	return slices.DeleteFunc(slices.Clone(docs), func(doc *document) bool { return have[identity(doc.content)] })
}

// differing finds the leaves that two renderings do not have in common.
func differing(a, b any, at []string, found *[]string) {
	switch a := a.(type) {
	case map[string]any:
		b, _ := b.(map[string]any)
		for _, k := range slices.Sorted(maps.Keys(a)) {
			differing(a[k], b[k], append(at[:len(at):len(at)], k), found)
		}
	case []any:
		b, _ := b.([]any)
		for i, item := range a {
			var other any
			step := strconv.Itoa(i)
			if i < len(b) {
				other = b[i]
			}
			if len(a) != len(b) {
				step = "*" // which items these are depends on the rendering
			}
			differing(item, other, append(at[:len(at):len(at)], step), found)
		}
	default:
		if a != b {
			if p := fieldPath(at); !slices.Contains(*found, p) {
				*found = append(*found, p)
			}
		}
	}
}

// unsteady finds the functions and fields of templates that do not give the same each time.
func unsteady(templates []*common.File) bool {
	pattern := regexp.MustCompile(`\b(rand[A-Z][A-Za-z]*|randInt|gen[A-Z][A-Za-z]*|uuidv4|now|ago|shuffle|bcrypt|htpasswd|encryptAES|derivePassword|date[A-Za-z]*|htmlDate[A-Za-z]*|` +
		`IsInstall|IsUpgrade|Revision|lookup|tpl)\b`)
	return slices.ContainsFunc(templates, func(f *common.File) bool { return pattern.Match(f.Data) })
}

type helmRendering struct {
	docs   []*document
	steady bool // a second rendering would say the same
}

func (h *helmChart) render(dir git.Path, o helmOptions, upgrade bool) (helmRendering, error) {
	var made helmRendering
	c, err := h.load(dir, 0)
	if err != nil {
		return made, err
	}
	h.setBuild(c, o)
	if o.ChartValues != nil {
		c.Values = o.ChartValues
	}
	if len(o.ValuesFiles) > 0 {
		if c.Values, err = ownValues(c, o); err != nil {
			return made, err
		}
	}
	values := deepCopy(o.Values)
	if err := chartutil.ProcessDependencies(c, values); err != nil {
		return made, fmt.Errorf("dependencies of chart %s: %w", c.Name(), err)
	}
	capabilities := common.DefaultCapabilities.Copy()
	if o.KubeVersion != "" {
		v, err := common.ParseKubeVersion(o.KubeVersion)
		if err != nil {
			return made, fmt.Errorf("kubeVersion %s: %w", o.KubeVersion, err)
		}
		capabilities.KubeVersion = *v
	}
	capabilities.APIVersions = append(slices.Clip(capabilities.APIVersions), o.APIVersions...)
	if want := c.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, capabilities.KubeVersion.String()) {
		return made, fmt.Errorf("chart %s wants Kubernetes %s, and the cluster is taken for %s", c.Name(), want, capabilities.KubeVersion.String())
	}
	release := common.ReleaseOptions{Name: o.Release, Namespace: o.Namespace, Revision: 1, IsInstall: !upgrade, IsUpgrade: upgrade}
	if upgrade {
		release.Revision = 2
	}
	// The chart's JSON schema is the agent's to check: one may name schemas of the network, and it changes nothing of what is rendered.
	input, err := util.ToRenderValuesWithSchemaValidation(c, values, release, capabilities, true)
	if err != nil {
		return made, fmt.Errorf("values of chart %s: %w", c.Name(), err)
	}
	functions := boundedFunctions()
	if upgrade { // or two renderings in the same second would agree on the time
		functions["now"] = func() time.Time { return time.Now().AddDate(-1, -1, -1).Add(-time.Hour - time.Minute - time.Second) }
	}
	h.announce(dir, c, functions)
	made.steady = steady(c)
	files, err := engine.Engine{CustomTemplateFuncs: functions}.Render(c, input)
	if err != nil {
		return made, h.templateError(dir, c, err)
	}
	return made, h.collect(&made, dir, c, files, o.CRDs)
}

// setBuild writes build metadata into the version of a chart: another number each time, so that what comes of it is seen to differ.
func (h *helmChart) setBuild(c *chart.Chart, o helmOptions) {
	build := o.Build
	if o.Numbered {
		h.number++
		build = strings.TrimPrefix(build+"."+strconv.Itoa(h.number), ".")
	}
	if build != "" {
		version, _, _ := strings.Cut(c.Metadata.Version, "+")
		c.Metadata.Version = version + "+" + build
	}
}

// ownValues are the files of a chart that stand in for its values.yaml, merged as source-controller merges them (internal/helm/chart).
func ownValues(c *chart.Chart, o helmOptions) (map[string]any, error) {
	merged := map[string]any{}
	for _, name := range o.ValuesFiles {
		clean := path.Clean(name)
		if clean == "values.yaml" {
			merged = mergeValues(merged, c.Values)
			continue
		}
		i := slices.IndexFunc(c.Files, func(f *common.File) bool { return f.Name == clean })
		switch {
		case i < 0 && o.IgnoreMissing:
			continue
		case i < 0:
			return nil, fmt.Errorf("valuesFiles: no file %s in chart %s", clean, c.Name())
		}
		values, err := common.ReadValues(c.Files[i].Data)
		if err != nil {
			return nil, fmt.Errorf("valuesFiles: file %s of chart %s is no map of values", clean, c.Name())
		}
		merged = mergeValues(merged, values)
	}
	return merged, nil
}

// announce has each template that Helm executes begin with telling that it does. That adds nothing to what it makes.
func (h *helmChart) announce(dir git.Path, c *chart.Chart, functions map[string]any) {
	const begun = "commitgateBegun"
	functions[begun] = func(name string) string {
		h.at(string(h.locate(dir, name)))
		return ""
	}
	var below func(c *chart.Chart)
	below = func(c *chart.Chart) {
		for _, f := range c.Templates {
			if !strings.HasPrefix(path.Base(f.Name), "_") {
				name := path.Join(c.ChartFullPath(), f.Name)
				f.Data = append([]byte("{{"+begun+" "+strconv.Quote(name)+"}}"), f.Data...)
			}
		}
		for _, d := range c.Dependencies() {
			below(d)
		}
	}
	below(c)
}

func steady(c *chart.Chart) bool {
	return !unsteady(c.Templates) && !slices.ContainsFunc(c.Dependencies(), func(d *chart.Chart) bool { return !steady(d) })
}

// collect makes documents of what the templates gave.
func (h *helmChart) collect(made *helmRendering, dir git.Path, c *chart.Chart, files map[string]string, crds bool) error {
	if crds {
		for _, crd := range c.CRDObjects() {
			if err := made.add(h.locate(dir, crd.Filename), crd.File.Data, true); err != nil {
				return err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, "NOTES.txt") {
			continue
		}
		at := h.locate(dir, name)
		// Helm's own reading: where one document ends (---apiVersion too begins another), and which hooks it does not know and leaves out.
		hooks, manifests, err := releaseutil.SortManifests(map[string]string{name: files[name]}, nil, releaseutil.InstallOrder)
		if err != nil {
			return cmp.Or(made.add(at, []byte(files[name]), false), error(&refusedFile{path: at, err: err}))
		}
		for _, m := range manifests {
			if err := made.add(at, []byte(m.Content), false); err != nil {
				return err
			}
		}
		for _, hook := range hooks {
			if err := made.add(at, []byte(hook.Manifest), false); err != nil {
				return err
			}
		}
	}
	return nil
}

// add reads what a template gave.
func (made *helmRendering) add(at git.Path, text []byte, crd bool) error {
	docs, err := parseRendered(at, text)
	for _, doc := range docs {
		doc.crd = crd
		if kind, _ := kindOf(doc.content); kind.kind != "" {
			made.docs = append(made.docs, doc)
		}
	}
	var syntax *syntaxError
	if errors.As(err, &syntax) {
		return &refusedFile{path: at, err: fmt.Errorf("renders to something that is not YAML (line %d of it): %s", syntax.line, withoutQuotes(syntax.what))}
	}
	return err
}

// locate is the file of a chart's template: its name begins with that of the chart. What is packed in an archive stands for itself in Chart.yaml.
func (h *helmChart) locate(dir git.Path, name string) git.Path {
	if _, below, ok := strings.Cut(name, "/"); ok {
		if p := join(dir, below); h.isFile(p) {
			return p
		}
	}
	return join(dir, "Chart.yaml")
}

func (h *helmChart) isFile(p git.Path) bool {
	info, err := fs.Stat(h.tree, string(p))
	return err == nil && info.Mode().IsRegular()
}

// load loads a chart with what it depends on: from charts/, or from a folder of the tree (repository: file://…).
func (h *helmChart) load(dir git.Path, depth int) (*chart.Chart, error) {
	if depth > 16 {
		return nil, fmt.Errorf("chart %s: its dependencies lead in a circle", dir)
	}
	if strings.HasSuffix(string(dir), ".tgz") {
		return h.unpack(dir)
	}
	files, err := h.files(dir)
	if err != nil {
		return nil, err
	}
	c, err := loader.LoadFiles(files)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", dir, err)
	}
	for _, d := range c.Metadata.Dependencies {
		if slices.ContainsFunc(c.Dependencies(), func(have *chart.Chart) bool { return have.Name() == d.Name }) {
			continue
		}
		local, ok := strings.CutPrefix(d.Repository, "file://")
		if p, packed := h.packed[d.Name]; packed && depth == 0 {
			below, err := h.unpack(p)
			if err != nil {
				return nil, err
			}
			c.AddDependency(below)
			continue
		}
		if !ok {
			return nil, fmt.Errorf("chart %s depends on %s of %s, which is not in its charts folder: put it there, nothing is fetched", dir, d.Name, d.Repository)
		}
		below, err := h.load(join(dir, local), depth+1)
		if err != nil {
			return nil, err
		}
		c.AddDependency(below)
	}
	return c, nil
}

// unpack loads a packed chart, within Helm's own bounds.
func (h *helmChart) unpack(p git.Path) (*chart.Chart, error) {
	data, err := fs.ReadFile(h.tree, string(p))
	if err != nil {
		return nil, err
	}
	files, err := archive.LoadArchiveFiles(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("packed chart: %w", err)
	}
	c, err := loader.LoadFiles(files)
	if err != nil {
		return nil, fmt.Errorf("packed chart: %w", err)
	}
	return c, nil
}

// files are the files of a chart's folder, but for those that its .helmignore names.
func (h *helmChart) files(dir git.Path) ([]*archive.BufferedFile, error) {
	h.seen[dir] = true
	rules := ignore.Empty()
	if text, err := fs.ReadFile(h.tree, string(join(dir, ignore.HelmIgnore))); err == nil {
		if rules, err = ignore.Parse(bytes.NewReader(text)); err != nil {
			return nil, &refusedFile{path: join(dir, ignore.HelmIgnore), err: err}
		}
	}
	rules.AddDefaults()
	var files []*archive.BufferedFile
	var size int64
	err := fs.WalkDir(h.tree, string(dir), func(name string, entry fs.DirEntry, err error) error {
		below := strings.TrimPrefix(strings.TrimPrefix(name, string(dir)), "/")
		if err != nil || below == "" || git.Path(name) == dir {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch ignored := rules.Ignore(below, info); {
		case ignored && entry.IsDir():
			return fs.SkipDir
		case ignored, entry.IsDir():
			return nil
		case !info.Mode().IsRegular():
			return &refusedFile{path: git.Path(name), err: errors.New("a symbolic link or submodule in a chart, which is not followed")}
		}
		if size += info.Size(); info.Size() > archive.MaxDecompressedFileSize || size > archive.MaxDecompressedChartSize {
			return &refusedFile{path: git.Path(name), err: errors.New("the chart is larger than Helm takes")}
		}
		data, err := fs.ReadFile(h.tree, name)
		files = append(files, &archive.BufferedFile{Name: below, Data: bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))})
		return err
	})
	return files, err
}

// deepCopy copies values, which Helm changes.
func deepCopy(values map[string]any) map[string]any {
	out := make(map[string]any, len(values))
	for k, v := range values {
		if m, ok := v.(map[string]any); ok {
			v = deepCopy(m)
		}
		out[k] = v
	}
	return out
}
