package sops

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
)

// yamlIndent is that of SOPS, in spaces.
const yamlIndent = 4

// Emit writes the decrypted file as SOPS would, byte for byte.
func (f *File) Emit(as Format) ([]byte, error) {
	if f.parts {
		return nil, errorf(0, "documents that were not encrypted together")
	}
	switch as {
	case YAML:
		return f.emitYAML()
	case JSON:
		return f.emitJSON()
	case Dotenv:
		return f.emitDotenv()
	case INI:
		return f.emitINI()
	case Binary:
		for _, b := range f.branches {
			for _, it := range b {
				if text, ok := it.value.(string); ok && it.key == "data" {
					return []byte(text), nil
				}
			}
		}
		return nil, errorf(0, "a binary file without data")
	}
	return nil, errorf(0, "files of this format are not written")
}

func (f *File) emitYAML() ([]byte, error) {
	var out bytes.Buffer
	enc := yamlv3.NewEncoder(&out)
	enc.SetIndent(yamlIndent)
	for _, b := range f.branches {
		n, err := yamlNode(b)
		if err != nil {
			return nil, err
		}
		if err := enc.Encode(n); err != nil {
			return nil, errorf(0, "it cannot be written as YAML")
		}
	}
	if err := enc.Close(); err != nil {
		return nil, errorf(0, "it cannot be written as YAML")
	}
	return out.Bytes(), nil
}

// yamlNode spells a value. Where SOPS puts comments is its own affair: a file that has some is not written.
func yamlNode(v any) (*yamlv3.Node, error) {
	n := &yamlv3.Node{}
	switch v := v.(type) {
	case branch:
		n.Kind = yamlv3.MappingNode
		for _, it := range v {
			if it.comment {
				return nil, errorf(it.line, "a YAML file with comments, whose bytes matter: take the comments out, or encrypt it as a binary file")
			}
			key := &yamlv3.Node{}
			if err := key.Encode(it.key); err != nil {
				return nil, errorf(it.line, "a key that cannot be written as YAML")
			}
			below, err := yamlNode(it.value)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, key, below)
		}
		return n, nil
	case []any:
		n.Kind = yamlv3.SequenceNode
		for _, item := range v {
			below, err := yamlNode(item)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, below)
		}
		return n, nil
	}
	if err := n.Encode(v); err != nil {
		return nil, errorf(0, "a value that cannot be written as YAML")
	}
	return n, nil
}

func (f *File) emitJSON() ([]byte, error) {
	if len(f.branches) != 1 {
		return nil, errorf(0, "%d documents in one JSON file", len(f.branches))
	}
	var compact, out bytes.Buffer
	if err := writeJSON(&compact, f.branches[0]); err != nil {
		return nil, err
	}
	if err := json.Indent(&out, compact.Bytes(), "", "\t"); err != nil {
		return nil, errorf(0, "it cannot be written as JSON")
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

func writeJSON(out *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case branch:
		out.WriteByte('{')
		first := true
		for _, it := range v {
			if it.comment {
				continue
			}
			if !first {
				out.WriteByte(',')
			}
			first = false
			if err := writeJSON(out, it.key); err != nil {
				return err
			}
			out.WriteByte(':')
			if err := writeJSON(out, it.value); err != nil {
				return err
			}
		}
		out.WriteByte('}')
		return nil
	case []any:
		out.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := writeJSON(out, item); err != nil {
				return err
			}
		}
		out.WriteByte(']')
		return nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return errorf(0, "a value that cannot be written as JSON")
	}
	out.Write(text)
	return nil
}

func (f *File) emitDotenv() ([]byte, error) {
	if len(f.branches) != 1 {
		return nil, errorf(0, "%d documents in one dotenv file", len(f.branches))
	}
	var out bytes.Buffer
	for _, it := range f.branches[0] {
		if it.comment {
			fmt.Fprintf(&out, "#%s\n", it.key)
			continue
		}
		text, ok := it.value.(string)
		if !ok {
			return nil, errorf(it.line, "%s is not text", it.key)
		}
		fmt.Fprintf(&out, "%s=%s\n", it.key, strings.ReplaceAll(text, "\n", `\n`))
	}
	return out.Bytes(), nil
}
