package forge_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/forge"
)

func newForge(t *testing.T) *forge.Forge {
	t.Helper()
	f, err := forge.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// run runs git as a stranger would, without any configuration.
func run(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Git's own verification must accept what the forge's people sign, and a clone must bring it.
func TestCommitsAreSignedAndServed(t *testing.T) {
	ctx := t.Context()
	f := newForge(t)
	alice := must(f.WithSSHKey(ctx, "Alice Archer", "alice@example.com"))(t)
	bob := must(f.WithOpenPGPKey(ctx, "Bob Baker", "bob@example.com"))(t)
	r := must(f.Create(ctx, "shop"))(t)
	byAlice := must(r.Publish(ctx, alice, "first", map[string]string{"a.yaml": "a: 1\n"}))(t)
	byBob := must(r.Publish(ctx, bob, "second", map[string]string{"a.yaml": "", "b.yaml": "b: 1\n"}))(t)
	unsigned := must(r.Publish(ctx, forge.WithoutKey("Mallory", "mallory@example.com"), "third", map[string]string{"c.yaml": "c: 1\n"}))(t)

	allowed := filepath.Join(t.TempDir(), "allowed_signers")
	if err := os.WriteFile(allowed, []byte("alice@example.com "+alice.Signer().SSH[0]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := r.Git(ctx, "-c", "gpg.ssh.allowedSignersFile="+allowed, "verify-commit", string(byAlice)); err != nil {
		t.Errorf("git does not accept the SSH signature: %v%s", err, out)
	}
	if _, err := r.Git(ctx, "verify-commit", string(byBob)); err != nil {
		t.Errorf("git does not accept the OpenPGP signature: %v", err)
	}
	if _, err := r.Git(ctx, "verify-commit", string(unsigned)); err == nil {
		t.Error("git accepts an unsigned commit")
	}
	if !strings.HasPrefix(bob.Signer().OpenPGP, "-----BEGIN PGP PUBLIC KEY BLOCK-----") {
		t.Error("bob's public key is not armoured")
	}

	clone := filepath.Join(t.TempDir(), "clone")
	if out, err := run(t, "", "clone", "--quiet", r.URL(), clone); err != nil {
		t.Fatalf("clone: %s", out)
	}
	if head := must(run(t, clone, "rev-parse", "HEAD"))(t); strings.TrimSpace(head) != string(unsigned) {
		t.Errorf("the clone is at %s, want %s", head, unsigned)
	}
	if f.Fetches() != 1 {
		t.Errorf("a clone counts as %d fetches", f.Fetches())
	}
}

func TestHistoryCanBeRewritten(t *testing.T) {
	ctx := t.Context()
	f := newForge(t)
	alice := must(f.WithSSHKey(ctx, "Alice Archer", "alice@example.com"))(t)
	r := must(f.Create(ctx, "shop"))(t)
	first := must(r.Publish(ctx, alice, "first", map[string]string{"a.yaml": "a: 1\n"}))(t)
	must(r.Publish(ctx, alice, "second", map[string]string{"a.yaml": "a: 2\n"}))(t)
	if err := r.Reset(ctx, first); err != nil {
		t.Fatal(err)
	}
	other := must(r.Commit(ctx, alice, "another second"))(t)
	if err := r.Push(ctx, false); err == nil {
		t.Fatal("a rewritten branch is pushed without force")
	}
	if err := r.Push(ctx, true); err != nil {
		t.Fatal(err)
	}
	if out := must(run(t, "", "ls-remote", r.URL(), "refs/heads/main"))(t); !strings.HasPrefix(out, string(other)) {
		t.Errorf("the forge serves %s, want %s", out, other)
	}
}

func TestAForgeGoesDownAndComesBack(t *testing.T) {
	ctx := t.Context()
	f := newForge(t)
	r := must(f.Create(ctx, "shop"))(t)
	must(r.Publish(ctx, forge.WithoutKey("Alice", "alice@example.com"), "first", map[string]string{"a.yaml": "a: 1\n"}))(t)
	f.SetDown(true)
	if out, err := run(t, "", "ls-remote", r.URL()); err == nil || !strings.Contains(out, "503") {
		t.Errorf("a forge that is down answers %s", out)
	}
	f.SetDown(false)
	if out, err := run(t, "", "ls-remote", r.URL()); err != nil {
		t.Errorf("a forge that came back: %s", out)
	}
}
