package signing

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
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
)

// differential is a repository in which git verifies what this package verifies.
type differential struct {
	*testing.T
	dir    string // of the repository, bare
	home   string // GNUPGHOME
	list   *list
	signer ssh.Signer
	pgp    string // fingerprint
}

// TestAgainstGit puts generated and mutated commits to `git verify-commit` (with ssh-keygen and gpg) and to this package. What git refuses is
// refused here; what git accepts is accepted here, or refused for its shape: the differences on purpose that docs/signatures.md lists.
// COMMITGATE_DIFFERENTIAL sets how many mutants of each signed commit there are.
func TestAgainstGit(t *testing.T) {
	t.Parallel()
	mutants := 12
	if s := os.Getenv("COMMITGATE_DIFFERENTIAL"); s != "" {
		var err error
		if mutants, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	d := newDifferential(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := mathrand.New(mathrand.NewPCG(seed, 1))
	var raws []string
	var signed []string
	for _, payload := range payloads() {
		signed = append(signed, withHeader(payload, signSSH(t, d.signer, payload)), withHeader(payload, d.signOpenPGP(payload)))
	}
	for _, raw := range signed {
		raws = append(raws, raw)
		for _, shape := range shapes(raw, signed[0], signed[1]) {
			raws = append(raws, shape)
		}
		for range mutants {
			raws = append(raws, mutate(random, raw))
		}
	}
	slices.Sort(raws)
	raws = slices.Compact(raws) // mutants can be twins
	agree, stricter := d.compare(raws)
	t.Logf("%d commits: %d judged alike, %d refused here only, for their shape", len(raws), agree, stricter)
	if agree < len(signed) {
		t.Errorf("only %d commits judged alike: the test compares nothing", agree)
	}
}

func newDifferential(t *testing.T) *differential {
	t.Helper()
	d := &differential{T: t, dir: t.TempDir()}
	var err error
	if d.home, err = os.MkdirTemp("", "gpg-"); err != nil { // short: a socket lies in it
		t.Fatal(err)
	}
	t.Cleanup(func() { d.run("gpgconf", "--kill", "all"); os.RemoveAll(d.home) })
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if d.signer, err = ssh.NewSignerFromKey(private); err != nil {
		t.Fatal(err)
	}
	public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(d.signer.PublicKey())))
	d.run("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "Pia <pia@example.org>", "ed25519", "sign", "never")
	for line := range strings.Lines(d.run("gpg", "--batch", "--with-colons", "--list-keys")) {
		if fields := strings.Split(line, ":"); fields[0] == "fpr" {
			d.pgp = fields[9]
		}
	}
	allowed := "ada@example.org " + public + "\n"
	d.list, err = newList(document{allowedSigners: allowed, signers: []v1alpha1.Signer{{Principal: "pia@example.org", OpenPGP: d.run("gpg", "--armor", "--export", d.pgp)}}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(d.dir, "allowed_signers")
	if err := os.WriteFile(file, []byte(allowed), 0o600); err != nil {
		t.Fatal(err)
	}
	d.run("git", "init", "--quiet", "--bare", d.dir)
	d.run("git", "-C", d.dir, "config", "gpg.ssh.allowedSignersFile", file)
	return d
}

func (d *differential) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + d.dir, "GNUPGHOME=" + d.home, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1"}
	return cmd
}

func (d *differential) run(name string, args ...string) string {
	d.Helper()
	out, err := d.command(name, args...).Output()
	if err != nil {
		d.Fatalf("%s: %v: %s", name, err, err.(*exec.ExitError).Stderr)
	}
	return string(out)
}

func (d *differential) signOpenPGP(payload string) string {
	d.Helper()
	cmd := d.command("gpg", "--batch", "--armor", "--detach-sign", "--local-user", d.pgp)
	cmd.Stdin = strings.NewReader(payload)
	out, err := cmd.Output()
	if err != nil {
		d.Fatalf("gpg: %v: %s", err, err.(*exec.ExitError).Stderr)
	}
	return string(out)
}

// signSSH signs as ssh-keygen -Y sign -n git does.
func signSSH(t testing.TB, signer ssh.Signer, payload string) string {
	t.Helper()
	sum := sha512.Sum512([]byte(payload))
	s := &git.SSHSignature{PublicKey: signer.PublicKey().Marshal(), Namespace: sshNamespace, Hash: "sha512"}
	sig, err := signer.Sign(rand.Reader, s.Signed(sum[:]))
	if err != nil {
		t.Fatal(err)
	}
	blob := binary.BigEndian.AppendUint32([]byte("SSHSIG"), 1)
	for _, field := range [][]byte{s.PublicKey, []byte(s.Namespace), nil, []byte(s.Hash), ssh.Marshal(sig)} {
		blob = append(binary.BigEndian.AppendUint32(blob, uint32(len(field))), field...)
	}
	var b strings.Builder
	b.WriteString("-----BEGIN SSH SIGNATURE-----\n")
	for text := base64.StdEncoding.EncodeToString(blob); text != ""; {
		n := min(70, len(text))
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	return b.String() + "-----END SSH SIGNATURE-----\n"
}

// withHeader puts a signature into a commit, where git puts it: last of the headers.
func withHeader(payload, signature string) string {
	folded := "gpgsig " + strings.ReplaceAll(strings.TrimSuffix(signature, "\n"), "\n", "\n ") + "\n"
	i := strings.Index(payload, "\n\n")
	if i < 0 {
		return payload + folded
	}
	return payload[:i+1] + folded + payload[i+1:]
}

// payloads are commits that a signature can cover, of every shape that git writes and some that only others do.
func payloads() []string {
	const headers = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nparent 1111111111111111111111111111111111111111\n" +
		"author Ada <ada@example.org> 1700000000 +0000\ncommitter Ada <ada@example.org> 1700000000 +0000\n"
	tag := "mergetag object 2222222222222222222222222222222222222222\n type commit\n tag v1\n tagger Ada <ada@example.org> 1700000000 +0000\n \n v1\n"
	return []string{
		headers + "\nsubject\n",
		headers + "\nno newline at the end",
		headers + "\n",
		headers,
		headers + "\n\n\nblank lines before\n",
		headers + "\nCR\r\nand a lone CR\r",
		headers + "\na NUL \x00 inside\n",
		headers + "\n-----BEGIN PGP SIGNATURE-----\n\nnot one\n-----END PGP SIGNATURE-----\n",
		headers + "encoding ISO-8859-1\n\nl\xe4uft\n",
		headers + tag + "\nmerge\n",
		headers + "x-unknown one\n two\n\nwith a header of somebody else\n",
		strings.Replace(headers, "parent ", "parent 3333333333333333333333333333333333333333\nparent ", 1) + "\nmerge\n",
		strings.Replace(headers, "Ada <ada@example.org>", "<>", 1) + "\nnobody\n",
		strings.Replace(headers, "1700000000 +0000", "99999999999999999999 +9999", 1) + "\na date that is none\n",
	}
}

// shapes are what an attacker, or a bug, makes of a signed commit while its bytes stay right; others are signed commits whose signatures can be taken.
func shapes(raw string, others ...string) []string {
	signature := func(raw string) string {
		i := strings.Index(raw, "gpgsig ")
		j := i + strings.Index(raw[i:], "-----END ")
		return raw[i : j+strings.Index(raw[j:], "\n")+1]
	}
	own := signature(raw)
	without := strings.Replace(raw, own, "", 1)
	out := []string{
		without,
		strings.Replace(raw, own, own+own, 1),
		strings.Replace(raw, "author ", own+"author ", 1),
		strings.Replace(without, "author ", own+"author ", 1),
		strings.Replace(raw, own, strings.Replace(own, "gpgsig ", "gpgsig-sha256 ", 1), 1),
		strings.Replace(raw, own, own+strings.Replace(own, "gpgsig ", "gpgsig-sha256 ", 1), 1),
		strings.Replace(raw, own, own+"gpgsigx y\n", 1),
		strings.Replace(raw, own, own+" \n", 1),
		strings.Replace(raw, own, own+" trailing\n", 1),
		strings.Replace(raw, own, strings.Replace(own, "gpgsig ", "gpgsig before\n ", 1), 1),
		strings.Replace(raw, own, strings.ReplaceAll(own, "\n", "\r\n"), 1),
		strings.Replace(raw, own, strings.ReplaceAll(own, "\n ", " \n "), 1),
		strings.Replace(raw, own, own+strings.Replace(own, "gpgsig ", " ", 1), 1),
		raw + "more",
		"parent 4444444444444444444444444444444444444444\n" + raw,
	}
	for _, other := range others {
		out = append(out, strings.Replace(raw, own, signature(other), 1), strings.Replace(raw, own, own+signature(other), 1), strings.Replace(raw, own, signature(other)+own, 1))
	}
	return out
}

// mutate changes a commit a little, anywhere.
func mutate(r *mathrand.Rand, raw string) string {
	b := []byte(raw)
	at := r.IntN(len(b))
	switch r.IntN(6) {
	case 0:
		b[at] ^= 1 << r.IntN(8)
	case 1:
		b = append(b[:at], b[at+1:]...)
	case 2:
		b = append(b[:at], append([]byte{" \n\r\x00a="[r.IntN(6)]}, b[at:]...)...)
	case 3, 4, 5: // a line doubled, gone or moved
		lines := strings.SplitAfter(raw, "\n")
		i, j := r.IntN(len(lines)), r.IntN(len(lines))
		line := lines[i]
		if r.IntN(2) == 0 {
			lines = append(lines[:i:i], lines[i+1:]...)
			j = min(j, len(lines))
		}
		if r.IntN(3) > 0 {
			lines = append(lines[:j:j], append([]string{line}, lines[j:]...)...)
		}
		return strings.Join(lines, "")
	}
	return string(b)
}

// compare judges commits both ways.
func (d *differential) compare(raws []string) (agree, stricter int) {
	d.Helper()
	accepted, said := make([]bool, len(raws)), make([]string, len(raws))
	ids := make([]string, len(raws))
	g, ctx := errgroup.WithContext(context.Background())
	g.SetLimit(2 * runtime.GOMAXPROCS(0))
	for i, raw := range raws {
		ids[i] = d.write(raw)
		g.Go(func() error {
			if ctx.Err() != nil {
				return nil
			}
			out, err := d.command("git", "-C", d.dir, "verify-commit", ids[i]).CombinedOutput()
			said[i] = string(out)
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return err
			}
			accepted[i] = err == nil
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		d.Fatal(err)
	}
	failures := 0
	for i, raw := range raws {
		cause := Cause("")
		c, err := git.ParseCommit(git.ID(ids[i]), []byte(raw))
		if err == nil {
			_, err = d.list.verify(c, time.Now())
		}
		var r *refusal
		var malformed *git.MalformedError
		switch {
		case errors.As(err, &malformed):
			cause = CauseMalformed
		case errors.As(err, &r):
			cause = r.cause
		case err != nil:
			d.Fatal(err)
		}
		switch {
		case accepted[i] == (err == nil):
			agree++
		case accepted[i] && (cause == CauseMalformed || cause == CauseUnsigned && strings.Contains(raw, "\ngpgsig-sha256 ")):
			stricter++
		default:
			if failures++; failures <= 10 {
				d.Errorf("git says %t, we say %v of\n%q\n%s", accepted[i], err, raw, said[i])
			}
		}
	}
	return agree, stricter
}

// write puts a commit into the repository as it is, whatever its shape.
func (d *differential) write(raw string) string {
	d.Helper()
	object := fmt.Appendf(nil, "commit %d\x00%s", len(raw), raw)
	sum := sha1.Sum(object)
	id := hex.EncodeToString(sum[:])
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, err := w.Write(object)
	file := filepath.Join(d.dir, "objects", id[:2], id[2:])
	err = errors.Join(err, w.Close(), os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, b.Bytes(), 0o600))
	if err != nil {
		d.Fatal(err)
	}
	return id
}
