package v1alpha1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Config is everything that users wrote for one gate.
type Config struct {
	Gate         Gate
	Repositories []TrustedRepository
}

// Repository returns the trusted repository with this name, or nil.
func (c *Config) Repository(name string) *TrustedRepository {
	for i := range c.Repositories {
		if c.Repositories[i].Name == name {
			return &c.Repositories[i]
		}
	}
	return nil
}

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File    string
	Line    int // from 1; 0 if it concerns no line in particular
	Message string
}

func (p Problem) String() string {
	switch {
	case p.File == "":
		return p.Message
	case p.Line == 0:
		return fmt.Sprintf("%s: %s", p.File, p.Message)
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
}

// Problems is everything that is wrong with a configuration, all at once.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// maxConfigSize bounds one configuration file: larger is a mistake.
const maxConfigSize = 4 << 20

// Load reads a configuration from a file, or from every .yaml, .yml and .json file of a folder (not of its
// folders, and not hidden ones). Documents of kinds Gate and TrustedRepository are decoded strictly; any other document is taken
// for an agent's object that a bootstrap tool made, and becomes a root of its own. The error is a Problems, unless a file cannot be read.
func Load(path string) (*Config, error) {
	files, err := configFiles(path)
	if err != nil {
		return nil, err
	}
	l := &loader{}
	for _, file := range files {
		data, err := readBounded(file)
		if err != nil {
			return nil, err
		}
		l.file(file, data)
	}
	return l.finish()
}

// LoadRepositories reads the documents of kind TrustedRepository of a configuration and nothing else of it, for tools that need no gate.
func LoadRepositories(path string) ([]TrustedRepository, error) {
	files, err := configFiles(path)
	if err != nil {
		return nil, err
	}
	l := &loader{}
	for _, file := range files {
		data, err := readBounded(file)
		if err != nil {
			return nil, err
		}
		l.file(file, data)
	}
	c := &Config{}
	l.finishRepositories(c)
	if len(l.problems) > 0 {
		return nil, l.problems
	}
	return c.Repositories, nil
}

// Parse reads a configuration from memory; name stands for the file in problems.
func Parse(name string, data []byte) (*Config, error) {
	l := &loader{}
	l.file(name, data)
	return l.finish()
}

func configFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if strings.HasPrefix(e.Name(), ".") || !slices.Contains([]string{".yaml", ".yml", ".json"}, ext) {
			continue
		}
		// A mounted ConfigMap holds links to files: follow them, but take no folder for a file.
		if info, err := os.Stat(filepath.Join(path, e.Name())); err == nil && info.IsDir() {
			continue
		}
		files = append(files, filepath.Join(path, e.Name()))
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: %w: no .yaml, .yml or .json file", path, fs.ErrNotExist)
	}
	return files, nil
}

func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigSize+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if len(data) > maxConfigSize {
		return nil, fmt.Errorf("%s: larger than %d bytes", file, maxConfigSize)
	}
	return data, nil
}

// loader gathers documents and problems from several files.
type loader struct {
	gates        []located[Gate]
	repositories []located[TrustedRepository]
	loose        []runtime.RawExtension // agents' objects standing beside the gate
	problems     Problems
}

// located remembers where a document stands.
type located[T any] struct {
	doc  T
	file string
	node *yamlv3.Node
}

func (l *loader) add(file string, line int, format string, args ...any) {
	l.problems = append(l.problems, Problem{file, line, fmt.Sprintf(format, args...)})
}

func (l *loader) file(name string, data []byte) {
	dec := yamlv3.NewDecoder(bytes.NewReader(data))
	for {
		var doc yamlv3.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			l.add(name, 0, "%v", err) // yaml's own message names the line
			return
		}
		if doc.Kind == yamlv3.DocumentNode && len(doc.Content) == 1 && doc.Content[0].Tag == "!!null" {
			continue // an empty document
		}
		l.document(name, &doc)
	}
}

func (l *loader) document(file string, doc *yamlv3.Node) {
	text, err := yamlv3.Marshal(doc)
	if err != nil {
		l.add(file, doc.Line, "%v", err)
		return
	}
	data, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		l.add(file, firstLine(doc), "%v", err)
		return
	}
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &head); err != nil || head.Kind == "" {
		l.add(file, firstLine(doc), "not a Kubernetes-style document: no kind")
		return
	}
	group, _, _ := strings.Cut(head.APIVersion, "/")
	switch {
	case group != "commitgate.dev":
		l.loose = append(l.loose, runtime.RawExtension{Raw: data})
	case head.APIVersion != APIVersion:
		l.add(file, lineOf(doc, "apiVersion"), "apiVersion %q: this program knows %s", head.APIVersion, APIVersion)
	case head.Kind == "Gate":
		g := located[Gate]{file: file, node: doc}
		l.decode(file, doc, data, &g.doc)
		l.gates = append(l.gates, g)
	case head.Kind == "TrustedRepository":
		r := located[TrustedRepository]{file: file, node: doc}
		l.decode(file, doc, data, &r.doc)
		l.repositories = append(l.repositories, r)
	default:
		l.add(file, lineOf(doc, "kind"), "kind %q: want Gate or TrustedRepository", head.Kind)
	}
}

func (l *loader) decode(file string, doc *yamlv3.Node, data []byte, into any) {
	strict, err := kjson.UnmarshalStrict(data, into)
	if err != nil {
		l.add(file, firstLine(doc), "%v", err)
		return
	}
	for _, e := range strict {
		path := ""
		if field, ok := e.(kjson.FieldError); ok {
			path = field.FieldPath()
		}
		l.add(file, lineOf(doc, path), "%v", e)
	}
}

func firstLine(doc *yamlv3.Node) int {
	if doc.Kind == yamlv3.DocumentNode && len(doc.Content) > 0 {
		return doc.Content[0].Line
	}
	return doc.Line
}

// lineOf finds the line of a field path such as spec.roots[0].foo, or of the nearest field above it that is there.
func lineOf(doc *yamlv3.Node, path string) int {
	n, line := doc, firstLine(doc)
	if n.Kind == yamlv3.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	for _, step := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		var next *yamlv3.Node
		switch n.Kind {
		case yamlv3.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == step {
					next, line = n.Content[i+1], n.Content[i].Line
				}
			}
		case yamlv3.SequenceNode:
			if i, err := strconv.Atoi(step); err == nil && i < len(n.Content) {
				next, line = n.Content[i], n.Content[i].Line
			}
		}
		if next == nil {
			return line
		}
		n = next
	}
	return line
}

func (l *loader) finish() (*Config, error) {
	c := &Config{}
	l.finishRepositories(c)
	switch len(l.gates) {
	case 0:
		l.problems = append(l.problems, Problem{Message: "no document of kind Gate"})
	case 1:
		g := l.gates[0]
		c.Gate = g.doc
		if len(l.loose) > 0 {
			c.Gate.Spec.Roots = append(c.Gate.Spec.Roots, Root{Objects: l.loose})
		}
		c.Gate.Spec.SetDefaults()
		for _, p := range validateGate(c) {
			l.add(g.file, lineOf(g.node, p.field), "%s: %s", p.field, p.message)
		}
	default:
		g := l.gates[1]
		l.add(g.file, firstLine(g.node), "a second Gate; the first stands in %s", l.gates[0].file)
	}
	if len(l.problems) > 0 {
		return nil, l.problems
	}
	return c, nil
}

func (l *loader) finishRepositories(c *Config) {
	for i, r := range l.repositories {
		for _, other := range l.repositories[:i] {
			if other.doc.Name == r.doc.Name {
				l.add(r.file, lineOf(r.node, "metadata.name"), "TrustedRepository %q stands in %s too", r.doc.Name, other.file)
			}
		}
		c.Repositories = append(c.Repositories, r.doc)
		for _, p := range validateRepository(&r.doc) {
			l.add(r.file, lineOf(r.node, p.field), "%s: %s", p.field, p.message)
		}
	}
}

// OwnNamespace is the namespace of the gate's own service account; false if the configuration names none.
func (s *GateSpec) OwnNamespace() (string, bool) {
	account, ok := strings.CutPrefix(s.ServiceAccount, "system:serviceaccount:")
	namespace, _, named := strings.Cut(account, ":")
	return namespace, ok && named && namespace != ""
}

// AuthoritySecret is the Secret of the gate's own certificate authority, in the namespace of the gate.
const AuthoritySecret = "commitgate-ca"

// RotationAccount is the user that replaces the gate's own certificate authority: the service account commitgate-certificates beside the gate's own, by
// which the CronJob of that name runs. It is false if the configuration names no service account of the gate.
func (s *GateSpec) RotationAccount() (string, bool) {
	namespace, ok := s.OwnNamespace()
	return "system:serviceaccount:" + namespace + ":commitgate-certificates", ok
}
