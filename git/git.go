// Package git holds the values of Git: object ids, paths, commits and their signature envelopes.
//
// It parses bytes and does no I/O. What it returns is what the bytes say; whether to believe them is
// package signing's business.
package git

import (
	"fmt"
	"path"
	"strings"
	"time"
)

// ID is the name of a Git object: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits. The zero value names nothing.
type ID string

// ParseID reads a full object id. Abbreviations are refused: what they mean depends on the repository.
func ParseID(s string) (ID, error) {
	if len(s) != 40 && len(s) != 64 {
		return "", fmt.Errorf("object id %q: want 40 or 64 hexadecimal digits, have %d characters", s, len(s))
	}
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", fmt.Errorf("object id %q: not lower-case hexadecimal", s)
		}
	}
	return ID(s), nil
}

// Short is the abbreviation shown to people: the first seven digits.
func (id ID) Short() string {
	if len(id) < 7 {
		return string(id)
	}
	return string(id[:7])
}

// Path names a file or folder of a tree: slash-separated, relative to the root, clean. The root itself is ".".
type Path string

// ParsePath cleans a path that a person wrote ("./apps/", "/apps", "apps") and refuses one that leaves the tree.
func ParsePath(s string) (Path, error) {
	p := path.Clean(strings.TrimPrefix(s, "/"))
	if p == ".." || strings.HasPrefix(p, "../") {
		return "", fmt.Errorf("path %q leaves the tree", s)
	}
	if strings.ContainsRune(p, 0) {
		return "", fmt.Errorf("path %q holds a NUL", s)
	}
	return Path(p), nil
}

// Contains tells whether q is p or lies below it.
func (p Path) Contains(q Path) bool {
	return p == "." || p == q || strings.HasPrefix(string(q), string(p)+"/")
}

// Person is an author or committer as the commit names them: free text that proves nothing.
type Person struct {
	Name, Email string
	When        time.Time
}
