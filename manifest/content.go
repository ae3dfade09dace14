package manifest

import (
	"strconv"
	"strings"
	"unicode"

	yamlv3 "go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
)

// contentOf is what kustomize would write of a resource. It writes YAML, reads it again and makes JSON of it, which takes a third of the time of a build; for
// the plain nodes of which almost all resources are made the result is known beforehand (FuzzContent holds both against each other).
func contentOf(resource *kyaml.RNode) (map[string]any, error) {
	if node := resource.YNode(); node != nil && node.Kind == yamlv3.MappingNode {
		if value, ok := plainValue(node); ok {
			return value.(map[string]any), nil
		}
	}
	text, err := resource.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var content map[string]any
	return content, kjson.UnmarshalCaseSensitivePreserveInts(text, &content)
}

// plainValue is the value of a node that means the same after it is written and read again. false: that is not plain to see.
func plainValue(n *yamlv3.Node) (any, bool) {
	var p plainReader
	v, ok := p.value(n, 0)
	return v, ok && !(p.comments && p.brackets)
}

// plainReader looks for what does not mean the same after it is written and read again.
type plainReader struct {
	comments bool
	brackets bool // a map or list is written in them; comments before it and in it may be written where they end it
}

func (p *plainReader) value(n *yamlv3.Node, depth int) (any, bool) {
	p.comments = p.comments || n.HeadComment+n.LineComment+n.FootComment != ""
	if n.Anchor != "" || n.Style&yamlv3.TaggedStyle != 0 || depth > maxDepth {
		return nil, false
	}
	if n.Kind == yamlv3.ScalarNode {
		return plainScalar(n)
	}
	p.brackets = p.brackets || n.Style&yamlv3.FlowStyle != 0 || len(n.Content) == 0
	switch {
	case n.Kind == yamlv3.MappingNode && (n.Tag == "" || n.Tag == "!!map") && len(n.Content)%2 == 0:
		return p.mapping(n, depth)
	case n.Kind == yamlv3.SequenceNode && (n.Tag == "" || n.Tag == "!!seq"):
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			var ok bool
			if list[i], ok = p.value(item, depth+1); !ok {
				return nil, false
			}
		}
		return list, true
	}
	return nil, false
}

func (p *plainReader) mapping(n *yamlv3.Node, depth int) (any, bool) {
	m := make(map[string]any, len(n.Content)/2)
	for i := 0; i < len(n.Content); i += 2 {
		k, ok := p.value(n.Content[i], depth)
		key, text := k.(string)
		if !ok || !text || len(key) > maxPlainKey || key == "<<" || strings.Contains(key, "\n") {
			return nil, false
		}
		if _, twice := m[key]; twice {
			return nil, false
		}
		if m[key], ok = p.value(n.Content[i+1], depth+1); !ok {
			return nil, false
		}
	}
	return m, true
}

// maxPlainKey is up to how many bytes a key is written as one line, whatever is in it.
const maxPlainKey = 64

func plainScalar(n *yamlv3.Node) (any, bool) {
	switch {
	case n.Tag == "!!str":
		if strings.Contains(n.Value, "\n") {
			return n.Value, n.Style&yamlv3.FoldedStyle == 0 && plainLines(n.Value)
		}
		return n.Value, plainLine(n.Value)
	case n.Style != 0:
		return nil, false
	}
	switch v := n.Value; n.Tag {
	case "!!bool":
		return v == "true", v == "true" || v == "false"
	case "!!null":
		return nil, v == "null" || v == "~"
	case "!!int":
		i, err := strconv.ParseInt(v, 10, 64)
		return i, err == nil && strconv.FormatInt(i, 10) == v
	}
	return nil, false
}

// plainLines are lines of text that stay what they are as a literal block.
func plainLines(text string) bool {
	if strings.HasPrefix(text, " ") || strings.HasPrefix(text, "\n") || strings.HasSuffix(text, "\n\n") {
		return false
	}
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasSuffix(line, " ") || !plainLine(line) {
			return false
		}
	}
	return true
}

// plainLine is text of printable characters, without those that YAML takes for the end of a line or the beginning of a stream.
func plainLine(text string) bool {
	for _, r := range text {
		if r < ' ' || r == 0x7f || r > 0x7f && (!unicode.IsGraphic(r) || r == '\u00a0' || r == '\u2028' || r == '\u2029' || r == '\ufeff' || r == unicode.ReplacementChar) {
			return false
		}
	}
	return true
}
