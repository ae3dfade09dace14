package signing

import (
	"fmt"

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

// ListPath is where the repository keeps its signer list, "" if it keeps none.
func (a *Authority) ListPath() git.Path { return a.listPath }

// Trust is what the configuration says of signers, rules and revoked keys, as JSON: with a signer list of Git, all that commits are judged
// by. It holds no secret. It must not be changed.
func (a *Authority) Trust() []byte { return a.trust }
