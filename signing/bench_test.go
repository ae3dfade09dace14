package signing_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror"
	"github.com/commitgate/commitgate/signing"
)

// packed is a repository with a long history, made at once: each commit changes one of a hundred files and is signed with an SSH key.
type packed struct {
	testing.TB
	dir    string
	signer ssh.Signer
	body   bytes.Buffer
	count  uint32
	ids    []git.ID // of the commits, oldest first
}

func newPacked(b testing.TB, commits int) *packed {
	b.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	p := &packed{TB: b, dir: b.TempDir(), signer: must(ssh.NewSignerFromKey(private))(b)}
	const files = 100
	var blobs [files]string
	for i := range blobs {
		blobs[i] = p.object(3, "blob", fmt.Appendf(nil, "file %d\n", i))
	}
	parent := ""
	for n := range commits {
		blobs[n%files] = p.object(3, "blob", fmt.Appendf(nil, "file %d, commit %d\n", n%files, n))
		var tree []byte
		for i, id := range blobs {
			tree = append(fmt.Appendf(tree, "100644 f%02d.yaml\x00", i), must(hex.DecodeString(id))(b)...)
		}
		payload := "tree " + p.object(2, "tree", tree) + "\n" + parent +
			fmt.Sprintf("author Ada <ada@example.org> %d +0000\ncommitter Ada <ada@example.org> %d +0000\n\ncommit %d\n", 1700000000+n, 1700000000+n, n)
		id := p.object(1, "commit", []byte(withSignature(payload, p.sign(payload))))
		parent = "parent " + id + "\n"
		p.ids = append(p.ids, git.ID(id))
	}
	p.write()
	return p
}

// object adds an object to the pack (gitformat-pack(5)): its type and size, and its content deflated.
func (p *packed) object(kind byte, name string, content []byte) string {
	sum := sha1.Sum(append(fmt.Appendf(nil, "%s %d\x00", name, len(content)), content...))
	size := len(content)
	head := []byte{kind<<4 | byte(size&15)}
	for size >>= 4; size > 0; size >>= 7 {
		head[len(head)-1] |= 0x80
		head = append(head, byte(size&127))
	}
	p.body.Write(head)
	w := zlib.NewWriter(&p.body)
	if _, err := w.Write(content); err != nil {
		p.Fatal(err)
	}
	if err := w.Close(); err != nil {
		p.Fatal(err)
	}
	p.count++
	return hex.EncodeToString(sum[:])
}

func (p *packed) sign(payload string) string {
	sum := sha512.Sum512([]byte(payload))
	s := &git.SSHSignature{PublicKey: p.signer.PublicKey().Marshal(), Namespace: "git", Hash: "sha512"}
	sig := must(p.signer.Sign(rand.Reader, s.Signed(sum[:])))(p)
	blob := binary.BigEndian.AppendUint32([]byte("SSHSIG"), 1)
	for _, field := range [][]byte{s.PublicKey, []byte(s.Namespace), nil, []byte(s.Hash), ssh.Marshal(sig)} {
		blob = append(binary.BigEndian.AppendUint32(blob, uint32(len(field))), field...)
	}
	return "-----BEGIN SSH SIGNATURE-----\n" + base64.StdEncoding.EncodeToString(blob) + "\n-----END SSH SIGNATURE-----\n"
}

func (p *packed) write() {
	p.Helper()
	pack := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte("PACK"), 2), p.count)
	pack = append(pack, p.body.Bytes()...)
	sum := sha1.Sum(pack)
	p.body.Reset()
	p.git("init", "--quiet", "--bare", p.dir)
	file := filepath.Join(p.dir, "objects", "pack", "pack-"+hex.EncodeToString(sum[:])+".pack")
	if err := os.WriteFile(file, append(pack, sum[:]...), 0o600); err != nil {
		p.Fatal(err)
	}
	p.git("index-pack", file)
	p.git("-C", p.dir, "update-ref", "HEAD", string(p.ids[len(p.ids)-1]))
	allowed := filepath.Join(p.dir, "allowed_signers")
	if err := os.WriteFile(allowed, []byte(p.allowed()), 0o600); err != nil {
		p.Fatal(err)
	}
	p.git("-C", p.dir, "config", "gpg.ssh.allowedSignersFile", allowed)
}

func (p *packed) git(args ...string) {
	p.Helper()
	cmd := exec.Command("git", args...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		p.Fatalf("git %s: %v: %s", args[0], err, out)
	}
}

func (p *packed) authority() *signing.Authority {
	p.Helper()
	return must(signing.NewAuthority("shop", v1alpha1.TrustedRepositorySpec{
		Branch: "main", Anchor: v1alpha1.Anchor{Commit: string(p.ids[0])},
		AllowedSigners: p.allowed(),
	}))(p)
}

func (p *packed) allowed() string {
	return "ada@example.org " + string(ssh.MarshalAuthorizedKey(p.signer.PublicKey()))
}

// verify verifies the whole history as a gate does that has just started, and returns how long that took.
func (p *packed) verify(a *signing.Authority) time.Duration {
	p.Helper()
	ctx := context.Background()
	start := time.Now()
	r := must(mirror.OpenRepository(ctx, p.dir))(p)
	defer r.Close()
	from := must(a.Anchor(ctx, r))(p)
	accepted, refused, err := a.Advance(ctx, r, from, p.ids[len(p.ids)-1])
	if err != nil || refused != nil || len(accepted) != len(p.ids)-1 {
		p.Fatalf("%d of %d accepted, %v, %v", len(accepted), len(p.ids)-1, refused, err)
	}
	return time.Since(start)
}

// benchCommits is how long the history of a benchmark is: COMMITGATE_BENCH_COMMITS, or else 10,000.
func benchCommits(b *testing.B) int {
	s := os.Getenv("COMMITGATE_BENCH_COMMITS")
	if s == "" {
		return 10_000
	}
	return must(strconv.Atoi(s))(b)
}

// BenchmarkFirstVerification verifies 10,000 SSH-signed commits, and reports how much faster that is, for one commit, than `git verify-commit`
// with many commits at once, measured over a hundred of them in the same run.
func BenchmarkFirstVerification(b *testing.B) {
	p := newPacked(b, benchCommits(b))
	for b.Loop() {
		p.verify(p.authority())
	}
	b.StopTimer()
	ours := b.Elapsed() / time.Duration(b.N*len(p.ids))
	const sample = 100
	args := []string{"-C", p.dir, "verify-commit"}
	for _, id := range p.ids[:sample] {
		args = append(args, string(id))
	}
	start := time.Now()
	p.git(args...)
	gits := time.Since(start) / sample
	start = time.Now()
	p.git("-C", p.dir, "log", "--format=%G?", "-n", strconv.Itoa(sample))
	b.ReportMetric(float64((time.Since(start) / sample).Microseconds()), "git-log-µs/commit")
	b.ReportMetric(float64(ours.Microseconds()), "µs/commit")
	b.ReportMetric(float64(gits.Microseconds()), "git-µs/commit")
	b.ReportMetric(float64(gits)/float64(ours), "times-faster")
}

// BenchmarkRestart is the same history with a warm cache of what was verified, as after a restart.
func BenchmarkRestart(b *testing.B) {
	p := newPacked(b, benchCommits(b))
	file, key := filepath.Join(b.TempDir(), "verified"), bytes.Repeat([]byte{1}, 32)
	cold := p.authority()
	if err := cold.UseCache(file, key); err != nil {
		b.Fatal(err)
	}
	first := p.verify(cold)
	for b.Loop() {
		a := p.authority()
		if err := a.UseCache(file, key); err != nil {
			b.Fatal(err)
		}
		p.verify(a)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(p.ids)), "µs/commit")
	b.ReportMetric(float64(first)/float64(b.Elapsed()/time.Duration(b.N)), "times-faster-than-cold")
}

func TestCache(t *testing.T) {
	p := newPacked(t, 30)
	file, key := filepath.Join(t.TempDir(), "verified"), bytes.Repeat([]byte{1}, 32)
	open := func(a *signing.Authority) *signing.Authority {
		t.Helper()
		if err := a.UseCache(file, key); err != nil {
			t.Fatal(err)
		}
		return a
	}
	p.verify(open(p.authority()))
	whole := string(must(os.ReadFile(file))(t))
	if n := strings.Count(whole, "\n"); n != len(p.ids)-1 {
		t.Fatalf("%d records of %d commits", n, len(p.ids)-1)
	}
	p.verify(open(p.authority()))
	if again := string(must(os.ReadFile(file))(t)); again != whole {
		t.Error("verifying again has changed the cache")
	}

	// Nobody signs by these rules: what other rules accepted must not count.
	strict := func() *signing.Authority {
		return must(signing.NewAuthority("shop", v1alpha1.TrustedRepositorySpec{Branch: "main", Anchor: v1alpha1.Anchor{Commit: string(p.ids[0])}}))(t)
	}
	refuses := func(a *signing.Authority) {
		t.Helper()
		r := must(mirror.OpenRepository(t.Context(), p.dir))(t)
		defer r.Close()
		_, refused, err := a.Advance(t.Context(), r, must(a.Anchor(t.Context(), r))(t), p.ids[len(p.ids)-1])
		if err != nil || refused == nil || refused.Commit != p.ids[1] || refused.Cause != signing.CauseUnknownKey {
			t.Errorf("refused %v, %v; want the first commit", refused, err)
		}
	}
	refuses(open(strict()))
	if left := must(os.ReadFile(file))(t); len(left) != 0 {
		t.Error("records of other rules are kept")
	}

	// Whoever can write the file but has no key can make nothing pass: records of another key, of another commit, torn ones.
	otherKey := filepath.Join(t.TempDir(), "other")
	forged := p.authority()
	if err := forged.UseCache(otherKey, bytes.Repeat([]byte{2}, 32)); err != nil {
		t.Fatal(err)
	}
	p.verify(forged)
	lines := strings.SplitAfter(whole, "\n")
	for name, content := range map[string]string{
		"another key's":           string(must(os.ReadFile(otherKey))(t)),
		"another configuration's": whole,
		"without a code":          " " + strings.SplitN(lines[0], " ", 2)[1],
		"torn":                    lines[0][:len(lines[0])/2],
		"rubbish":                 "\n\n\x00 {}\n",
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			refuses(open(strict()))
		})
	}
	if err := p.authority().UseCache(file, key[:31]); err == nil {
		t.Error("a short key is taken")
	}
}
