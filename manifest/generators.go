package manifest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/git"
)

// generators makes the parameters of an ApplicationSet.
type generators struct {
	r *renderer
	b *Build
	u *applicationSetUnit
}

func (g *generators) wrong(format string, args ...any) error {
	g.r.problem(g.u.self.at, "%s: %s", g.u.self.name(), fmt.Sprintf(format, args...))
	return errReported
}

// generate runs one generator. Those that ask a cluster, a forge or a program are named, and what they would make is not declared.
func (g *generators) generate(generator map[string]any, depth int) ([]params, error) {
	var found []params
	var err error
	for _, kind := range slices.Sorted(maps.Keys(generator)) {
		body, _ := generator[kind].(map[string]any)
		switch kind {
		case "selector":
			continue
		case "list":
			found, err = g.list(body)
		case "git":
			found, err = g.git(body)
		case "matrix", "merge":
			if depth > 1 {
				return nil, g.wrong("generators nested more than twice")
			}
			if kind == "matrix" {
				found, err = g.matrix(body, depth)
			} else {
				found, err = g.merge(body, depth)
			}
		default:
			return nil, g.r.unfollow(&g.u.self, g.b, "generator %s asks something other than Git", kind)
		}
		if own := childMap(body, "template"); len(own) > 0 {
			for i := range found {
				found[i].template = own
			}
		}
	}
	if selector := childMap(generator, "selector"); selector != nil && err == nil {
		kept := found[:0]
		for _, p := range found {
			ok, err := matchesSelector(selector, p.values)
			if err != nil {
				return nil, g.wrong("%v", err)
			}
			if ok {
				kept = append(kept, p)
			}
		}
		found = kept
	}
	return found, err
}

func (g *generators) list(body map[string]any) ([]params, error) {
	elements := listOf(body["elements"])
	if s := text(body, "elementsYaml"); s != "" {
		if err := yaml.Unmarshal([]byte(s), &elements); err != nil {
			return nil, g.wrong("generator list: elementsYaml: %v", err)
		}
	}
	var found []params
	for i, item := range elements {
		element, ok := item.(map[string]any)
		if !ok {
			return nil, g.wrong("generator list: element %d is no map", i)
		}
		if g.u.spec.GoTemplate {
			found = append(found, params{values: element})
			continue
		}
		values := map[string]any{}
		for k, v := range element {
			switch v := v.(type) {
			case string:
				values[k] = v
			case map[string]any:
				for name, below := range v {
					values[k+"."+name] = fmt.Sprint(below)
				}
			default:
				return nil, g.wrong("generator list: element %d: %s is not text: quote it, or use goTemplate", i, k)
			}
		}
		found = append(found, params{values: values})
	}
	return found, nil
}

// gitGenerator is the git generator.
type gitGenerator struct {
	RepoURL         string            `json:"repoURL"`
	Revision        string            `json:"revision,omitempty"`
	Directories     []gitItem         `json:"directories,omitempty"`
	Files           []gitItem         `json:"files,omitempty"`
	PathParamPrefix string            `json:"pathParamPrefix,omitempty"`
	Values          map[string]string `json:"values,omitempty"`
}

type gitItem struct {
	Path    string `json:"path"`
	Exclude bool   `json:"exclude,omitempty"`
}

func (g *generators) git(body map[string]any) ([]params, error) {
	var own gitGenerator
	data, err := json.Marshal(body)
	if err == nil {
		err = json.Unmarshal(data, &own)
	}
	if err != nil {
		return nil, g.wrong("generator git: %v", err)
	}
	t, why := g.r.argoRepository(argoSource{RepoURL: own.RepoURL, TargetRevision: own.Revision})
	if t == nil {
		return nil, g.r.unfollow(&g.u.self, g.b, "generator git: %s", why)
	}
	var found []params
	if len(own.Directories) > 0 {
		found, err = g.directories(t.Name, own)
	} else {
		found, err = g.files(t.Name, own)
	}
	if err != nil {
		return nil, err
	}
	tmpl := templater{goTemplate: g.u.spec.GoTemplate, options: g.u.spec.GoTemplateOptions}
	for i := range found {
		values := map[string]any{}
		for k, v := range own.Values {
			filled, err := g.r.fillTemplate(g.u.self.at.Path, tmpl, v, found[i].values)
			if err != nil {
				return nil, g.r.refuseFor(&g.u.self, "generator git: values."+k, err)
			}
			values[k] = filled
			if !g.u.spec.GoTemplate {
				found[i].values["values."+k] = filled
			}
		}
		if g.u.spec.GoTemplate && len(values) > 0 {
			found[i].values["values"] = values
		}
	}
	return found, nil
}

// directories gives a set of parameters for each folder that the patterns name.
func (g *generators) directories(repository string, own gitGenerator) ([]params, error) {
	var found []params
	err := g.walk(repository, own.Directories, func(p string, entry fs.DirEntry) error {
		if !entry.IsDir() {
			return nil
		}
		in, out := false, false
		for _, item := range own.Directories {
			if ok, err := path.Match(strings.TrimPrefix(item.Path, "./"), p); err == nil && ok {
				in, out = in || !item.Exclude, out || item.Exclude
			}
		}
		if in && !out {
			found = append(found, params{values: g.pathValues(own, p, "")})
		}
		return nil
	})
	return found, err
}

// files gives a set of parameters for each object in the files that the patterns name.
func (g *generators) files(repository string, own gitGenerator) ([]params, error) {
	patterns := make([]*regexp.Regexp, len(own.Files))
	for i, item := range own.Files {
		patterns[i] = pathspec(item.Path)
	}
	var found []params
	err := g.walk(repository, own.Files, func(p string, entry fs.DirEntry) error {
		if entry.IsDir() || !entry.Type().IsRegular() {
			return nil
		}
		in, out := false, false
		for i, item := range own.Files {
			if patterns[i].MatchString(p) {
				in, out = in || !item.Exclude, out || item.Exclude
			}
		}
		if !in || out {
			return nil
		}
		data, err := g.r.readBytes(file{repository, git.Path(p)})
		if err != nil {
			return err
		}
		objects, err := objectsOf(data)
		if err != nil {
			g.r.problem(Source{Repository: repository, Path: git.Path(p)}, "%s reads it: %v", g.u.self.name(), err)
			return errReported
		}
		for _, object := range objects {
			values := g.pathValues(own, path.Dir(p), path.Base(p))
			if g.u.spec.GoTemplate {
				for k, v := range object {
					if _, ok := values[k]; !ok {
						values[k] = v
					}
				}
			} else {
				flat := map[string]string{}
				flatten("", object, flat)
				for k, v := range flat {
					if _, ok := values[k]; !ok {
						values[k] = v
					}
				}
			}
			found = append(found, params{values: values})
		}
		return nil
	})
	return found, err
}

// objectsOf reads one object, or a list of them.
func objectsOf(data []byte) ([]map[string]any, error) {
	var one map[string]any
	if err := yaml.Unmarshal(data, &one); err == nil {
		return []map[string]any{one}, nil
	}
	var many []map[string]any
	err := yaml.Unmarshal(data, &many)
	return many, err
}

// walk visits what may match, and notes the folders that were looked through: those that the patterns begin with.
func (g *generators) walk(repository string, items []gitItem, visit func(string, fs.DirEntry) error) error {
	tree, err := g.r.tree(repository)
	if err != nil {
		return err
	}
	var roots []string
	for _, item := range items {
		if !item.Exclude {
			roots = append(roots, fixedPart(item.Path))
		}
	}
	slices.Sort(roots)
	seen := map[string]bool{}
	for _, root := range slices.Compact(roots) {
		id, err := g.r.input(g.b, file{repository, git.Path(root)})
		if err != nil {
			return err
		}
		if id == "" {
			continue
		}
		err = fs.WalkDir(tree, root, func(p string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case p == ".", seen[p]:
				return nil
			case entry.IsDir() && strings.HasPrefix(entry.Name(), "."):
				return fs.SkipDir
			}
			seen[p] = true
			return visit(p, entry)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fixedPart is the folder with which everything that a pattern matches begins.
func fixedPart(pattern string) string {
	var parts []string
	segments := strings.Split(strings.Trim(strings.TrimPrefix(pattern, "./"), "/"), "/")
	for _, s := range segments {
		if strings.ContainsAny(s, `*?[\{`) {
			break
		}
		parts = append(parts, s)
	}
	if len(parts) == 0 {
		return "."
	}
	return path.Join(parts...)
}

// pathspec matches as git ls-files does: a star stands for slashes too, and a folder for everything in it.
func pathspec(pattern string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("^")
	for _, c := range strings.TrimPrefix(strings.TrimPrefix(pattern, "./"), "/") {
		switch c {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteString(".")
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	b.WriteString("(/.*)?$")
	return regexp.MustCompile(b.String())
}

// pathValues are the parameters that say where something was found.
func (g *generators) pathValues(own gitGenerator, dir, base string) map[string]any {
	if g.u.spec.GoTemplate {
		segments := []any{}
		for s := range strings.SplitSeq(dir, "/") {
			segments = append(segments, s)
		}
		p := map[string]any{"path": dir, "basename": path.Base(dir), "basenameNormalized": sanitizeName(path.Base(dir)), "segments": segments}
		if base != "" {
			p["filename"], p["filenameNormalized"] = base, sanitizeName(base)
		}
		if own.PathParamPrefix != "" {
			return map[string]any{own.PathParamPrefix: map[string]any{"path": p}}
		}
		return map[string]any{"path": p}
	}
	name := "path"
	if own.PathParamPrefix != "" {
		name = own.PathParamPrefix + ".path"
	}
	values := map[string]any{name: dir, name + ".basename": path.Base(dir), name + ".basenameNormalized": sanitizeName(path.Base(dir))}
	if base != "" {
		values[name+".filename"], values[name+".filenameNormalized"] = base, sanitizeName(base)
	}
	for i, s := range strings.Split(dir, "/") {
		if s != "" {
			values[name+"["+strconv.Itoa(i)+"]"] = s
		}
	}
	return values
}

// matrix combines what two generators give; the second may be filled in with what the first gives.
func (g *generators) matrix(body map[string]any, depth int) ([]params, error) {
	pair := listOf(body["generators"])
	if len(pair) != 2 {
		return nil, g.wrong("generator matrix wants two generators, and has %d", len(pair))
	}
	first, _ := pair[0].(map[string]any)
	outer, err := g.generate(first, depth+1)
	if err != nil {
		return nil, err
	}
	tmpl := templater{goTemplate: g.u.spec.GoTemplate, options: g.u.spec.GoTemplateOptions}
	var found []params
	for _, a := range outer {
		filled, err := g.r.fillTemplate(g.u.self.at.Path, tmpl, pair[1], a.values)
		if err != nil {
			return nil, g.r.refuseFor(&g.u.self, "generator matrix", err)
		}
		second, _ := filled.(map[string]any)
		inner, err := g.generate(second, depth+1)
		if err != nil {
			return nil, err
		}
		for _, b := range inner {
			values := maps.Clone(a.values)
			for k, v := range b.values {
				if other, ok := values[k]; ok && !g.u.spec.GoTemplate && other != v {
					return nil, g.wrong("generator matrix: both generators give %s", k)
				}
				values[k] = v
			}
			found = append(found, params{values: values})
		}
		if len(found) > maxApplications {
			return nil, g.wrong("generator matrix makes more than %d applications", maxApplications)
		}
	}
	return found, nil
}

// merge lays what later generators give over what the first gives, where the merge keys agree.
func (g *generators) merge(body map[string]any, depth int) ([]params, error) {
	list := listOf(body["generators"])
	keys := listOf(body["mergeKeys"])
	if len(list) < 2 || len(keys) == 0 {
		return nil, g.wrong("generator merge wants two generators and mergeKeys")
	}
	keyOf := func(values map[string]any) string {
		flat := map[string]string{}
		flatten("", values, flat)
		var b strings.Builder
		for _, k := range keys {
			name := fmt.Sprint(k)
			v, ok := values[name].(string)
			if !ok {
				v = flat[name]
			}
			b.WriteString(strconv.Quote(v))
		}
		return b.String()
	}
	var found []params
	for i, item := range list {
		generator, _ := item.(map[string]any)
		given, err := g.generate(generator, depth+1)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			found = given
			continue
		}
		for _, over := range given {
			for j := range found {
				if keyOf(found[j].values) == keyOf(over.values) {
					base, _ := deepClone(found[j].values).(map[string]any)
					found[j].values = mergePatch(base, over.values)
				}
			}
		}
	}
	return found, nil
}
