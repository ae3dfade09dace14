package signing_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/test/forge"
)

func ends(at time.Time) *metav1.Time { return &metav1.Time{Time: at} }

// tamper replaces text in a commit, and makes the result the head.
func (s *scene) tamper(id git.ID, old, new string) git.ID {
	s.Helper()
	raw := s.raw(id)
	if !strings.Contains(raw, old) {
		s.Fatalf("commit %s does not hold %q", id, old)
	}
	return s.head(strings.Replace(raw, old, new, 1))
}

// raw is a commit object, byte for byte.
func (s *scene) raw(id git.ID) string {
	s.Helper()
	cmd := exec.CommandContext(s.Context(), "git", "cat-file", "commit", string(id))
	cmd.Dir = s.repo.Work()
	return string(must(cmd.Output())(s))
}

// head makes a raw commit object the head of the working copy's branch.
func (s *scene) head(raw string) git.ID {
	s.Helper()
	file := filepath.Join(s.TempDir(), "commit")
	if err := os.WriteFile(file, []byte(raw), 0o600); err != nil {
		s.Fatal(err)
	}
	id := s.git("hash-object", "-t", "commit", "-w", "--literally", file)
	s.git("reset", "--quiet", "--soft", id)
	return git.ID(id)
}

// resign replaces the signature of a commit with an SSH one for a namespace.
func (s *scene) resign(id git.ID, who *forge.Person, namespace string) git.ID {
	s.Helper()
	raw := s.raw(id)
	c := must(git.ParseCommit(id, []byte(raw)))(s)
	file := filepath.Join(s.TempDir(), "payload")
	if err := os.WriteFile(file, c.Payload, 0o600); err != nil {
		s.Fatal(err)
	}
	out, err := exec.CommandContext(s.Context(), "ssh-keygen", "-Y", "sign", "-q", "-n", namespace, "-f", who.KeyFile(), file).CombinedOutput()
	if err != nil {
		s.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	signature := string(must(os.ReadFile(file + ".sig"))(s))
	return s.head(withSignature(string(c.Payload), signature))
}

// withSignature puts a signature into a commit as git does.
func withSignature(payload, signature string) string {
	headers, message, _ := strings.Cut(payload, "\n\n")
	folded := strings.ReplaceAll(strings.TrimSuffix(signature, "\n"), "\n", "\n ")
	return headers + "\ngpgsig " + folded + "\n\n" + message
}

// fingerprint is the SHA-256 of an SSH key as OpenSSH prints it, without "SHA256:".
func fingerprint(t testing.TB, p *forge.Person) string {
	t.Helper()
	out := must(exec.Command("ssh-keygen", "-l", "-f", p.KeyFile()).Output())(t)
	return strings.TrimPrefix(strings.Fields(string(out))[1], "SHA256:")
}
