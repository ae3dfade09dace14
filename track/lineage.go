package track

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sort"
	"strings"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/signing"
)

// lineage knows, for each path of a repository, the commits of the first-parent line that changed it, from the anchor on. The
// anchor stands for everything before it. It grows with what was changed, and is owned by the goroutine that publishes.
type lineage struct {
	commits []lineageCommit
	// lists are the signer lists of the line, oldest first: the anchor's, and each that a commit put in the place of the one before.
	lists []*SignerList
	// aside are the lists that only branches had that were merged, by digest.
	aside map[string]*SignerList
	index map[git.ID]int32
	// touched holds files, and folders in which something was touched, down to the root ".": indices in commits, ascending.
	touched map[git.Path][]int32
}

// lineageCommit is one verified commit, without its bytes: histories are long.
type lineageCommit struct {
	id         git.ID
	signatures []signing.Signature
	list       *SignerList   // by which it was judged; nil for the anchor
	merged     []*SignerList // of the other parents of a merge, where they differ: by them, too
}

// SignerList is a signer list of the line, from the commit on that brought it. By it the commits are judged whose first parent has it; and, of the line
// or of a branch that was merged, the merges of which another parent has it.
type SignerList struct {
	Commit git.ID   // that brought it: the anchor, or a later one; for a list that only a merged branch had, the merge
	Path   git.Path // "" if the tree holds none, and the configuration's signers count
	Digest string   // sha256: and 64 hexadecimal digits
	Before string   // the digest of the one that it replaced, "" for the anchor's
	// Content are its bytes. They are let go once the observer has them.
	Content []byte

	at int32 // the index of Commit
}

func newLineage(anchor git.ID, signatures []signing.Signature, list signing.List) *lineage {
	return &lineage{
		commits: []lineageCommit{{id: anchor, signatures: signatures}}, index: map[git.ID]int32{anchor: 0}, lists: []*SignerList{signerList(anchor, list)},
		aside: make(map[string]*SignerList), touched: make(map[git.Path][]int32),
	}
}

func signerList(commit git.ID, list signing.List) *SignerList {
	sum := sha256.Sum256(list.Content)
	return &SignerList{Commit: commit, Path: list.Path, Digest: "sha256:" + hex.EncodeToString(sum[:]), Content: list.Content}
}

// list is the signer list at the end of the line.
func (l *lineage) list() *SignerList { return l.lists[len(l.lists)-1] }

// relist notes that the last commit brought another signer list.
func (l *lineage) relist(list signing.List) {
	at := int32(len(l.commits)) - 1
	next := signerList(l.commits[at].id, list)
	if next.Digest == l.list().Digest {
		return // a mode, or a way there and back within a merge
	}
	next.at, next.Before = at, l.list().Digest
	l.lists = append(l.lists, next)
}

// merges notes the signer lists of the other parents of the last commit.
func (l *lineage) merges(lists []signing.List) {
	c := &l.commits[len(l.commits)-1]
	for _, list := range lists {
		s := signerList(c.id, list)
		if i := slices.IndexFunc(l.lists, func(other *SignerList) bool { return other.Digest == s.Digest }); i >= 0 {
			s = l.lists[i]
		} else if other := l.aside[s.Digest]; other != nil {
			s = other
		} else {
			l.aside[s.Digest] = s
		}
		c.merged = append(c.merged, s)
	}
}

// listAfter is the signer list by which the commits after a revision are judged.
func (l *lineage) listAfter(revision git.ID) *SignerList {
	at := l.index[revision]
	n := sort.Search(len(l.lists), func(i int) bool { return l.lists[i].at > at })
	return l.lists[n-1]
}

// add appends a commit that changed these paths.
func (l *lineage) add(id git.ID, signatures []signing.Signature, changed []git.Path) {
	at := int32(len(l.commits))
	if last := l.commits[at-1].signatures; slices.Equal(last, signatures) {
		signatures = last // usually the same few people
	}
	l.commits = append(l.commits, lineageCommit{id: id, signatures: signatures, list: l.list()})
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

// last is the newest commit, not after a revision, that touched what an object is made from.
func (l *lineage) last(revision git.ID, from *manifest.Source) lineageCommit {
	return l.commits[l.lastIndex(l.index[revision], from)]
}

// lastIndex is the index of the newest commit, not after one, that touched what an object is made from.
func (l *lineage) lastIndex(end int32, from *manifest.Source) int32 {
	newest := l.lastTouch(end, from.Path)
	for _, p := range from.Inputs {
		newest = max(newest, l.lastTouch(end, p))
	}
	return newest
}

// lastTouch is the index of the newest commit, not after one, that touched a path; that of the anchor if none did.
func (l *lineage) lastTouch(end int32, p git.Path) int32 {
	list := l.touched[p]
	if n := sort.Search(len(list), func(i int) bool { return list[i] > end }); n > 0 {
		return list[n-1]
	}
	return 0
}

// parent is the folder of a path; that of a top-level name is ".".
func parent(p git.Path) git.Path {
	i := strings.LastIndexByte(string(p), '/')
	if i < 0 {
		return "."
	}
	return p[:i]
}
