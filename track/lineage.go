package track

import (
	"slices"
	"sort"
	"strings"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
)

// lineage knows, for each path of a repository, the commits of the first-parent line that changed it, from the anchor on. The
// anchor stands for everything before it. It grows with what was changed, and is owned by the goroutine that publishes.
type lineage struct {
	commits []lineageCommit
	index   map[git.ID]int32
	// touched holds files, and folders in which something was touched, down to the root ".": indices in commits, ascending.
	touched map[git.Path][]int32
}

// lineageCommit is one verified commit, without its bytes: histories are long.
type lineageCommit struct {
	id         git.ID
	signatures []signing.Signature
}

func newLineage(anchor git.ID, signatures []signing.Signature) *lineage {
	return &lineage{
		commits: []lineageCommit{{anchor, signatures}}, index: map[git.ID]int32{anchor: 0},
		touched: make(map[git.Path][]int32),
	}
}

// add appends a commit that changed these paths.
func (l *lineage) add(id git.ID, signatures []signing.Signature, changed []git.Path) {
	at := int32(len(l.commits))
	if last := l.commits[at-1].signatures; slices.Equal(last, signatures) {
		signatures = last // usually the same few people
	}
	l.commits = append(l.commits, lineageCommit{id, signatures})
	l.index[id] = at
	for _, p := range changed {
		for {
			list := l.touched[p]
			if len(list) > 0 && list[len(list)-1] == at {
				break // and so are the folders above
			}
			l.touched[p] = append(list, at)
			if p == "." {
				break
			}
			p = parent(p)
		}
	}
}

// holds tells whether a commit is part of the verified line.
func (l *lineage) holds(id git.ID) bool {
	_, ok := l.index[id]
	return ok
}

// last is the newest commit, not after a revision, that touched one of the paths.
func (l *lineage) last(revision git.ID, paths ...git.Path) lineageCommit {
	return l.commits[l.lastIndex(l.index[revision], paths...)]
}

// lastIndex is the index of the newest commit, not after one, that touched one of the paths.
func (l *lineage) lastIndex(end int32, paths ...git.Path) int32 {
	var newest int32
	for _, p := range paths {
		list := l.touched[p]
		if n := sort.Search(len(list), func(i int) bool { return list[i] > end }); n > 0 {
			newest = max(newest, list[n-1])
		}
	}
	return newest
}

// parent is the folder of a path; that of a top-level name is ".".
func parent(p git.Path) git.Path {
	i := strings.LastIndexByte(string(p), '/')
	if i < 0 {
		return "."
	}
	return p[:i]
}
