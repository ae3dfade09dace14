package manifest

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strconv"
	"strings"
	"time"

	yamlv3 "go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/git"
)

// document is one Kubernetes object as it stands in a file. It never changes once it is parsed.
type document struct {
	content compact.Object
	path    git.Path
	line    int
	inputs  []git.Path // what a rendering read for it; nil if it stands in the file as it is
	opaque  []string   // field paths whose values cannot be known, or must not be kept
	sealed  account.Sealed
	base    Base // where it stands in another repository
	crd     bool // it stands in the crds folder of a chart
	// nameless: a chart makes up its name anew each time, so that it cannot be declared.
	nameless bool
	// substituted: Flux's variables are replaced in it.
	substituted bool
	implied     bool // no file declares it: the agent makes it where it is not there
	// written: a hook as its chart has it, of one that post-renderers have seen.
	written *document
}

// syntaxError is what is wrong with a file, and where.
type syntaxError struct {
	line int
	what string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.what) }

func syntaxf(line int, format string, args ...any) error {
	return &syntaxError{line, fmt.Sprintf(format, args...)}
}

// Bounds of one document: what an API server would take is far below.
const (
	maxDepth  = 200
	maxValues = 1 << 20 // after aliases are expanded
)

// dialect is whose reading of YAML counts. They differ where values stand without quotes.
type dialect int

const (
	// dialectKubernetes is that of sigs.k8s.io/yaml, by which kubectl, Argo CD and the API server read: YAML 1.1, in which y, yes and on are
	// booleans, and keys of any kind become text.
	dialectKubernetes dialect = iota
	// dialectKustomize is that of kyaml, through which Flux reads even what is no kustomization: yes is text, a date becomes a time.
	dialectKustomize
)

// parse reads every document of a YAML stream or JSON file, with numbers as int64 or float64, and refuses what the agents would take silently and
// differently: duplicate keys, aliases that explode. Empty documents are left out; what a document holds is not judged here, but it must be a
// map. An error is a *syntaxError.
func parse(file git.Path, data []byte, as dialect) ([]*document, error) {
	return parseStream(file, data, converter{dialect: as})
}

// parseRendered reads what templates have made, as Helm does: of a key that stands twice the last counts, and lines say nothing.
func parseRendered(file git.Path, data []byte) ([]*document, error) {
	docs, err := parseStream(file, data, converter{lastWins: true})
	for _, doc := range docs {
		doc.line = 0
	}
	return docs, err
}

func parseStream(file git.Path, data []byte, with converter) ([]*document, error) {
	if path.Ext(string(file)) == ".json" && !with.lastWins {
		return parseJSON(file, data)
	}
	var docs []*document
	dec := yamlv3.NewDecoder(bytes.NewReader(data))
	for {
		var node yamlv3.Node
		err := decodeNode(dec, &node)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return docs, yamlError(err)
		}
		c := with
		value, err := c.value(&node, 0)
		if err != nil {
			return docs, err
		}
		line := firstLine(&node)
		switch content := value.(type) {
		case nil:
		case map[string]any:
			if len(content) > 0 {
				docs = append(docs, expand(content, file, line, &node)...)
			}
		default:
			return docs, syntaxf(line, "a document that is %s, not an object with apiVersion and kind", describe(content))
		}
	}
}

// decodeNode is Decode without the panics that hostile input may still find in a parser.
func decodeNode(dec *yamlv3.Decoder, node *yamlv3.Node) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("yaml: line 1: the parser gave up: %v", p)
		}
	}()
	return dec.Decode(node)
}

// readable says where a file is no YAML; nil if every reader could read it, whatever it holds.
func readable(data []byte) error {
	dec := yamlv3.NewDecoder(bytes.NewReader(data))
	for {
		var node yamlv3.Node
		switch err := decodeNode(dec, &node); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return yamlError(err)
		}
	}
}

// yamlError takes the line out of the YAML parser's message.
func yamlError(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, what, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(number); err == nil {
				return syntaxf(line, "%s", what)
			}
		}
	}
	return syntaxf(1, "%s", text)
}

func firstLine(node *yamlv3.Node) int {
	if node.Kind == yamlv3.DocumentNode && len(node.Content) > 0 {
		return node.Content[0].Line
	}
	return node.Line
}

func describe(value any) string {
	switch value.(type) {
	case []any:
		return "a list"
	case string:
		return "text"
	}
	return "a single value"
}

// converter makes values of one document's nodes.
type converter struct {
	dialect  dialect
	lastWins bool           // a key may stand twice
	values   int            // made so far, aliases expanded
	open     []*yamlv3.Node // the anchored nodes that are being expanded
}

func (c *converter) value(n *yamlv3.Node, depth int) (any, error) {
	if c.values++; c.values > maxValues {
		return nil, syntaxf(n.Line, "the document grows beyond %d values: an alias is used too often", maxValues)
	}
	if depth > maxDepth {
		return nil, syntaxf(n.Line, "nested more than %d levels deep", maxDepth)
	}
	switch n.Kind {
	case yamlv3.DocumentNode:
		if len(n.Content) == 0 {
			return nil, nil
		}
		return c.value(n.Content[0], depth)
	case yamlv3.AliasNode:
		return c.alias(n, depth)
	case yamlv3.MappingNode:
		return c.mapping(n, depth)
	case yamlv3.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, item := range n.Content {
			v, err := c.value(item, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yamlv3.ScalarNode:
		return c.scalar(n)
	}
	return nil, nil
}

func (c *converter) alias(n *yamlv3.Node, depth int) (any, error) {
	for _, open := range c.open {
		if open == n.Alias {
			return nil, syntaxf(n.Line, "anchor %q holds itself", n.Value)
		}
	}
	c.open = append(c.open, n.Alias)
	v, err := c.value(n.Alias, depth+1)
	c.open = c.open[:len(c.open)-1]
	return v, err
}

func (c *converter) mapping(n *yamlv3.Node, depth int) (any, error) {
	m := make(map[string]any, len(n.Content)/2)
	lines := make(map[string]int, len(n.Content)/2)
	var merges []*yamlv3.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Tag == "!!merge" {
			merges = append(merges, v)
			continue
		}
		key, err := c.key(k, depth)
		if err != nil {
			return nil, err
		}
		if first, ok := lines[key]; ok && !c.lastWins {
			return nil, syntaxf(k.Line, "the key %q stands twice in one map, first in line %d: only one of them would count", key, first)
		}
		lines[key] = k.Line
		if m[key], err = c.value(v, depth+1); err != nil {
			return nil, err
		}
	}
	for _, v := range merges {
		if err := c.merge(m, v, depth); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// merge adds what << brings: keys that the map does not have itself, from the first of several that has them.
func (c *converter) merge(m map[string]any, n *yamlv3.Node, depth int) error {
	v, err := c.value(n, depth+1)
	if err != nil {
		return err
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for _, item := range list {
		from, ok := item.(map[string]any)
		if !ok {
			return syntaxf(n.Line, "<< wants a map or a list of maps")
		}
		for k, v := range from {
			if _, ok := m[k]; !ok {
				m[k] = v
			}
		}
	}
	return nil
}

// key is a map's key as text.
func (c *converter) key(n *yamlv3.Node, depth int) (string, error) {
	if n.Kind == yamlv3.AliasNode {
		n = n.Alias
	}
	if n.Kind != yamlv3.ScalarNode || c.dialect == dialectKustomize && n.ShortTag() != "!!str" {
		return "", syntaxf(n.Line, "a key that is not text: quote it")
	}
	v, err := c.scalar(n)
	if err != nil {
		return "", err
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	}
	return "", syntaxf(n.Line, "a key that is null")
}

// scalar resolves a scalar as the dialect does.
func (c *converter) scalar(n *yamlv3.Node) (any, error) {
	switch n.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!bool":
		return boolean(n)
	case "!!int":
		return integer(n)
	case "!!float":
		return float(n)
	case "!!binary":
		data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), ""))
		if err != nil {
			return nil, syntaxf(n.Line, "!!binary is not base64")
		}
		return string(data), nil
	case "!!timestamp":
		var at time.Time
		if c.dialect == dialectKustomize && n.Decode(&at) == nil {
			return at.Format(time.RFC3339Nano), nil
		}
	case "!!str":
		if n.Style == 0 && c.dialect == dialectKubernetes {
			return oldBoolean(n.Value), nil
		}
	}
	return n.Value, nil
}

// oldBoolean resolves the words that are booleans in YAML 1.1 only.
func oldBoolean(text string) any {
	switch text {
	case "y", "Y", "yes", "Yes", "YES", "on", "On", "ON":
		return true
	case "n", "N", "no", "No", "NO", "off", "Off", "OFF":
		return false
	}
	return text
}

func boolean(n *yamlv3.Node) (any, error) {
	switch strings.ToLower(n.Value) {
	case "true", "y", "yes", "on":
		return true, nil
	case "false", "n", "no", "off":
		return false, nil
	}
	return nil, syntaxf(n.Line, "%q is not a boolean", n.Value)
}

func integer(n *yamlv3.Node) (any, error) {
	var i int64
	if err := n.Decode(&i); err == nil {
		return i, nil
	}
	var f float64
	if err := n.Decode(&f); err != nil {
		return nil, syntaxf(n.Line, "%q is not a number", n.Value)
	}
	return f, nil
}

// float is a number with a fraction or exponent. One without a fraction becomes an integer: JSON, by which it travels, knows no difference.
func float(n *yamlv3.Node) (any, error) {
	var f float64
	if err := n.Decode(&f); err != nil {
		return nil, syntaxf(n.Line, "%q is not a number", n.Value)
	}
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return nil, syntaxf(n.Line, "%q cannot be said in JSON", n.Value)
	}
	if f == math.Trunc(f) && math.Abs(f) < 1<<63 {
		return int64(f), nil
	}
	return f, nil
}

// expand takes a list apart (kind List, or DeploymentList with items and no name) as every agent does; anything else it leaves as it is. node,
// if there is one, tells the lines of the items.
func expand(content map[string]any, file git.Path, line int, node *yamlv3.Node) []*document {
	items, ok := content["items"].([]any)
	if !ok || !strings.HasSuffix(text(content, "kind"), "List") || text(childMap(content, "metadata"), "name") != "" {
		return []*document{{content: compact.Of(content), path: file, line: line}}
	}
	lines := itemLines(node)
	var docs []*document
	for i, item := range items {
		content, ok := item.(map[string]any)
		if !ok {
			content = map[string]any{} // says nothing: it is refused where an object is made of it
		}
		at := line
		if i < len(lines) {
			at = lines[i]
		}
		docs = append(docs, expand(content, file, at, nil)...)
	}
	return docs
}

func itemLines(node *yamlv3.Node) []int {
	if node == nil || len(node.Content) == 0 || node.Content[0].Kind != yamlv3.MappingNode {
		return nil
	}
	top := node.Content[0].Content
	for i := 0; i+1 < len(top); i += 2 {
		if top[i].Value != "items" || top[i+1].Kind != yamlv3.SequenceNode {
			continue
		}
		lines := make([]int, len(top[i+1].Content))
		for j, item := range top[i+1].Content {
			lines[j] = item.Line
		}
		return lines
	}
	return nil
}

// parseJSON reads the objects of a JSON file, one after the other.
func parseJSON(file git.Path, data []byte) ([]*document, error) {
	var docs []*document
	rest := data
	for {
		trimmed := bytes.TrimLeft(rest, " \t\r\n")
		if len(trimmed) == 0 {
			return docs, nil
		}
		line := 1 + bytes.Count(data[:len(data)-len(trimmed)], []byte("\n"))
		end, err := jsonEnd(trimmed)
		if err != nil {
			return docs, syntaxf(line+bytes.Count(trimmed[:end], []byte("\n")), "%v", err)
		}
		var content map[string]any
		strict, err := kjson.UnmarshalStrict(trimmed[:end], &content)
		if err == nil && len(strict) > 0 {
			err = strict[0]
		}
		if err == nil && len(content) == 0 {
			err = errors.New("a document that is not an object with apiVersion and kind")
		}
		if err != nil {
			return docs, syntaxf(line, "%v", err)
		}
		docs = append(docs, expand(content, file, line, nil)...)
		rest = trimmed[end:]
	}
}
