package manifest

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io/fs"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/git"
)

// A bundle of Fleet travels through the cluster as copies: of the folder's files in a Bundle and a Content, of its options in a BundleDeployment. What is
// known here of a bundle tells them from what somebody else put there.

// MakesBundle tells whether a GitRepo that is rendered makes a bundle of a name. What one for other clusters makes is not known, and theirs.
func (s *Set) MakesBundle(repo Key, name string) bool {
	b := s.gitRepo(repo)
	return b != nil && (b.Elsewhere || slices.Contains(b.Bundles, name))
}

// Follows tells whether the object is one of an agent's that is rendered, whether or not it could be followed.
func (s *Set) Follows(owner Key) bool { return s.gitRepo(owner) != nil }

func (s *Set) gitRepo(repo Key) *Build {
	i := slices.IndexFunc(s.Builds, func(b *Build) bool { return b.OwnerKey() == repo && b.Part == "" })
	if i < 0 {
		return nil
	}
	return s.Builds[i]
}

// FromBundles tells whether resources that Fleet keeps are files of the folders of an agent's bundles ("" is any agent). What Fleet fetches from the network for a chart
// is taken for what it is by its place: Git has no file of it. With unknown, bundles for other clusters may be theirs, and nothing can be said.
func (s *Set) FromBundles(applier string, resources []agent.FleetResource) (from, unknown bool) {
	is := func(b *Build) bool { return applier == "" || b.Owner.Agent == applier }
	from = !slices.ContainsFunc(resources, func(r agent.FleetResource) bool {
		return !slices.ContainsFunc(s.Builds, func(b *Build) bool { return is(b) && b.holds(r) })
	})
	return from, slices.ContainsFunc(s.Builds, func(b *Build) bool { return is(b) && b.Elsewhere })
}

// holds tells whether a resource is a file of the bundle's folder.
func (b *Build) holds(r agent.FleetResource) bool {
	if len(b.blobs) == 0 {
		return false
	}
	if b.remote && (strings.HasPrefix(r.Name, ".chart/") || strings.Contains("/"+r.Name, "/charts/") || strings.HasSuffix("/"+r.Name, "/Chart.lock")) {
		return true
	}
	var h hash.Hash = sha1.New()
	if len(b.blobs[0]) == hex.EncodedLen(sha256.Size) {
		h = sha256.New()
	}
	fmt.Fprintf(h, "blob %d\x00", len(r.Data))
	h.Write(r.Data)
	_, found := slices.BinarySearch(b.blobs, git.ID(hex.EncodeToString(h.Sum(nil))))
	return found
}

// blobsBelow are the files of a folder by their object ids, sorted.
func (r *renderer) blobsBelow(at file) ([]git.ID, error) {
	tree, err := r.tree(at.repository)
	if err != nil {
		return nil, err
	}
	var ids []git.ID
	err = fs.WalkDir(tree, string(at.path), func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		id, err := r.fileID(file{at.repository, git.Path(name)})
		ids = append(ids, id)
		return err
	})
	slices.Sort(ids)
	return slices.Compact(ids), err
}
