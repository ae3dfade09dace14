package v1alpha1

import (
	"bytes"
	"encoding/json"
	"errors"
)

// Assemble makes a configuration of objects as a cluster holds them. It reads them as Load reads files, with the same defaults and the same rules;
// in problems, KIND/NAME stands for the file. Status and what the API server adds to metadata count for nothing.
func Assemble(gates []Gate, repositories []TrustedRepository) (*Config, error) {
	l := &loader{}
	for i := range gates {
		data, err := document("Gate", gates[i].Name, &gates[i].Spec)
		if err != nil {
			return nil, err
		}
		l.file("Gate/"+gates[i].Name, data)
	}
	for i := range repositories {
		data, err := document("TrustedRepository", repositories[i].Name, &repositories[i].Spec)
		if err != nil {
			return nil, err
		}
		l.file("TrustedRepository/"+repositories[i].Name, data)
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
	all := [][]byte{}
	gate, err := document("Gate", c.Gate.Name, &c.Gate.Spec)
	if err != nil {
		return nil, err
	}
	all = append(all, gate)
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
