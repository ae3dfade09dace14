package manifest

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/git"
)

// Keep keeps what was rendered beyond the life of the process. Its methods are called by one goroutine.
type Keep interface {
	// Get returns what was put under a name, as it was put: whoever can write where it is kept must not be able to change that. nil is nothing, and
	// always allowed.
	Get(name [sha256.Size]byte) []byte
	// Put keeps a text under a name, in the place of what was there.
	Put(name [sha256.Size]byte, text []byte)
}

// keepVersion is part of each name: a version that renders differently must have another. So must one with other libraries of kustomize or Helm.
const keepVersion = "commitgate rendered 1, kustomize 0.21, Helm 4.2"

// folderJob is a folder that a build has rendered as a whole: a kustomization or a chart.
type folderJob struct {
	at     file
	with   string            // what shapes the result beside the tree, or a digest of it
	files  map[string][]byte // over those of the tree; nil: taken away
	looked []git.Path        // looked for beside what the rendering looks for
	// render fills in the documents, and returns what was read or looked for. keep is what may be kept of it: nil if nothing.
	render func(tree fs.FS, made *rendered) (inputs []git.Path, keep *answer, err error)
}

// renderFolder adds to the build what a folder renders to: what it did in the revision before or before a restart, if all that it was
// rendered from is the same.
func (r *renderer) renderFolder(b *Build, f folderJob) error {
	made, err := r.renderedBefore(b, f)
	if err != nil {
		return err
	}
	if made != nil {
		b.take(f.at, made)
		return nil
	}
	tree, err := r.tree(f.at.repository)
	if err != nil {
		return err
	}
	if len(f.files) > 0 {
		tree = overlay{tree, f.files}
	}
	made = &rendered{with: f.with, inputs: map[file]git.ID{}}
	inputs, keep, err := f.render(tree, made)
	if err != nil {
		return err
	}
	for _, p := range slices.Concat(inputs, f.looked) {
		if _, ok := f.files[string(p)]; ok && !slices.Contains(f.looked, p) {
			continue // made from what is in spec and inputs already
		}
		at := file{f.at.repository, p}
		if made.inputs[at], err = r.fileID(at); err != nil {
			return err
		}
	}
	if made, err = r.enclosed(made, f.at); err != nil {
		return err
	}
	b.take(f.at, made)
	return r.keep(b, f, made, keep)
}

// renderedBefore is what a folder was rendered to in the revision before, or before a restart, if it still holds; nil if nothing does.
func (r *renderer) renderedBefore(b *Build, f folderJob) (made *rendered, err error) {
	if r.reopening {
		return nil, nil
	}
	if old := r.previous[b.id]; old != nil && old.rendered[f.at] != nil && old.rendered[f.at].with == f.with {
		made = old.rendered[f.at]
	} else {
		made = r.recall(b, f)
	}
	if made == nil {
		return nil, nil
	}
	if made.folder != "" {
		if id, err := r.fileID(f.at); err != nil || id == made.folder {
			return made, err
		}
	}
	if same, err := r.unchanged(made.inputs); err != nil || !same {
		return nil, err
	}
	return r.enclosed(made, f.at)
}

// enclosed notes of what was rendered, and is shared from now on, the id of its folder if it was rendered from nothing else: then that alone tells whether it holds.
func (r *renderer) enclosed(made *rendered, at file) (*rendered, error) {
	for f := range made.inputs {
		if f.repository != at.repository || !strings.HasPrefix(string(f.path), string(at.path)+"/") {
			return made, nil
		}
	}
	id, err := r.fileID(at)
	if err != nil || id == made.folder {
		return made, err
	}
	now := *made
	now.folder = id
	return &now, nil
}

// kept is what a folder was rendered to, with the ids of all that it was rendered from: by them it is told whether it still holds.
type kept struct {
	With   string      `cbor:"w"`
	Inputs []keptInput `cbor:"i"`
	Answer answer      `cbor:"a"`
}

type keptInput struct {
	Path git.Path `cbor:"p"`
	ID   git.ID   `cbor:"i,omitempty"` // "" if there was none
}

// keepName names what a folder of a build renders to, whatever that is: there is one for each, the newest.
func keepName(b *Build, at file) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%s\n%q %q %q", keepVersion, b.id, at.repository, at.path))
}

// recall is what was kept of a folder, nil if nothing.
func (r *renderer) recall(b *Build, f folderJob) *rendered {
	if r.in.Keep == nil {
		return nil
	}
	text := r.in.Keep.Get(keepName(b, f.at))
	var k kept
	if text == nil || decode(text, &k) != nil || k.With != f.with {
		return nil
	}
	made := &rendered{with: f.with, inputs: make(map[file]git.ID, len(k.Inputs)), docs: k.Answer.documents(k.Answer.Inputs)}
	for _, in := range k.Inputs {
		made.inputs[file{f.at.repository, in.Path}] = in.ID
	}
	return made
}

// keep keeps what a folder rendered to.
func (r *renderer) keep(b *Build, f folderJob, made *rendered, a *answer) error {
	if r.in.Keep == nil || a == nil || r.ahead.looking {
		return nil
	}
	k := kept{With: f.with, Answer: *a}
	for _, in := range slices.SortedFunc(maps.Keys(made.inputs), func(a, b file) int { return cmp.Compare(a.path, b.path) }) {
		k.Inputs = append(k.Inputs, keptInput{in.path, made.inputs[in]})
	}
	text, err := encode(k)
	if err != nil {
		return fmt.Errorf("keep what %s renders to: %w", f.at.path, err)
	}
	r.in.Keep.Put(keepName(b, f.at), text)
	return nil
}
