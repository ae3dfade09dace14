package track_test

import (
	"bytes"
	"compress/zlib"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/commitgate/commitgate/git"
)

// grow lets alice make many commits at once, which change nothing that is declared: each changes one of a hundred files.
func (w *world) grow(commits int) {
	w.t.Helper()
	run := func(args ...string) string {
		w.t.Helper()
		return ok[string](w.t)(w.repo.Git(w.t.Context(), args...))
	}
	p := &pack{
		TB: w.t, signer: ok[ssh.Signer](w.t)(ssh.ParsePrivateKey(ok[[]byte](w.t)(os.ReadFile(w.alice.KeyFile())))),
		deflate: ok[*zlib.Writer](w.t)(zlib.NewWriterLevel(nil, zlib.BestSpeed)),
	}
	const files = 100
	var blobs [files]string
	for i := range blobs {
		blobs[i] = p.object(3, "blob", fmt.Appendf(nil, "file %d\n", i))
	}
	// The folder is called zz: it comes last in Git's order.
	root := p.tree(run("ls-tree", "HEAD"))
	head := run("rev-parse", "HEAD")
	for n := range commits {
		blobs[n%files] = p.object(3, "blob", fmt.Appendf(nil, "file %d, commit %d\n", n%files, n))
		var folder []byte
		for i, id := range blobs {
			folder = p.entry(folder, "100644", fmt.Sprintf("f%02d", i), id)
		}
		tree := p.object(2, "tree", p.entry(bytes.Clone(root), "40000", "zz", p.object(2, "tree", folder)))
		who := fmt.Sprintf("%s <%s> %d +0000", w.alice.Name, w.alice.Email, 1700000000+n)
		fields, message := fmt.Sprintf("tree %s\nparent %s\nauthor %s\ncommitter %s\n", tree, head, who, who), fmt.Sprintf("\ncommit %d\n", n)
		signature := strings.ReplaceAll(strings.TrimSuffix(p.sign(fields+message), "\n"), "\n", "\n ")
		head = p.object(1, "commit", []byte(fields+"gpgsig "+signature+"\n"+message))
	}
	file := p.write(filepath.Join(w.repo.Work(), ".git", "objects", "pack"))
	run("index-pack", file)
	run("reset", "--quiet", "--hard", head)
	if err := w.repo.Push(w.t.Context(), false); err != nil {
		w.t.Fatal(err)
	}
}

// pack is a pack of Git's (gitformat-pack(5)) in the making.
type pack struct {
	testing.TB
	signer  ssh.Signer
	deflate *zlib.Writer
	body    bytes.Buffer
	count   uint32
}

// object adds an object: its type and size, and its content deflated.
func (p *pack) object(kind byte, name string, content []byte) string {
	sum := sha1.Sum(append(fmt.Appendf(nil, "%s %d\x00", name, len(content)), content...))
	size := len(content)
	head := []byte{kind<<4 | byte(size&15)}
	for size >>= 4; size > 0; size >>= 7 {
		head[len(head)-1] |= 0x80
		head = append(head, byte(size&127))
	}
	p.body.Write(head)
	p.deflate.Reset(&p.body)
	if _, err := p.deflate.Write(content); err != nil {
		p.Fatal(err)
	}
	if err := p.deflate.Close(); err != nil {
		p.Fatal(err)
	}
	p.count++
	return hex.EncodeToString(sum[:])
}

func (p *pack) entry(tree []byte, mode, name, id string) []byte {
	return append(fmt.Appendf(tree, "%s %s\x00", mode, name), ok[[]byte](p)(hex.DecodeString(id))...)
}

// tree is what git ls-tree lists as the content of a tree.
func (p *pack) tree(list string) []byte {
	var tree []byte
	for line := range strings.Lines(list) {
		about, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		fields := strings.Fields(about)
		tree = p.entry(tree, strings.TrimPrefix(fields[0], "0"), name, fields[2])
	}
	return tree
}

func (p *pack) sign(payload string) string {
	sum := sha512.Sum512([]byte(payload))
	s := &git.SSHSignature{PublicKey: p.signer.PublicKey().Marshal(), Namespace: "git", Hash: "sha512"}
	sig := ok[*ssh.Signature](p)(p.signer.Sign(rand.Reader, s.Signed(sum[:])))
	blob := binary.BigEndian.AppendUint32([]byte("SSHSIG"), 1)
	for _, field := range [][]byte{s.PublicKey, []byte(s.Namespace), nil, []byte(s.Hash), ssh.Marshal(sig)} {
		blob = append(binary.BigEndian.AppendUint32(blob, uint32(len(field))), field...)
	}
	return "-----BEGIN SSH SIGNATURE-----\n" + base64.StdEncoding.EncodeToString(blob) + "\n-----END SSH SIGNATURE-----\n"
}

// write leaves the pack in a folder.
func (p *pack) write(dir string) string {
	p.Helper()
	whole := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte("PACK"), 2), p.count)
	whole = append(whole, p.body.Bytes()...)
	sum := sha1.Sum(whole)
	file := filepath.Join(dir, "pack-"+hex.EncodeToString(sum[:])+".pack")
	if err := os.WriteFile(file, append(whole, sum[:]...), 0o600); err != nil {
		p.Fatal(err)
	}
	return file
}
