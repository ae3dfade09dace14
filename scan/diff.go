package scan

import (
	"slices"
	"strings"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/snapshot"
)

// Difference is one field in which a live object is not as Git declares it.
type Difference struct {
	Path string `json:"path"`
	// Git and Live are the values, nil where there is none.
	Git  any `json:"git,omitempty"`
	Live any `json:"live,omitempty"`
	// Secret: the values are not shown.
	Secret bool `json:"secret,omitempty"`
}

// Differences lists the fields in which a live object is not as declared, with both values; those of secrets are left out.
func (j *Judge) Differences(e *snapshot.Entry, object map[string]any) []Difference {
	result := e.Account.Explain(account.Change{Object: object, Exempt: j.Exempt(e)})
	fields := slices.Concat(result.Unexplained, result.Missing)
	slices.Sort(fields)
	declared := e.Applied()
	var out []Difference
	for _, path := range slices.Compact(fields) {
		d := Difference{Path: path, Secret: Secret(e, path)}
		if !d.Secret {
			d.Git, _ = account.Value(declared, path)
			d.Live, _ = account.Value(object, path)
		}
		out = append(out, d)
	}
	return out
}

// Secret tells whether a value must not be shown: what a Secret holds, and what Git holds encrypted.
func Secret(e *snapshot.Entry, path string) bool {
	if e.Group == "" && e.Kind == "Secret" && SecretPath(path) {
		return true
	}
	return slices.ContainsFunc(e.Opaque, func(p string) bool { return account.Pattern(p).Match(path) })
}

// SecretPath tells whether a field of a Secret holds what is secret about it.
func SecretPath(path string) bool {
	return strings.HasPrefix(path, "data") || strings.HasPrefix(path, "stringData") || strings.Contains(path, "last-applied-configuration")
}
