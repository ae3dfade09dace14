package v1alpha1

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Assemble makes a configuration of objects as a cluster holds them. It reads them as Load reads files, as strictly, with the same defaults and the
// same rules; in problems, KIND/NAME stands for the file. Status and what the API server adds to metadata count for nothing.
func Assemble(objects []map[string]any) (*Config, error) {
	l := &loader{}
	for _, o := range objects {
		kind, _ := o["kind"].(string)
		metadata, _ := o["metadata"].(map[string]any)
		name, _ := metadata["name"].(string)
		if kind != "Gate" && kind != "TrustedRepository" {
			return nil, fmt.Errorf("kind %q: want Gate or TrustedRepository", kind)
		}
		data, err := document(kind, name, o["spec"])
		if err != nil {
			return nil, err
		}
		l.file(kind+"/"+name, data)
	}
	c, err := l.finish()
	var problems Problems
	if errors.As(err, &problems) {
		for i := range problems {
			problems[i].Line = 0 // an object in a cluster has no lines
		}
		return nil, problems
	}
	return c, err
}

// Documents writes a configuration as documents that Load reads.
func (c *Config) Documents() ([]byte, error) {
	gate, err := document("Gate", c.Gate.Name, &c.Gate.Spec)
	if err != nil {
		return nil, err
	}
	all := [][]byte{gate}
	for i := range c.Repositories {
		r, err := document("TrustedRepository", c.Repositories[i].Name, &c.Repositories[i].Spec)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return append(bytes.Join(all, []byte("\n---\n")), '\n'), nil
}

// document is one object, as JSON, of which YAML is a superset.
func document(kind, name string, spec any) ([]byte, error) {
	return json.Marshal(map[string]any{"apiVersion": APIVersion, "kind": kind, "metadata": map[string]any{"name": name}, "spec": spec})
}
