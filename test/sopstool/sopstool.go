// Package sopstool runs the real sops, with age and OpenPGP keys of its own: what it writes is what people have in Git.
package sopstool

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"filippo.io/age"
)

// Tool is sops with keys.
type Tool struct {
	// Age, PGP and Stranger are recipients. Keys holds the keys of the first two, named as Flux names them; of Stranger nobody has the key.
	Age, PGP, Stranger string
	Keys               string

	bin, dir, gnupg, identity string
}

// New makes keys, or skips the test where nobody has built sops; in CI that is a failure.
func New(t testing.TB) *Tool {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	bin := filepath.Join(filepath.Dir(here), "../../bin/sops")
	if _, err := os.Stat(bin); err != nil {
		if os.Getenv("CI") == "" {
			t.Skip("no bin/sops: make sops builds it")
		}
		t.Fatal(err)
	}
	s := &Tool{bin: bin, dir: t.TempDir(), Keys: t.TempDir()}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	s.identity, s.Age, s.Stranger = identity.String(), identity.Recipient().String(), stranger.Recipient().String()
	if s.gnupg, err = os.MkdirTemp("", ""); err != nil { // short: it holds a socket
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.run(t, "gpgconf", "--kill", "all")
		if err := os.RemoveAll(s.gnupg); err != nil {
			t.Log(err)
		}
	})
	s.run(t, "gpg", "--batch", "--passphrase", "", "--quick-gen-key", "flux@example.com", "future-default", "default", "never")
	s.PGP = regexp.MustCompile(`(?m)^fpr:+([0-9A-F]{40}):`).FindStringSubmatch(s.run(t, "gpg", "--batch", "--with-colons", "--list-keys"))[1]
	write(t, filepath.Join(s.Keys, "identity.agekey"), "# created: today\n"+s.identity+"\n")
	write(t, filepath.Join(s.Keys, "sops.asc"), s.run(t, "gpg", "--batch", "--armor", "--export-secret-keys", s.PGP))
	return s
}

// Encrypt encrypts a file of this name with the arguments of sops, which say for whom.
func (s *Tool) Encrypt(t testing.TB, name, content string, args ...string) string {
	t.Helper()
	write(t, filepath.Join(s.dir, name), content)
	return s.run(t, s.bin, append(append([]string{"--encrypt"}, args...), name)...)
}

// Decrypt decrypts a file of this name.
func (s *Tool) Decrypt(t testing.TB, name, content string, args ...string) string {
	t.Helper()
	write(t, filepath.Join(s.dir, name), content)
	return s.run(t, s.bin, append(append([]string{"--decrypt"}, args...), name)...)
}

// Configure writes a file beside those that are encrypted, such as a configuration that an argument names.
func (s *Tool) Configure(t testing.TB, name, content string) {
	t.Helper()
	write(t, filepath.Join(s.dir, name), content)
}

func (s *Tool) run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GNUPGHOME=" + s.gnupg, "HOME=" + s.dir, "SOPS_DISABLE_VERSION_CHECK=1", "SOPS_AGE_KEY=" + s.identity}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

func write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
