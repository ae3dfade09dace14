package mirror

import (
	"cmp"
	"context"
	"path"
	"slices"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror/objects"
)

// Changed lists the files (links and submodules too) that differ between two trees in content or mode, sorted; from may be "" for
// the empty tree. Folders with the same id are not looked into, so that it costs what the change costs.
func (r *Repository) Changed(ctx context.Context, from, to git.ID) ([]git.Path, error) {
	var paths []git.Path
	if err := r.diff(ctx, "", from, to, &paths); err != nil {
		return nil, err
	}
	slices.Sort(paths)
	return paths, nil
}

func (r *Repository) diff(ctx context.Context, dir string, from, to git.ID, paths *[]git.Path) error {
	if from == to {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var a, b []objects.TreeEntry
	var err error
	if from != "" {
		if a, err = r.tree(from); err != nil {
			return err
		}
	}
	if to != "" {
		if b, err = r.tree(to); err != nil {
			return err
		}
	}
	// Both are in git's order, in which a file and a folder of the same name are two different keys.
	for len(a) > 0 || len(b) > 0 {
		var x, y objects.TreeEntry
		order := 0
		switch {
		case len(a) == 0:
			order = 1
		case len(b) == 0:
			order = -1
		default:
			order = a[0].Compare(&b[0])
		}
		if order <= 0 {
			x, a = a[0], a[1:]
		}
		if order >= 0 {
			y, b = b[0], b[1:]
		}
		if order == 0 && x.Mode == y.Mode && x.SameObject(&y) {
			continue
		}
		name := path.Join(dir, cmp.Or(x.Name, y.Name))
		if x.Mode == objects.ModeFolder || y.Mode == objects.ModeFolder {
			if err := r.diff(ctx, name, x.ID(), y.ID(), paths); err != nil {
				return err
			}
			continue
		}
		*paths = append(*paths, git.Path(name))
	}
	return nil
}
