package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/git"
)

// Problem is one thing that somebody pushed and that cannot be rendered, or is not followed.
type Problem struct {
	Repository string   // "" if it concerns what the configuration holds word for word
	Path       git.Path // "" if it concerns no file in particular
	Line       int      // from 1; 0 if it concerns no line in particular
	What       string   // a sentence for whoever pushed it
}

// String is "repository:path:line: what", as far as it is known.
func (p Problem) String() string {
	where, commit := splitPinned(p.Repository)
	if commit != "" {
		where += "@" + commit.Short()
	}
	if p.Path != "" {
		where += ":" + string(p.Path)
	}
	if p.Line > 0 {
		where += fmt.Sprintf(":%d", p.Line)
	}
	if where == "" {
		return p.What
	}
	return where + ": " + p.What
}

// Problems is everything that keeps a revision from being rendered, sorted by place.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// ErrLimit is wrapped by the error of a rendering that grew beyond its Limits.
var ErrLimit = errors.New("too much to render")

func sortProblems(ps Problems) Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		if c := strings.Compare(a.Repository, b.Repository); c != 0 {
			return c
		}
		if c := strings.Compare(string(a.Path), string(b.Path)); c != 0 {
			return c
		}
		return a.Line - b.Line
	})
	return slices.Compact(ps)
}
