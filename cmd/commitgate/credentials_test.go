package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/mirror/wire"
)

// The Secret of a Flux GitRepository, mounted, is what the mirror shows to the Git host; a rotated one is taken up at the next fetch.
func TestCredentials(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		want  func(t *testing.T, dir string)
		err   string
	}{
		"user and token": {files: map[string]string{"username": "git\n", "password": "t0ken\n"}, want: func(t *testing.T, dir string) {
			c := reach(t, dir)
			if c.Username != "git" || c.Password != "t0ken" || c.Key != nil {
				t.Errorf("%s", c.Username)
			}
		}},
		"bearer": {files: map[string]string{"bearerToken": "b"}, want: func(t *testing.T, dir string) {
			if c := reach(t, dir); c.Bearer != "b" {
				t.Error("no bearer token")
			}
		}},
		"SSH key with a pass phrase": {files: map[string]string{"identity": "KEY", "password": "open", "known_hosts": "host key"}, want: func(t *testing.T, dir string) {
			if c := reach(t, dir); string(c.Key) != "KEY\n" || string(c.Passphrase) != "open" || c.Password != "" {
				t.Error("the pass phrase is not the key's")
			}
		}},
		"a certificate without its key": {files: map[string]string{"tls.crt": "x"}, err: "go together"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if tt.err == "" {
				tt.want(t, dir)
				return
			}
			if _, err := mirrorOptions(repositoryWith(dir)); err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
	t.Run("a folder that is not there", func(t *testing.T) {
		if _, err := mirrorOptions(repositoryWith("/nowhere")); err == nil {
			t.Error("no error")
		}
	})
	t.Run("rotation", func(t *testing.T) {
		dir := t.TempDir()
		options, err := mirrorOptions(repositoryWith(dir))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "password"), []byte("new"), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := options["infra"].Credentials(t.Context()); err != nil || c.Password != "new" {
			t.Errorf("the new password is not taken up: %v", err)
		}
	})
}

func repositoryWith(dir string) []v1alpha1.TrustedRepository {
	r := v1alpha1.TrustedRepository{Spec: v1alpha1.TrustedRepositorySpec{Credentials: dir}}
	r.Name = "infra"
	return []v1alpha1.TrustedRepository{r}
}

func reach(t *testing.T, dir string) wire.Credentials {
	t.Helper()
	options, err := mirrorOptions(repositoryWith(dir))
	if err != nil {
		t.Fatal(err)
	}
	c, err := options["infra"].Credentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}
