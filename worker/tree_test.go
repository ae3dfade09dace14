package worker

import (
	"errors"
	"io/fs"
	"slices"
	"testing"
	"testing/fstest"
)

// What a child sees is what its parent has, in whatever order it looks; and it does not ask for the folders above, which may be long.
func TestTheTreeOfAChild(t *testing.T) {
	from := fstest.MapFS{
		"apps/shop/kustomization.yaml": {Data: []byte("resources: [cart.yaml]\n")}, "apps/shop/cart.yaml": {Data: []byte("kind: ConfigMap\n")},
		"apps/shop/large.yaml": {Data: make([]byte, sentFile+1)}, "apps/pay/pay.yaml": {Data: []byte("kind: Secret\n")}, "base/a.yaml": {}, "README": {Data: []byte("x")},
	}
	var asked []string
	look := func() *tree {
		asked = nil
		return &tree{ask: func(m message) message {
			asked = append(asked, m.Name)
			return serve(from, m)
		}}
	}
	if err := fstest.TestFS(look(), "apps/shop/cart.yaml", "apps/shop/large.yaml", "README"); err != nil {
		t.Error(err)
	}
	child := look()
	for _, name := range []string{
		".", "apps", "apps/shop", "apps/shop/cart.yaml", "apps/shop/cart.yaml/below", "apps/shop/none.yaml", "apps/none/below", "README", "README/below", "README/below/it", "none", "none/below",
	} {
		want, wantErr := fs.Stat(from, name)
		for _, seen := range []*tree{child, look()} {
			have, err := seen.Stat(name)
			if errors.Is(err, fs.ErrNotExist) != errors.Is(wantErr, fs.ErrNotExist) || (err == nil) != (wantErr == nil) {
				t.Errorf("%s: %v, want %v", name, err, wantErr)
			} else if err == nil && (have.IsDir() != want.IsDir() || have.Name() != want.Name() || !have.IsDir() && have.Size() != want.Size()) {
				t.Errorf("%s: %v, want %v", name, have, want)
			}
		}
	}
	child = look()
	if _, err := child.Stat("apps/shop"); err != nil {
		t.Error(err)
	}
	if _, err := child.ReadFile("apps/shop/cart.yaml"); err != nil {
		t.Error(err)
	}
	if !slices.Equal(asked, []string{"apps/shop"}) {
		t.Errorf("it asked for %q", asked)
	}
}
