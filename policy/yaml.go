package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
	kjson "k8s.io/apimachinery/pkg/util/json"
)

// throughJSON decodes YAML as gator does: YAML 1.2 values (yes is a string), then JSON, so that only JSON's types
// remain; whole numbers stay int64.
func throughJSON(n *yaml.Node, into *map[string]any) error {
	m := map[string]any{}
	if err := n.Decode(m); err != nil {
		return err
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err // keys that are not strings
	}
	return kjson.Unmarshal(b, into)
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// decodeYAML is throughJSON for the first document of a text.
func decodeYAML(text []byte, into *map[string]any) error {
	var n yaml.Node
	if err := yaml.Unmarshal(text, &n); err != nil {
		return err
	}
	if n.Kind != yaml.DocumentNode || len(n.Content) != 1 || n.Content[0].Kind != yaml.MappingNode {
		return errors.New("is not an object")
	}
	return throughJSON(n.Content[0], into)
}

// decodeObjects reads the objects of a file of test data: documents separated by lines that begin with ---, those that hold
// nothing but comments left out.
func decodeObjects(text []byte) ([]map[string]any, error) {
	var out []map[string]any
	for _, part := range strings.Split(string(text), "\n---") {
		if blank(part) {
			continue
		}
		obj := map[string]any{}
		if err := decodeYAML([]byte(part), &obj); err != nil {
			return nil, fmt.Errorf("document %d: %w", len(out)+1, err)
		}
		out = append(out, obj)
	}
	return out, nil
}

func blank(text string) bool {
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line != "" && line != "---" && !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}
