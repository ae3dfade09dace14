package signing

import (
	"context"
	"fmt"
	"slices"

	"github.com/commitgate/commitgate/git"
)

// List is a signer list as a tree holds it, byte for byte.
type List struct {
	// Path is that of the file; "" where the tree holds none and the configuration's signers count.
	Path git.Path
	// Content is the file, or else what Trust returns.
	Content []byte
}

// List is the signer list of a tree: by it the commits are judged whose parent has this tree.
func (a *Authority) List(t Tree) (List, error) {
	if a.listPath != "" {
		id, err := t.ID(a.listPath)
		if err != nil {
			return List{}, err
		}
		if id != "" {
			data, err := readList(t, a.listPath)
			if err != nil {
				return List{}, fmt.Errorf("%s: %w", a.listPath, err)
			}
			return List{a.listPath, data}, nil
		}
	}
	return List{Content: a.trust}, nil
}

// MergedLists are the signer lists of the other parents of a merge, those that differ from its first parent's, each once: the commit is
// judged by all of them. A commit with one parent has none.
func (a *Authority) MergedLists(ctx context.Context, h History, c *git.Commit) ([]List, error) {
	if a.listPath == "" || len(c.Parents) < 2 {
		return nil, nil
	}
	var lists []List
	var seen []git.ID // the files; "" is the configuration's
	for i, parent := range c.Parents {
		id, err := treeOf(ctx, h, parent)
		if err != nil {
			return nil, err
		}
		t, err := h.Tree(ctx, id)
		if err != nil {
			return nil, err
		}
		file, err := t.ID(a.listPath)
		if err != nil {
			return nil, err
		}
		known := slices.Contains(seen, file)
		if seen = append(seen, file); known || i == 0 {
			continue
		}
		list, err := a.List(t)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	return lists, nil
}

// ListPath is where the repository keeps its signer list, "" if it keeps none.
func (a *Authority) ListPath() git.Path { return a.listPath }

// Trust is what the configuration says of signers, rules and revoked keys, as JSON: with a signer list of Git, all that commits are judged
// by. It holds no secret. It must not be changed.
func (a *Authority) Trust() []byte { return a.trust }
