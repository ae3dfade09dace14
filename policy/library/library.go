// Package library holds rules that teams commonly want, written in the gate's own convention, each with its tests. They are meant to be
// copied into a policy folder and to live there: what decides is what the repository holds, never what a release of the gate brings along.
//
// Each rule is a folder: the rule, its settings, and its tests, which do not depend on the settings. The folder lib holds what rules share.
package library

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/policy"
)

//go:embed rules
var rules embed.FS

// shared is the folder of what several rules use.
const shared = "lib"

// ErrNoRule is wrapped where a name is none of the library's.
var ErrNoRule = errors.New("the library has no such rule")

// Rule describes one rule.
type Rule struct {
	Name string `json:"name"` // the folder's name, and the last part of the package's
	policy.Metadata
}

// FS holds the library: one folder for each rule, and lib.
func FS() fs.FS {
	sub, err := fs.Sub(rules, "rules")
	if err != nil {
		panic(err) // unreachable: the folder is embedded
	}
	return sub
}

// Rules lists the library, by name.
func Rules() ([]Rule, error) {
	entries, err := fs.ReadDir(FS(), ".")
	if err != nil {
		return nil, err
	}
	var out []Rule
	for _, e := range entries {
		if e.Name() == shared {
			continue
		}
		name := path.Join(e.Name(), e.Name()+".rego")
		text, err := fs.ReadFile(FS(), name)
		if err != nil {
			return nil, err
		}
		m, err := policy.ReadMetadata(name, text)
		if err != nil {
			return nil, err
		}
		out = append(out, Rule{Name: e.Name(), Metadata: m})
	}
	return out, nil
}

// Files are the files of some rules, and of lib those that they import with their tests, by name and in order.
func Files(names ...string) ([]string, error) {
	var out []string
	for _, name := range names {
		if _, err := fs.Stat(FS(), path.Join(name, name+".rego")); err != nil || name == shared {
			return nil, fmt.Errorf("%q: %w", name, ErrNoRule)
		}
		files, err := fs.Glob(FS(), name+"/*.rego")
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			used, err := imports(f)
			if err != nil {
				return nil, err
			}
			out = append(append(out, f), used...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// imports are the files of lib that a file imports. Those import nothing further.
func imports(name string) ([]string, error) {
	text, err := fs.ReadFile(FS(), name)
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if lib, ok := strings.CutPrefix(strings.TrimSpace(line), "import data."+shared+"."); ok {
			out = append(out, path.Join(shared, lib+".rego"), path.Join(shared, lib+"_test.rego"))
		}
	}
	return out, nil
}
