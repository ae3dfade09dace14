package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// A GitHub App's Secret, named as for Flux's provider github: the Git host is shown a token, which is asked for anew only when the App is another.
func TestGitHubAppCredentials(t *testing.T) {
	given := 0
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given++
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"token": "ghs_%s_%d", "expires_at": %q}`, strings.Split(r.URL.Path, "/")[3], given, time.Now().Add(time.Hour).Format(time.RFC3339))
	}))
	t.Cleanup(api.Close)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("githubAppID", "4711\n")
	write("githubAppInstallationID", "77\n")
	write("githubAppBaseURL", api.URL)
	write("ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})))
	if _, err := mirrorOptions(repositoryWith(dir)); err == nil || !strings.Contains(err.Error(), "private key") {
		t.Errorf("without its key: %v", err)
	}
	write("githubAppPrivateKey", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	options, err := mirrorOptions(repositoryWith(dir))
	if err != nil {
		t.Fatal(err)
	}
	want := func(password string) {
		t.Helper()
		for _, o := range options {
			c, err := o.Credentials(t.Context())
			if err != nil || c.Username != "x-access-token" || c.Password != password {
				t.Errorf("%s with %q, want %q (%v)", c.Username, c.Password, password, err)
			}
		}
	}
	want("ghs_77_1")
	want("ghs_77_1")
	write("githubAppID", "4712\n")
	want("ghs_77_2")
	write("password", "also")
	if _, err := mirrorOptions(repositoryWith(dir)); err == nil || !strings.Contains(err.Error(), "which is meant") {
		t.Errorf("beside a password: %v", err)
	}
}
