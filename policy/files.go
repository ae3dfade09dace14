package policy

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The bounds of one source: far above any policy repository, far below what would hurt the gate.
const (
	maxFile  = 4 << 20
	maxTotal = 64 << 20
	maxFiles = 20_000
)

// files are what one folder holds that can matter to policy, by kind.
type files struct {
	rego   []file
	data   []file // data.json, data.yaml: documents under data, by folder
	object []file // YAML or JSON that speaks of gatekeeper.sh
}

type file struct {
	path    string // as the repository names it
	dir     string // relative to the folder that was given, "." for itself
	content []byte
}

// readFiles walks root. Everything that is not a policy is left alone; everything that is one and cannot be read is a problem.
func readFiles(ctx context.Context, fsys fs.FS, root string, p *problems) (files, error) {
	var out files
	var total, count int
	err := fs.WalkDir(fsys, root, func(name string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			p.addErr(name, 0, err)
			return nil
		}
		if d.IsDir() {
			if d.Name() == ".git" {
				return fs.SkipDir
			}
			return nil
		}
		class := classify(d.Name())
		if class == nil {
			return nil
		}
		if !d.Type().IsRegular() {
			p.add(name, 0, "is not a regular file; links are not followed")
			return nil
		}
		content, err := readBounded(fsys, name)
		if err != nil {
			p.addErr(name, 0, err)
			return nil
		}
		if total, count = total+len(content), count+1; total > maxTotal || count > maxFiles {
			return errors.New("too much: a policy folder may hold 20,000 files and 64 MiB")
		}
		class(&out, file{path: name, dir: relative(root, path.Dir(name)), content: content})
		return nil
	})
	return out, err
}

func relative(root, dir string) string {
	if root == "." || dir == root {
		if dir == root {
			return "."
		}
		return dir
	}
	return strings.TrimPrefix(dir, root+"/")
}

func readBounded(fsys fs.FS, name string) ([]byte, error) {
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, errors.New("larger than 4 MiB")
	}
	return b, nil
}

// classify says where a file of this name goes, nil if it is no policy.
func classify(name string) func(*files, file) {
	ext := path.Ext(name)
	switch {
	case ext == ".rego":
		return func(fs *files, f file) { fs.rego = append(fs.rego, f) }
	case ext != ".yaml" && ext != ".yml" && ext != ".json":
		return nil
	}
	isData := strings.TrimSuffix(name, ext) == "data"
	return func(fs *files, f file) {
		switch {
		case bytes.Contains(f.content, []byte("gatekeeper.sh/")):
			fs.object = append(fs.object, f)
		case isData:
			fs.data = append(fs.data, f)
		}
	}
}

// document is one document of a YAML file.
type document struct {
	file   string
	line   int // where it begins, from 1
	node   *yaml.Node
	object map[string]any // as JSON would have it
}

func (d document) str(fields ...string) string {
	s, _ := dig(d.object, fields...).(string)
	return s
}

func (d document) group() string {
	g, _, found := strings.Cut(d.str("apiVersion"), "/")
	if !found {
		return ""
	}
	return g
}

// documents splits a file as kubectl does.
func documents(f file) ([]document, error) {
	var out []document
	dec := yaml.NewDecoder(bytes.NewReader(f.content))
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if err != nil {
			if isEOF(err) {
				return out, nil
			}
			return nil, err
		}
		body := &n
		if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
			body = n.Content[0]
		}
		if body.Kind != yaml.MappingNode {
			continue // an empty document, or none of ours
		}
		obj := map[string]any{}
		if err := throughJSON(body, &obj); err != nil {
			return nil, err
		}
		out = append(out, document{file: f.path, line: body.Line, node: body, object: obj})
	}
}

// line is where the value at the fields stands, 0 if there is none. For a block scalar it is the line of the indicator, and
// the text begins on the next.
func (d document) at(fields ...any) *yaml.Node {
	n := d.node
	for _, f := range fields {
		if n == nil {
			return nil
		}
		switch f := f.(type) {
		case string:
			n = mapValue(n, f)
		case int:
			if n.Kind != yaml.SequenceNode || f >= len(n.Content) {
				return nil
			}
			n = n.Content[f]
		}
		for n != nil && n.Kind == yaml.AliasNode {
			n = n.Alias
		}
	}
	return n
}

func mapValue(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// dig returns the value at the fields, nil if there is none.
func dig(v any, fields ...string) any {
	for _, f := range fields {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[f]
	}
	return v
}
