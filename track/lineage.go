package track

import (
	"strings"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
)

// lineage knows, for each path of a repository, the commit of the first-parent line that last changed it, from the anchor on. The
// anchor stands for everything before it. It grows with what was changed, and is owned by the goroutine that publishes.
type lineage struct {
	commits []lineageCommit
	// touched holds files, and folders in which something was touched, down to the root ".".
	touched map[git.Path]int // index in commits
}

// lineageCommit is one verified commit, without its bytes: histories are long.
type lineageCommit struct {
	id         git.ID
	signatures []signing.Signature
}

func newLineage(anchor git.ID, signatures []signing.Signature) *lineage {
	return &lineage{commits: []lineageCommit{{anchor, signatures}}, touched: make(map[git.Path]int)}
}

// add appends a commit that changed these paths.
func (l *lineage) add(id git.ID, signatures []signing.Signature, changed []git.Path) {
	at := len(l.commits)
	if last := l.commits[at-1].signatures; equalSignatures(last, signatures) {
		signatures = last // usually the same few people
	}
	l.commits = append(l.commits, lineageCommit{id, signatures})
	for _, p := range changed {
		for l.touched[p] != at {
			l.touched[p] = at
			if p == "." {
				break
			}
			p = parent(p)
		}
	}
}

// last is the newest commit that touched one of the paths.
func (l *lineage) last(paths ...git.Path) int {
	at := 0
	for _, p := range paths {
		at = max(at, l.touched[p])
	}
	return at
}

// parent is the folder of a path; that of a top-level name is ".".
func parent(p git.Path) git.Path {
	i := strings.LastIndexByte(string(p), '/')
	if i < 0 {
		return "."
	}
	return p[:i]
}

func equalSignatures(a, b []signing.Signature) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
