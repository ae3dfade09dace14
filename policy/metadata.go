package policy

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Metadata is what a Rego package says of itself in its METADATA comment.
type Metadata struct {
	Title       string   `json:"title"`
	Description string   `json:"description"`
	Controls    []string `json:"controls,omitempty"`
}

// ReadMetadata reads the METADATA comment of a Rego file's package.
func ReadMetadata(name string, text []byte) (Metadata, error) {
	m, err := parse(file{path: name, content: text})
	if err != nil {
		return Metadata{}, err
	}
	for _, a := range m.tree.Annotations {
		if a.Scope == "package" {
			return Metadata{Title: a.Title, Description: strings.TrimSpace(a.Description), Controls: controlsOf(a)}, nil
		}
	}
	return Metadata{}, nil
}

// controlsOf are the control labels of one METADATA comment: labels.controls or custom.controls.
func controlsOf(a *ast.Annotations) []string {
	return sortedUnique(append(labelList(a.Labels["controls"]), labelList(a.Custom["controls"])...))
}
