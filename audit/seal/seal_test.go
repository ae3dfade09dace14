package seal

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/commitgate/commitgate/audit"
)

const origin = "gate.test/cluster/gate-0"

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// bench is a log with its sealer and keys.
type workbench struct {
	t         testing.TB
	dir       string
	log       *audit.Log
	signers   []note.Signer
	vkeys     []string
	verifiers []note.Verifier
	peers     []Peer
	sealer    *Sealer
}

func newWorkbench(t testing.TB) *workbench {
	w := &workbench{t: t, dir: filepath.Join(t.TempDir(), "log")}
	w.addKey()
	w.open()
	return w
}

// addKey makes one more key of the log.
func (w *workbench) addKey() {
	w.t.Helper()
	secret, _, err := GenerateKey(origin)
	if err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(w.t.TempDir(), "key")
	os.WriteFile(path, []byte(secret+"\n"), 0o600)
	s, vkey, err := LoadSigner(w.t.Context(), path, origin)
	if err != nil {
		w.t.Fatal(err)
	}
	w.signers = append(w.signers, s)
	w.vkeys = append(w.vkeys, vkey)
	if w.verifiers, err = ParseVerifiers(w.vkeys); err != nil {
		w.t.Fatal(err)
	}
}

func (w *workbench) open() {
	w.t.Helper()
	floor, err := Floor(w.dir, w.verifiers)
	if err != nil {
		w.t.Fatal(err)
	}
	w.log, err = audit.Open(audit.Config{Dir: w.dir, Origin: origin, SegmentSize: 48 << 10, Floor: floor, Logger: quiet})
	if err != nil {
		w.t.Fatal(err)
	}
	log := w.log
	w.t.Cleanup(func() { log.Close() })
	w.newSealer()
}

func (w *workbench) newSealer() {
	w.t.Helper()
	var err error
	w.sealer, err = New(Config{
		Dir: w.dir, Origin: origin, Durable: func() uint64 { return w.log.Health().Seq },
		Signers: w.signers, Verifiers: w.verifiers, Peers: w.peers, PeerTimeout: time.Minute, Logger: quiet,
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *workbench) write(n int) {
	w.t.Helper()
	for i := range n {
		_, err := w.log.Append(w.t.Context(), audit.Record{Type: audit.TypeDecision,
			Request:  &audit.Request{Operation: "UPDATE", Kind: "Deployment", Name: fmt.Sprint("cart-", i)},
			Decision: &audit.Decision{Outcome: "allow", Verdict: "allow", Mode: "Enforce", Reason: "Traced"}})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *workbench) seal() *Checkpoint {
	w.t.Helper()
	cp, err := w.sealer.Seal(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return cp
}

// sound re-proves all that must hold.
func (w *workbench) sound() []Result {
	w.t.Helper()
	r, results, err := Verify(w.dir, Options{Verifiers: w.verifiers})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range r.Problems {
		w.t.Error(p)
	}
	return results
}

func TestRootsAreThoseOfTransparencyDevMerkle(t *testing.T) {
	w := newWorkbench(t)
	var theirs *compact.Range
	for round := range 4 {
		w.write(7 + round*20)
		cp := w.seal()
		theirs = (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
		segments, _ := audit.Segments(w.dir)
		for line, err := range audit.Records(segments) {
			if err != nil {
				t.Fatal(err)
			}
			if err := theirs.Append(rfc6962.DefaultHasher.HashLeaf(line.Text), nil); err != nil {
				t.Fatal(err)
			}
		}
		root, err := theirs.GetRootHash(nil)
		if err != nil || !bytes.Equal(root, cp.Root[:]) || theirs.End() != uint64(cp.Size) {
			t.Errorf("size %d of %d: our root %s, theirs %x, %v", cp.Size, theirs.End(), cp.Root, root, err)
		}
		if got := w.sound()[0].Root; got != cp.Root.String() {
			t.Errorf("verification finds root %s, sealed was %s", got, cp.Root)
		}
	}
}

func TestSealingGoesOnAfterARestart(t *testing.T) {
	w := newWorkbench(t)
	w.write(30)
	first := w.seal()
	w.log.Close()
	w.open()
	w.write(30)
	second := w.seal()
	if second.Size != first.Size+30+2 { // gate.stop and gate.start
		t.Errorf("size %d after %d", second.Size, first.Size)
	}
	if r := w.sound(); r[0].Sealed != second.Size || r[0].SignedBy[0] != origin {
		t.Errorf("%+v", r)
	}
	t.Run("with stored hashes that are lost", func(t *testing.T) {
		os.Remove(filepath.Join(w.dir, r0(w).Shard, hashesName))
		w.newSealer()
		w.write(1)
		if cp := w.seal(); cp.Size != second.Size+1 {
			t.Errorf("size %d", cp.Size)
		}
		w.sound()
	})
	t.Run("with stored hashes that are wrong", func(t *testing.T) {
		path := filepath.Join(w.dir, r0(w).Shard, hashesName)
		b, _ := os.ReadFile(path)
		b[40] ^= 1
		os.WriteFile(path, b, 0o600)
		w.newSealer()
		w.write(1)
		if cp := w.seal(); cp.Size != second.Size+2 { // made again from the records
			t.Errorf("size %d", cp.Size)
		}
		w.sound()
	})
}

func r0(w *workbench) Result { return w.sound()[0] }

// forge rewrites the log with a record changed, and with sums and links made anew: the work of somebody who has the disk,
// and knows the format.
func forge(t *testing.T, path string, change func(i int, line []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	prev := ""
	for i, line := range bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n")) {
		f, err := audit.ParseFrame(line)
		if err != nil {
			t.Fatal(err)
		}
		line = bytes.Clone(line)
		if prev != "" {
			line = bytes.Replace(line, []byte(`"prev":"`+f.Prev), []byte(`"prev":"`+prev), 1)
		}
		if line = change(i, line); line == nil {
			continue
		}
		f, err = audit.ParseFrame(line)
		if err != nil {
			t.Fatal(err)
		}
		line = bytes.Replace(line, []byte(`"sum":"`+f.Sum), []byte(`"sum":"`+f.Content()), 1)
		prev = f.Content()
		out = append(append(out, line...), '\n')
	}
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWhatTheChainCannotShowTheSealDoes(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(t *testing.T, w *workbench, segment, shard string)
		want string
	}{
		"a record is changed and the chain made anew": {func(t *testing.T, w *workbench, segment, _ string) {
			forge(t, segment, func(_ int, line []byte) []byte {
				return bytes.Replace(line, []byte(`"name":"cart-3"`), []byte(`"name":"cart-4"`), 1)
			})
		}, "not what was sealed"},
		"the tail is cut off": {func(t *testing.T, w *workbench, segment, _ string) {
			forge(t, segment, func(i int, line []byte) []byte {
				if i > 8 {
					return nil
				}
				return line
			})
		}, "cut off after this record"},
		"an old checkpoint is put back, with the tail cut to match": {func(t *testing.T, w *workbench, segment, shard string) {
			history, _ := os.ReadDir(filepath.Join(shard, historyName))
			old, _ := os.ReadFile(filepath.Join(shard, historyName, history[0].Name()))
			cp, err := ParseCheckpoint(old, w.verifiers)
			if err != nil {
				t.Fatal(err)
			}
			os.WriteFile(filepath.Join(shard, checkpointName), old, 0o600)
			forge(t, segment, func(i int, line []byte) []byte {
				if int64(i) > cp.Size {
					return nil
				}
				return line
			})
			os.WriteFile(filepath.Join(shard, historyName, "99999999999999999999"), w.sealer.Latest().Note, 0o600)
		}, "replayed"},
		"the checkpoint is removed": {func(t *testing.T, w *workbench, _, shard string) {
			os.Remove(filepath.Join(shard, checkpointName))
		}, "missing, though older checkpoints are there"},
		"the checkpoint is signed by somebody else": {func(t *testing.T, w *workbench, _, shard string) {
			secret, _, _ := GenerateKey(origin)
			s, _ := note.NewSigner(secret)
			cp, _ := Unverified(w.sealer.Latest().Note)
			text, _, _ := bytes.Cut(cp.Note, []byte("\n\n"))
			forged, _ := note.Sign(&note.Note{Text: string(text) + "\n"}, s)
			os.WriteFile(filepath.Join(shard, checkpointName), forged, 0o600)
		}, "not a checkpoint that a known key signed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkbench(t)
			w.write(5)
			w.seal()
			w.write(6)
			w.seal()
			w.log.Close()
			w.sound()
			segments, _ := audit.Segments(w.dir)
			if len(segments) != 1 {
				t.Fatalf("%d segments", len(segments))
			}
			c.do(t, w, segments[0].Path, filepath.Dir(segments[0].Path))
			r, _, err := Verify(w.dir, Options{Verifiers: w.verifiers})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(r.Problems, func(p audit.Problem) bool { return strings.Contains(p.What, c.want) }) {
				t.Errorf("problems %v, want %q", r.Problems, c.want)
			}
		})
	}
}

func TestAnAnchorKeptElsewhereShowsARollback(t *testing.T) {
	w := newWorkbench(t)
	w.write(5)
	w.seal()
	early, err := os.ReadFile(filepath.Join(w.dir, r0(w).Shard, checkpointName))
	if err != nil {
		t.Fatal(err)
	}
	cut := r0(w).Records
	w.write(5)
	anchor := w.seal().Note
	w.log.Close()
	segments, _ := audit.Segments(w.dir)
	os.RemoveAll(filepath.Join(w.dir, segments[0].Shard, historyName))
	os.WriteFile(filepath.Join(w.dir, segments[0].Shard, checkpointName), early, 0o600)
	forge(t, segments[0].Path, func(i int, line []byte) []byte {
		if int64(i) > cut {
			return nil
		}
		return line
	})
	if r, _, _ := Verify(w.dir, Options{Verifiers: w.verifiers}); len(r.Problems) != 0 {
		t.Fatalf("the rollback is perfect, and yet: %v", r.Problems)
	}
	r, _, err := Verify(w.dir, Options{Verifiers: w.verifiers, Anchors: [][]byte{anchor}})
	if err != nil || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].What, "cut off after this record: anchor 1") {
		t.Errorf("%v, %v", r.Problems, err)
	}
}

func TestTheSealerDoesNotSignAChangedLog(t *testing.T) {
	w := newWorkbench(t)
	w.write(10)
	w.seal()
	w.log.Close()
	segments, _ := audit.Segments(w.dir)
	forge(t, segments[0].Path, func(_ int, line []byte) []byte {
		return bytes.Replace(line, []byte(`"name":"cart-3"`), []byte(`"name":"cart-4"`), 1)
	})
	w.open()
	if _, err := w.sealer.Seal(t.Context()); !errors.Is(err, ErrTampered) {
		t.Errorf("sealed: %v", err)
	}
}

func TestAKeyIsReplacedByDoubleSignature(t *testing.T) {
	w := newWorkbench(t)
	w.write(3)
	w.seal()
	w.addKey() // both sign
	w.newSealer()
	w.write(3)
	cp := w.seal()
	for i, k := range w.vkeys {
		vs, err := ParseVerifiers([]string{k})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseCheckpoint(cp.Note, vs); err != nil {
			t.Errorf("who knows key %d only: %v", i, err)
		}
	}
	w.signers = w.signers[1:] // the old key is gone; its verifier stays
	w.newSealer()
	w.write(3)
	w.seal()
	w.sound()
}

// kmsKey is a signer as a KMS gives it: ECDSA P-256.
func TestAKeyOfAKMSSigns(t *testing.T) {
	w := newWorkbench(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sv, err := signature.LoadECDSASignerVerifier(key, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	s, vkey, err := NewSigner(origin, sv)
	if err != nil {
		t.Fatal(err)
	}
	if w.verifiers, err = ParseVerifiers([]string{vkey}); err != nil {
		t.Fatal(err)
	}
	w.signers = []note.Signer{s}
	w.newSealer()
	w.write(3)
	w.seal()
	w.sound()
}

// witnessOf starts a witness of w's log.
func witnessOf(t testing.TB, w *workbench, dir, secret, vkey string) Peer {
	t.Helper()
	log, err := ParseVerifiers(w.vkeys[:1])
	if err != nil {
		t.Fatal(err)
	}
	witness, err := NewWitness(dir, secret, map[string]note.Verifier{origin: log[0]})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(witness)
	t.Cleanup(srv.Close)
	vs, err := ParseVerifiers([]string{vkey})
	if err != nil {
		t.Fatal(err)
	}
	return Peer{URL: srv.URL, Verifier: vs[1]} // [0] is the plain Ed25519 key
}

func TestPeersCosignAndNoticeARollback(t *testing.T) {
	w := newWorkbench(t)
	var all []string
	for i := range 2 {
		secret, vkey, err := GenerateKey(fmt.Sprintf("gate.test/cluster/gate-%d", i+1))
		if err != nil {
			t.Fatal(err)
		}
		w.peers = append(w.peers, witnessOf(t, w, t.TempDir(), secret, vkey))
		all = append(all, vkey)
	}
	w.peers = append(w.peers, Peer{URL: "http://127.0.0.1:1", Verifier: w.peers[0].Verifier}) // one is down
	w.newSealer()
	for range 3 {
		w.write(4)
		cp := w.seal()
		vs, _ := ParseVerifiers(append(all, w.vkeys...))
		got, err := ParseCheckpoint(cp.Note, vs)
		if err != nil || len(got.SignedBy) != 3 {
			t.Fatalf("signed by %v, %v", got, err)
		}
	}
	w.sound()
	w.log.Close()

	segments, _ := audit.Segments(w.dir)
	dir := filepath.Dir(segments[0].Path)
	os.RemoveAll(filepath.Join(dir, historyName))
	os.Remove(filepath.Join(dir, checkpointName))
	os.Remove(filepath.Join(dir, hashesName))
	forge(t, segments[0].Path, func(i int, line []byte) []byte {
		if i > 6 {
			return nil
		}
		return line
	})
	w.open()
	if _, err := w.sealer.Seal(t.Context()); !errors.Is(err, ErrRolledBack) {
		t.Errorf("a log that lost its tail was sealed: %v", err)
	}
	w.write(60)
	if cp, err := w.sealer.Seal(t.Context()); err == nil && len(mustParse(t, cp, append(all, w.vkeys...)).SignedBy) > 1 {
		t.Error("a peer cosigned a history that does not extend the one it knows")
	}
}

func mustParse(t *testing.T, cp *Checkpoint, keys []string) *Checkpoint {
	t.Helper()
	vs, err := ParseVerifiers(keys)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseCheckpoint(cp.Note, vs)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestAWitnessRefuses(t *testing.T) {
	w := newWorkbench(t)
	w.write(4)
	cp := w.seal()
	secret, vkey, err := GenerateKey("witness")
	if err != nil {
		t.Fatal(err)
	}
	peer := witnessOf(t, w, t.TempDir(), secret, vkey)
	post := func(body []byte) int {
		t.Helper()
		_, status, err := peer.post(t.Context(), body)
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	body, err := addCheckpoint(0, cp, nil)
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Replace(body, []byte(origin), []byte("gate.test/cluster/other"), 1)
	unsigned := bytes.Replace(body, []byte(fmt.Sprintf("\n%d\n", cp.Size)), []byte(fmt.Sprintf("\n%d\n", cp.Size+1)), 1)
	for name, c := range map[string]struct {
		body []byte
		want int
	}{
		"a log that it does not know":            {other, 404},
		"a checkpoint that the key did not sign": {unsigned, 403},
		"another old size":                       {bytes.Replace(body, []byte("old 0"), []byte("old 1"), 1), 409},
		"an old size beyond the checkpoint":      {bytes.Replace(body, []byte("old 0"), []byte("old 99"), 1), 400},
		"no checkpoint":                          {[]byte("old 0\n"), 400},
		"no old size":                            {[]byte("new 0\n\nx"), 400},
	} {
		if got := post(c.body); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	if got := post(body); got != 200 {
		t.Fatalf("a good one: %d", got)
	}
	w.write(3)
	next := w.seal()
	if got := post([]byte(fmt.Sprintf("old %d\n%s\n\n%s", cp.Size, tlog.Hash{1}, next.Note))); got != 422 {
		t.Errorf("a proof that proves nothing: %d, want 422", got)
	}
}

func TestShardsAreSealedEachByItself(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	w := &workbench{t: t, dir: dir}
	w.addKey()
	w.open()
	w.write(3)
	w.seal()
	w.log.Close()
	// A new period: what a later start finds.
	segments, _ := audit.Segments(dir)
	old := filepath.Join(dir, "2001-Q1")
	if err := os.Rename(filepath.Dir(segments[0].Path), old); err != nil {
		t.Fatal(err)
	}
	os.RemoveAll(filepath.Join(old, historyName))
	os.Remove(filepath.Join(old, checkpointName))
	w.open()
	w.write(3)
	w.seal()
	results := w.sound()
	if len(results) != 2 || results[0].Sealed != results[0].Records || results[1].Sealed != results[1].Records {
		t.Errorf("%+v", results)
	}
	if results[0].Origin == results[1].Origin {
		t.Error("two shards have one origin")
	}
	w.newSealer() // starts at the second shard, for the first one is sealed whole
	w.write(1)
	w.seal()
	w.sound()
}

func TestRunSealsWhatIsWrittenUntilItsEnd(t *testing.T) {
	w := newWorkbench(t)
	w.sealer.cfg.Interval = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.sealer.Run(ctx) }()
	w.write(20)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if r := w.sound(); r[0].Sealed != r[0].Records {
		t.Errorf("%+v", r)
	}
}

func FuzzParseAddCheckpoint(f *testing.F) {
	f.Add([]byte("old 1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\norigin\n1\nAAAA\n\n— x y\n"))
	f.Add([]byte("old 0\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if old, proof, _, err := parseAddCheckpoint(b); err == nil && (old < 0 || len(proof) > 63) {
			t.Errorf("old %d, %d hashes", old, len(proof))
		}
		Unverified(b)
	})
}
