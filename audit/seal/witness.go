package seal

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	tlogfmt "github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A Peer is another replica that cosigns our checkpoints (C2SP tlog-witness).
type Peer struct {
	// URL that /add-checkpoint is appended to.
	URL string
	// Verifier of its cosignatures.
	Verifier note.Verifier
	// Client to ask it with; its TLS says who may be asked. http.DefaultClient if it is nil.
	Client *http.Client
}

// maxRequest is more than any add-checkpoint request takes: 63 hashes and a note.
const maxRequest = 64 << 10

// cosign asks the peers, and returns the note with the cosignatures that came. Only ErrRolledBack is an error: a peer that
// is down misses one checkpoint.
func (s *Sealer) cosign(ctx context.Context, sh *shard, cp *Checkpoint) ([]byte, error) {
	if len(s.cfg.Peers) == 0 {
		return cp.Note, nil
	}
	lines := make([][]byte, len(s.cfg.Peers))
	errs := make([]error, len(s.cfg.Peers))
	var wg sync.WaitGroup
	for i, p := range s.cfg.Peers {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, s.cfg.PeerTimeout)
			defer cancel()
			lines[i], errs[i] = p.ask(ctx, cp, sh.hashes)
		})
	}
	wg.Wait()
	out, n := bytes.Clone(cp.Note), 0
	var fatal error
	for i, line := range lines {
		switch {
		case errors.Is(errs[i], ErrRolledBack):
			fatal = errors.Join(fatal, errs[i])
		case errs[i] != nil:
			s.cfg.Logger.Warn("a peer did not cosign the audit log", "peer", s.cfg.Peers[i].URL, "err", errs[i])
		default:
			out = append(out, line...)
			n++
		}
	}
	s.metrics.cosigned.Set(float64(n))
	return out, fatal
}

// ask sends a checkpoint with the proof that it extends what the peer has seen, and returns the peer's signature line.
func (p Peer) ask(ctx context.Context, cp *Checkpoint, hashes tlog.HashReader) ([]byte, error) {
	old := cp.Size // a guess: the peer's answer says what it is
	for range 2 {
		body, err := addCheckpoint(old, cp, hashes)
		if err != nil {
			return nil, err
		}
		answer, status, err := p.post(ctx, body)
		if err != nil {
			return nil, err
		}
		switch status {
		case http.StatusOK:
			signed := append(bytes.Clone(cp.Note), answer...)
			if _, err := ParseCheckpoint(signed, []note.Verifier{p.Verifier}); err != nil {
				return nil, fmt.Errorf("its cosignature is not sound: %w", err)
			}
			return answer, nil
		case http.StatusConflict:
			if old, err = strconv.ParseInt(strings.TrimSpace(string(answer)), 10, 64); err != nil {
				return nil, fmt.Errorf("answered a size that is none: %w", err)
			}
			if old > cp.Size {
				return nil, fmt.Errorf("%w: %s has cosigned %d records of %s, there are %d", ErrRolledBack, p.URL, old, cp.Origin, cp.Size)
			}
		default:
			return nil, fmt.Errorf("answered %d: %s", status, bytes.TrimSpace(answer))
		}
	}
	return nil, errors.New("its size changed meanwhile")
}

func (p Peer) post(ctx context.Context, body []byte) (answer []byte, status int, err error) {
	u, err := url.JoinPath(p.URL, "add-checkpoint")
	if err != nil {
		return nil, 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	client := p.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxRequest))
	return answer, resp.StatusCode, err
}

// addCheckpoint is the body of a request: the size that the witness knows, the proof from there, and the checkpoint.
func addCheckpoint(old int64, cp *Checkpoint, hashes tlog.HashReader) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "old %d\n", old)
	if old > 0 && old < cp.Size {
		proof, err := tlog.ProveTree(cp.Size, old, hashes)
		if err != nil {
			return nil, err
		}
		for _, h := range proof {
			fmt.Fprintln(&b, base64.StdEncoding.EncodeToString(h[:]))
		}
	}
	b.WriteByte('\n')
	b.Write(cp.Note)
	return b.Bytes(), nil
}

// Witness cosigns the checkpoints of other logs: each only if it extends the one before. It answers POST /add-checkpoint
// (C2SP tlog-witness). What it has seen is durable before it signs, so that a restart does not make it forget.
type Witness struct {
	dir    string
	signer note.Signer
	logs   map[string]note.Verifier // by origin, without shard

	mu sync.Mutex // one checkpoint at a time: to read, check and replace what was seen
}

// NewWitness remembers what it has seen in dir. secret is a key of GenerateKey, used for nothing else; logs are the
// verifiers of the logs that it knows, by origin without shard.
func NewWitness(dir, secret string, logs map[string]note.Verifier) (*Witness, error) {
	s, err := fnote.NewSignerForCosignatureV1(secret)
	if err != nil {
		return nil, fmt.Errorf("witness key: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &Witness{dir: dir, signer: s, logs: logs}, nil
}

// ServeHTTP implements http.Handler.
func (w *Witness) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost || !strings.HasSuffix(req.URL.Path, "/add-checkpoint") {
		http.Error(rw, "want POST /add-checkpoint", http.StatusNotFound)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(rw, req.Body, maxRequest))
	if err != nil {
		http.Error(rw, "too long", http.StatusBadRequest)
		return
	}
	answer, status, size := w.add(body)
	if status == http.StatusConflict {
		rw.Header().Set("Content-Type", "text/x.tlog.size")
		rw.WriteHeader(status)
		fmt.Fprintf(rw, "%d\n", size)
		return
	}
	rw.WriteHeader(status)
	rw.Write(answer)
}

// add judges one request: the cosignature and 200, or why not. size goes with 409.
func (w *Witness) add(body []byte) (answer []byte, status int, size int64) {
	old, proof, signed, err := parseAddCheckpoint(body)
	if err != nil {
		return []byte(err.Error() + "\n"), http.StatusBadRequest, 0
	}
	claim, err := Unverified(signed)
	if err != nil {
		return []byte(err.Error() + "\n"), http.StatusBadRequest, 0
	}
	verifier := w.verifier(claim.Origin)
	if verifier == nil {
		return []byte("unknown log\n"), http.StatusNotFound, 0
	}
	cp, err := ParseCheckpoint(signed, []note.Verifier{verifier})
	if err != nil {
		return []byte("not signed by this log's key\n"), http.StatusForbidden, 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	path := filepath.Join(w.dir, url.PathEscape(cp.Origin))
	seen, err := w.seen(path, verifier)
	switch {
	case err != nil:
		return []byte("what was seen before cannot be read\n"), http.StatusInternalServerError, 0
	case old > cp.Size:
		return []byte("old is larger than the checkpoint\n"), http.StatusBadRequest, 0
	case old != seen.Size:
		return nil, http.StatusConflict, seen.Size
	case old == cp.Size && cp.Root != seen.Root:
		return nil, http.StatusConflict, seen.Size
	case old > 0 && old < cp.Size && tlog.CheckTree(proof, cp.Size, cp.Root, old, seen.Root) != nil:
		return []byte("does not extend what was seen\n"), http.StatusUnprocessableEntity, 0
	}
	line, err := w.sign(cp)
	if err == nil {
		err = writeDurable(path, signed) // before the signature leaves: we never sign less later
	}
	if err != nil {
		return []byte("cannot sign\n"), http.StatusInternalServerError, 0
	}
	return line, http.StatusOK, 0
}

// verifier is the key of the log that a shard's origin belongs to, or nil.
func (w *Witness) verifier(origin string) note.Verifier {
	i := strings.LastIndexByte(origin, '/')
	if i < 0 {
		return nil
	}
	return w.logs[origin[:i]]
}

// seen is the last checkpoint of a log that was cosigned, or the empty one.
func (w *Witness) seen(path string, v note.Verifier) (*Checkpoint, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Checkpoint{}, nil
	}
	if err != nil {
		return nil, err
	}
	return ParseCheckpoint(b, []note.Verifier{v})
}

// sign makes our signature line for a checkpoint.
func (w *Witness) sign(cp *Checkpoint) ([]byte, error) {
	text := tlogfmt.Checkpoint{Origin: cp.Origin, Size: uint64(cp.Size), Hash: cp.Root[:]}.Marshal()
	signed, err := note.Sign(&note.Note{Text: string(text)}, w.signer)
	if err != nil {
		return nil, err
	}
	_, line, ok := bytes.Cut(signed, []byte("\n\n"))
	if !ok {
		return nil, errors.New("a signed note without signature")
	}
	return line, nil
}

// parseAddCheckpoint reads the body of a request.
func parseAddCheckpoint(body []byte) (old int64, proof tlog.TreeProof, checkpoint []byte, err error) {
	head, checkpoint, ok := bytes.Cut(body, []byte("\n\n"))
	if !ok {
		return 0, nil, nil, errors.New("no checkpoint")
	}
	lines := strings.Split(string(head), "\n")
	size, ok := strings.CutPrefix(lines[0], "old ")
	if !ok {
		return 0, nil, nil, errors.New("no old size")
	}
	if old, err = strconv.ParseInt(size, 10, 64); err != nil || old < 0 {
		return 0, nil, nil, errors.New("old size is not a number")
	}
	if len(lines) > 64 {
		return 0, nil, nil, errors.New("proof is too long")
	}
	for _, l := range lines[1:] {
		h, err := tlog.ParseHash(l)
		if err != nil {
			return 0, nil, nil, errors.New("proof: not a hash")
		}
		proof = append(proof, h)
	}
	return old, proof, checkpoint, nil
}
