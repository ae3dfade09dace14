package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/breakglass"
	"github.com/commitgate/commitgate/test/forge"
)

// newGrantGate is a gate without a cluster where Alice, with an SSH key, and Bob, with an OpenPGP key, must sign.
func newGrantGate(t *testing.T, f *forge.Forge) (g *gate, alice, bob *forge.Person) {
	t.Helper()
	alice, err := f.WithSSHKey(t.Context(), "Alice", "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	if bob, err = f.WithOpenPGPKey(t.Context(), "Bob", "bob@example.org"); err != nil {
		t.Fatal(err)
	}
	signers, err := json.Marshal([]v1alpha1.Signer{alice.Signer(), bob.Signer()})
	if err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(testGate, "spec:\n  agents", "spec:\n  cluster: shop\n  breakGlass: {signers: "+string(signers)+"}\n  agents", 1)
	return newTestGateOf(t, config), alice, bob
}

// When the API server cannot bring a grant, a file in the gate's own folder does: by the same signatures, and for as long as the file is there.
func TestGrantFiles(t *testing.T) {
	f, err := forge.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	g, alice, bob := newGrantGate(t, f)
	t.Setenv("GNUPGHOME", f.GNUPGHome())
	keeper := g.grants.keeper
	file := filepath.Join(keeper.dir, "inc-7.yaml")
	commitgate := func(args ...string) {
		t.Helper()
		if code := run(t.Context(), append([]string{"commitgate", "breakglass"}, args...)); code != exitYes {
			t.Fatalf("commitgate breakglass %q: exit status %d", args, code)
		}
	}
	stands := func(want breakglass.State) {
		t.Helper()
		keeper.readFiles()
		var have breakglass.State
		for _, s := range keeper.store.Set().Standings(time.Now()) {
			have = s.State
		}
		if have != want {
			t.Errorf("the grant is %q, want %q", have, want)
		}
	}
	const nowhere = breakglass.State("")

	commitgate("request", "inc-7", "--cluster=shop", "--user=carol", "--namespace=shop", "--kind=Deployment", "--operation=UPDATE", "--for=1h",
		"--reason=the cart is down", "--by=carol", "--output="+file)
	stands(nowhere)
	commitgate("sign", file, "--ssh-key="+alice.KeyFile())
	stands(nowhere)
	commitgate("sign", file, "--gpg-key="+bob.OpenPGPKey())
	stands(breakglass.Active)
	signed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("{") // something is being written there
	stands(breakglass.Active)
	write(string(signed[:len(signed)/2])) // half a copy is a grant without a spec: it opens nothing, and ends nothing
	stands(nowhere)
	write(string(signed))
	stands(breakglass.Active)
	write(strings.Replace(string(signed), "- Deployment", "- '*'", 1))
	stands(nowhere)
	write(string(signed))
	stands(breakglass.Active)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	stands(nowhere)
	write(string(signed))
	stands(breakglass.Deleted)
}
