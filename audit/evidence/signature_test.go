package evidence

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/commitgate/commitgate/audit"
)

// packSigned writes an archive whose manifest is signed.
func packSigned(t *testing.T, w *writer, f audit.Filter, signers ...note.Signer) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := Write(t.Context(), &b, []string{w.dir}, Options{Filter: f, Signers: signers}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "evidence.zip")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Records are proved by checkpoints; which question an archive answers, and what is attached, only by who signed its manifest.
func TestASignedArchive(t *testing.T) {
	w, other := newWriter(t, "gate-0"), newWriter(t, "gate-1")
	w.write(t, "shop", 5)
	w.write(t, "bank", 5)
	filter := audit.Filter{Namespace: "bank"}
	path := packSigned(t, w, filter, w.signers...)
	r := verify(t, path, w.verifiers)
	if len(r.Problems) > 0 || !slices.Equal(r.SignedBy, []string{w.origin}) {
		t.Fatalf("signed by %v, problems %v", r.SignedBy, r.Problems)
	}
	if out, err := byHand(t, path, w.vkey); err != nil || !strings.Contains(out, "the archive is signed") {
		t.Errorf("by hand: %v %s", err, out)
	}
	if r := verify(t, path, nil); len(r.Problems) > 0 || len(r.SignedBy) > 0 {
		t.Errorf("without a key: signed by %v, problems %v", r.SignedBy, r.Problems)
	}
	if r := verify(t, pack(t, filter, w.dir), w.verifiers); len(r.Problems) > 0 || len(r.SignedBy) > 0 {
		t.Errorf("without a signature: signed by %v, problems %v", r.SignedBy, r.Problems)
	}
	for name, c := range map[string]struct{ path, want string }{
		"signed by somebody else": {packSigned(t, w, filter, other.signers...), "none of the keys signed it"},
		"the question was another": {rewrite(t, path, func(f map[string][]byte) {
			f[manifestName] = bytes.Replace(f[manifestName], []byte(`"namespace": "bank"`), []byte(`"path": ""`), 1)
		}, false), "another manifest"},
		"something is attached later": {rewrite(t, path, func(f map[string][]byte) { f[attachedFolder+"approval.txt"] = []byte("yes") }, true), "another manifest"},
		"a statement about something else": {rewrite(t, path, func(f map[string][]byte) {
			f[signatureName] = []byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[]}`)
		}, false), "none of the keys"},
		"no envelope": {rewrite(t, path, func(f map[string][]byte) { f[signatureName] = []byte("yes") }, false), "not a DSSE envelope"},
	} {
		t.Run(name, func(t *testing.T) {
			if r := verify(t, c.path, w.verifiers); len(r.Problems) == 0 || !strings.Contains(r.Problems[0].String(), c.want) {
				t.Errorf("problems: %v, want %q", r.Problems, c.want)
			}
			if out, err := byHand(t, c.path, w.vkey); err == nil {
				t.Errorf("by hand it is sound: %s", out)
			}
		})
	}
}
