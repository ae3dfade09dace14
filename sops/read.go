package sops

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
)

// Bounds of one file, whose aliases anybody could write.
const (
	maxDepth  = 200
	maxValues = 1 << 20
)

// branch is a map in the order of its file, by which the MAC goes. A leaf is nil, string, int, float64, bool or time.Time.
type branch []item

type item struct {
	key     string
	value   any // a leaf, a branch or a []any
	line    int // from 1; 0 where lines say nothing
	comment bool
}

// plain is the branch as a map.
func (b branch) plain() map[string]any {
	out := make(map[string]any, len(b))
	for _, it := range b {
		if !it.comment {
			out[it.key] = plain(it.value)
		}
	}
	return out
}

// plainField is the value of a key, nil if there is none.
func (b branch) plainField(key string) any {
	for _, it := range b {
		if it.key == key && !it.comment {
			return plain(it.value)
		}
	}
	return nil
}

func plain(v any) any {
	switch v := v.(type) {
	case branch:
		return v.plain()
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = plain(item)
		}
		return out
	}
	return v
}

// read parses a file into its documents.
func read(data []byte, as Format) ([]branch, error) {
	switch as {
	case YAML:
		return readYAML(data)
	case JSON, Binary:
		return readJSON(data)
	case Dotenv:
		return readDotenv(data)
	case INI:
		return readINI(data)
	}
	return nil, errorf(0, "files of this format are not opened")
}

// readYAML reads as SOPS does: with the types that YAML 1.2 gives, in the order of the file.
func readYAML(data []byte) ([]branch, error) {
	dec := yamlv3.NewDecoder(bytes.NewReader(data))
	r := yamlReader{}
	var branches []branch
	for {
		var doc yamlv3.Node
		if err := decodeNode(dec, &doc); errors.Is(err, io.EOF) {
			return branches, nil
		} else if err != nil {
			return nil, err
		}
		if len(doc.Content) == 0 || doc.Content[0].ShortTag() == "!!null" {
			branches = append(branches, nil)
			continue
		}
		v, err := r.value(doc.Content[0], 0)
		if err != nil {
			return nil, err
		}
		b, ok := v.(branch)
		if !ok {
			return nil, errorf(doc.Content[0].Line, "a document that is no map")
		}
		if doc.HeadComment+doc.FootComment != "" {
			b = append(b, item{comment: true})
		}
		branches = append(branches, b)
	}
}

// decodeNode reads the next document. The library panics on some texts that are no YAML.
func decodeNode(dec *yamlv3.Decoder, into *yamlv3.Node) (err error) {
	defer func() {
		if recover() != nil {
			err = errorf(0, "no YAML")
		}
	}()
	if err := dec.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return errorf(0, "no YAML") // the library's text could quote a value
	} else if err != nil {
		return err
	}
	return nil
}

// yamlReader makes branches of nodes, with aliases expanded.
type yamlReader struct{ values int }

func (r *yamlReader) value(n *yamlv3.Node, depth int) (any, error) {
	if r.values++; r.values > maxValues || depth > maxDepth {
		return nil, errorf(n.Line, "more values, or nested deeper, than is opened")
	}
	switch n.Kind {
	case yamlv3.AliasNode:
		return r.value(n.Alias, depth+1)
	case yamlv3.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			v, err := r.value(c, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yamlv3.MappingNode:
		return r.mapping(n, depth)
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, errorf(n.Line, "a value that is no YAML")
	}
	return v, nil
}

func (r *yamlReader) mapping(n *yamlv3.Node, depth int) (any, error) {
	b := make(branch, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if commented(key) || commented(value) {
			b = append(b, item{comment: true})
		}
		var name any
		if err := key.Decode(&name); err != nil {
			return nil, errorf(key.Line, "a key that is no YAML")
		}
		text, ok := name.(string)
		if !ok {
			return nil, errorf(key.Line, "a key that is not text")
		}
		v, err := r.value(value, depth+1)
		if err != nil {
			return nil, err
		}
		b = append(b, item{key: text, value: v, line: key.Line})
	}
	return b, nil
}

func commented(n *yamlv3.Node) bool {
	if n.HeadComment+n.LineComment+n.FootComment != "" {
		return true
	}
	if n.Kind == yamlv3.SequenceNode {
		for _, c := range n.Content {
			if commented(c) {
				return true
			}
		}
	}
	return false
}

// readJSON reads one object.
func readJSON(data []byte) ([]branch, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	v, err := jsonValue(dec, data, 0)
	var own *Error
	switch b, ok := v.(branch); {
	case errors.As(err, &own):
		return nil, err
	case err != nil:
		return nil, errorf(jsonLine(dec, data), "no JSON")
	case !ok:
		return nil, errorf(1, "a document that is no map")
	default:
		return []branch{b}, nil
	}
}

func jsonLine(dec *json.Decoder, data []byte) int {
	return 1 + bytes.Count(data[:min(int(dec.InputOffset()), len(data))], []byte("\n"))
}

func jsonValue(dec *json.Decoder, data []byte, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errorf(jsonLine(dec, data), "nested deeper than is opened")
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '[' {
			return jsonList(dec, data, depth)
		}
		return jsonMap(dec, data, depth)
	case json.Number:
		if i, err := t.Int64(); err == nil {
			return int(i), nil
		}
		return t.Float64()
	}
	return token, nil
}

func jsonList(dec *json.Decoder, data []byte, depth int) (any, error) {
	list := []any{}
	for dec.More() {
		v, err := jsonValue(dec, data, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := dec.Token()
	return list, err
}

func jsonMap(dec *json.Decoder, data []byte, depth int) (any, error) {
	b := branch{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, _ := token.(string) // the decoder takes nothing else for a key
		it := item{key: key, line: jsonLine(dec, data)}
		if it.value, err = jsonValue(dec, data, depth+1); err != nil {
			return nil, err
		}
		b = append(b, it)
	}
	_, err := dec.Token()
	return b, err
}

// readDotenv reads lines of KEY=value, in which \n is a line break, and comments.
func readDotenv(data []byte) ([]branch, error) {
	var b branch
	for i, line := range strings.Split(string(data), "\n") {
		if line == "" {
			continue
		}
		if text, ok := strings.CutPrefix(line, "#"); ok {
			b = append(b, item{key: text, line: i + 1, comment: true})
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, errorf(i+1, "a line that is no KEY=value")
		}
		b = append(b, item{key: key, value: strings.ReplaceAll(value, `\n`, "\n"), line: i + 1})
	}
	return []branch{b}, nil
}
