package manifest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
)

// fleetFiles are the names by which Fleet knows the options of a bundle, in its order.
var fleetFiles = [...]string{"fleet.yaml", "fleet.yml"}

// bundleFinder finds the bundles of a GitRepo, as `fleet apply` does (fleet, internal/cmd/cli/apply).
type bundleFinder struct {
	r    *renderer
	b    *Build
	u    *gitRepoUnit
	tree fs.FS
}

func (f *bundleFinder) find() (err error) {
	if f.tree, err = f.r.tree(f.b.Repository); err != nil {
		return err
	}
	for _, given := range f.u.spec.Bundles {
		if err := f.given(given.Base, given.Options); err != nil {
			return err
		}
	}
	paths := f.u.spec.Paths
	if len(paths) == 0 && len(f.u.spec.Bundles) == 0 {
		paths = []string{"."}
	}
	for _, pattern := range paths {
		dirs, err := f.folders(pattern)
		if err != nil {
			return err
		}
		for _, dir := range dirs {
			if err := f.below(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// given makes the bundle of a folder that the GitRepo names together with the file of its options.
func (f *bundleFinder) given(base, options string) error {
	dir, err := git.ParsePath(strings.TrimLeft(base, "/"))
	if err == nil && options != "" {
		_, err = git.ParsePath(options)
	}
	if err != nil {
		f.r.problem(f.u.self.at, "%s: spec.bundles: %v", f.u.self.name(), err)
		return errReported
	}
	if _, err := f.r.input(f.b, file{f.b.Repository, dir}); err != nil {
		return err
	}
	return f.bundle(dir, options)
}

// folders are those that a path of the GitRepo names; stars stand for names.
func (f *bundleFinder) folders(pattern string) ([]git.Path, error) {
	pattern = path.Clean(strings.TrimLeft(pattern, "/"))
	fixed := pattern
	for strings.ContainsAny(fixed, `*?[\`) {
		fixed = path.Dir(fixed)
	}
	p, err := git.ParsePath(fixed)
	if err != nil {
		f.r.problem(f.u.self.at, "%s: spec.paths: %v", f.u.self.name(), err)
		return nil, errReported
	}
	if _, err := f.r.input(f.b, file{f.b.Repository, p}); err != nil {
		return nil, err
	}
	names, err := fs.Glob(f.tree, pattern)
	switch {
	case errors.Is(err, path.ErrBadPattern), err == nil && len(names) == 0 && fixed == pattern:
		f.r.problem(f.u.self.at, "%s: spec.paths: no folder %s in repository %s", f.u.self.name(), pattern, f.b.Repository)
		return nil, errReported
	case err != nil:
		return nil, err
	}
	var dirs []git.Path
	for _, name := range names {
		if info, err := fs.Stat(f.tree, name); err == nil && info.IsDir() {
			dirs = append(dirs, git.Path(name))
		}
	}
	return dirs, nil
}

// below makes a bundle of each folder with a fleet.yaml, and one of the folder itself if manifests stand outside those.
func (f *bundleFinder) below(root git.Path) error {
	return fs.WalkDir(f.tree, string(root), func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		if err := f.r.stop(); err != nil {
			return err
		}
		dir := git.Path(name)
		makes := f.options(dir) != ""
		if dir == root && !makes {
			if makes, err = f.hasLooseManifests(dir); err != nil {
				return err
			}
		}
		if makes {
			return f.bundle(dir, "")
		}
		return nil
	})
}

// options is the name of a folder's own options, "" if it has none.
func (f *bundleFinder) options(dir git.Path) string {
	for _, name := range fleetFiles {
		if info, err := fs.Stat(f.tree, string(join(dir, name))); err == nil && info.Mode().IsRegular() {
			return name
		}
	}
	return ""
}

// hasLooseManifests tells whether a YAML file stands in a folder or below, outside of folders with a fleet.yaml.
func (f *bundleFinder) hasLooseManifests(dir git.Path) (bool, error) {
	if f.options(dir) != "" {
		return false, nil
	}
	entries, err := fs.ReadDir(f.tree, string(dir))
	if err != nil {
		return false, err
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			if ext := path.Ext(entry.Name()); ext == ".yaml" || ext == ".yml" {
				return true, nil
			}
			continue
		}
		if has, err := f.hasLooseManifests(join(dir, entry.Name())); has || err != nil {
			return has, err
		}
	}
	return false, nil
}

// bundle notes the bundle of a folder, with its options for this cluster. options names the file that holds them, "" for the fleet.yaml.
func (f *bundleFinder) bundle(dir git.Path, options string) error {
	name := path.Join(f.u.self.owner.Name, string(dir))
	if options != "" {
		name = path.Join(name, strings.TrimSuffix(options, path.Ext(options)))
	} else {
		options = f.options(dir)
	}
	found := &fleetBundle{
		Name: agent.FleetReleaseName(name), Of: f.u.self.owner.Name, Dir: file{f.b.Repository, dir}, Scope: f.u.cluster.Scope,
	}
	y := &fleetYAML{}
	if options != "" {
		at := file{f.b.Repository, join(dir, options)}
		id, err := f.r.fileID(at)
		if err == nil && id == "" {
			f.r.problem(f.u.self.at, "%s: spec.bundles: no file %s in repository %s", f.u.self.name(), at.path, at.repository)
			return errReported
		}
		if err == nil {
			y, err = f.r.readFleetYAML(f.b, at)
		}
		if err != nil {
			return err
		}
		found.ShapedBy, found.Apart = []git.Path{at.path}, []git.Path{at.path}
	}
	if y.Name != "" {
		found.Name = y.Name
	}
	f.b.Bundles = append(f.b.Bundles, found.Name)
	if err := f.values(found, y); err != nil {
		return err
	}
	y.ServiceAccount = cmp.Or(f.u.spec.ServiceAccount, y.ServiceAccount)
	deployed := false
	if found.Options, deployed = y.optionsFor(f.u.cluster); !deployed {
		return nil
	}
	if f.u.spec.TargetNamespace != "" {
		found.Options.TargetNamespace = f.u.spec.TargetNamespace
	}
	found.Options.KeepResources = found.Options.KeepResources || f.u.spec.KeepResources
	if len(y.ImageScans) > 0 {
		found.Unfollowed = "imageScans has Fleet make commits that nobody signs"
	}
	return f.r.finishBundle(f.b, found, f.u.cluster)
}

// finishBundle fills in the values of a bundle for the cluster, and notes it.
func (r *renderer) finishBundle(b *Build, found *fleetBundle, cluster v1alpha1.FleetCluster) error {
	var refused *refusedFile
	switch err := found.Options.Helm.preprocess(r, cluster, found.Dir.path); {
	case errors.As(err, &refused):
		found.Unfollowed = refused.err.Error()
	case err != nil:
		return err
	}
	b.bundles = append(b.bundles, found)
	return nil
}

// values lays the values files over the values, of the bundle and of each target.
func (f *bundleFinder) values(found *fleetBundle, y *fleetYAML) error {
	helms := []*fleetHelm{&y.Helm}
	for _, targets := range [][]fleetTarget{y.Targets, y.TargetCustomizations} {
		for i := range targets {
			helms = append(helms, &targets[i].Helm)
		}
	}
	for i, h := range helms {
		found.Remote = found.Remote || h.Repo != "" || strings.Contains(h.Chart, "://")
		if i == 0 && h.Chart == "" {
			continue // Fleet reads those of a bundle only where it names its chart
		}
		for _, name := range h.ValuesFiles {
			at := Source{Repository: f.b.Repository, Path: found.ShapedBy[0]}
			p, err := git.ParsePath(path.Join(string(found.Dir.path), name))
			if err != nil {
				f.r.problem(at, "valuesFiles: %v", err)
				return errReported
			}
			values, there, err := f.r.valuesFile(f.b, file{f.b.Repository, p})
			switch {
			case err != nil:
				return err
			case !there:
				f.r.problem(at, "valuesFiles: no file %s", p)
				return errReported
			}
			h.Values = mergeValues(h.Values, values)
			found.ShapedBy, found.Apart = append(found.ShapedBy, p), append(found.Apart, p)
		}
	}
	return nil
}

// preprocess fills what is known of the cluster into the values, as Fleet's controller does for clusters with labels
// (internal/cmd/controller/target, preprocessHelmValues).
func (h *fleetHelm) preprocess(r *renderer, c v1alpha1.FleetCluster, at git.Path) error {
	if len(c.Labels) == 0 || len(h.Values)+len(h.TemplateValues) == 0 {
		return nil
	}
	h.Values, _ = withLabels(h.Values, c.Labels).(map[string]any)
	if h.DisablePreProcess {
		return nil
	}
	var own map[string]any
	if c.TemplateValues != nil {
		if err := yaml.Unmarshal(c.TemplateValues.Raw, &own); err != nil {
			return &refusedFile{err: fmt.Errorf("templateValues of the cluster: %w", err)}
		}
	}
	context := map[string]any{
		"ClusterNamespace": c.Namespace, "ClusterName": c.Name, "ClusterLabels": anyStrings(c.Labels), "ClusterAnnotations": anyStrings(c.Annotations), "ClusterValues": own,
	}
	text, err := yaml.Marshal(h.Values)
	if err != nil {
		return fmt.Errorf("helm.values: %w", err)
	}
	fill := func(what, text string) (any, error) { // it can loop, so that the engine does it
		a, err := r.do(emptyFolder{}, at, job{Fill: &fillJob{Fleet: what, Template: text, Values: context}})
		if err != nil {
			return nil, err
		}
		return a.Value, nil
	}
	filled, err := fill("helm.values", string(text))
	if err != nil {
		return err
	}
	h.Values, _ = filled.(map[string]any)
	for _, k := range slices.Sorted(maps.Keys(h.TemplateValues)) {
		if h.Values == nil {
			h.Values = map[string]any{}
		}
		if h.Values[k], err = fill("helm.templateValues."+k, h.TemplateValues[k]); err != nil {
			return err
		}
	}
	return nil
}

// fillFleet fills in a template of YAML. Functions that give something else each time, or ask the machine, are not there: who uses them is told so.
func fillFleet(what, text string, context map[string]any) (any, error) {
	functions := sprig.HermeticTxtFuncMap()
	maps.Copy(functions, boundedFunctions())
	t, err := template.New("").Funcs(functions).Option("missingkey=error").Delims("${", "}").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	out := &boundedText{left: maxTemplateText}
	if err := t.Execute(out, context); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	docs, err := parse("values.yaml", []byte("value:\n"+indented(out.String())), dialectKubernetes)
	if err != nil || len(docs) != 1 {
		return nil, fmt.Errorf("%s: the template makes no YAML: %w", what, err)
	}
	plain, err := json.Marshal(docs[0].content.At("value"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	var value any // its numbers are floats, as everywhere on Fleet's way to Helm
	err = json.Unmarshal(plain, &value)
	return value, err
}

func indented(text string) string {
	var b bytes.Buffer
	for line := range strings.Lines(text) {
		b.WriteString("  " + line)
	}
	return b.String()
}

// withLabels replaces the text global.fleet.clusterLabels.NAME by the cluster's label, wherever it is a value.
func withLabels(v any, labels map[string]string) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			out[k] = withLabels(item, labels)
			if s, ok := item.(string); ok {
				if name, ok := strings.CutPrefix(s, "global.fleet.clusterLabels."); ok {
					out[k] = labels[name]
				}
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = withLabels(item, labels)
		}
		return out
	}
	return v
}

func anyStrings(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}
