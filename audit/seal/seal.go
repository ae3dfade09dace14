// Package seal makes an audit log tamper-evident: each shard is the leaves of a Merkle tree (RFC 6962) whose roots are
// signed (C2SP tlog-checkpoint) and cosigned by other replicas (C2SP tlog-cosignature).
//
// A leaf is the line of a record without its line feed. Everything here is derived from the log and the
// keys; it trusts nothing that lies beside the log unless a known key signed it. Who holds a log's key can sign another
// history, but cannot show it to a witness that has cosigned this one.
package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	tlogfmt "github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/commitgate/commitgate/audit"
)

var (
	// ErrTampered is returned when the records on disk are not those that our own key has signed for.
	ErrTampered = errors.New("the audit log is not what was sealed")
	// ErrRolledBack is returned when a witness has cosigned more records than the log has.
	ErrRolledBack = errors.New("the audit log is shorter than a witness has seen it")
)

// Files that lie beside the segments of a shard.
const (
	checkpointName = "checkpoint"  // the latest, with the cosignatures that came
	historyName    = "checkpoints" // folder: about one per hour, named by size
	hashesName     = "hashes"      // stored hashes of the tree
)

// Config says what is sealed, by whom.
type Config struct {
	// Dir and Origin are those of the log.
	Dir, Origin string
	// Durable tells how many records the disk has (audit.Log.Health): only those are sealed, so that no crash leaves a
	// checkpoint that is ahead of its log.
	Durable func() uint64
	// Signers of checkpoints; all of them sign: while a key is being replaced, the old and the new one.
	Signers []note.Signer
	// Verifiers of the same keys, of those before them, and of the witnesses.
	Verifiers []note.Verifier
	// Interval between checkpoints; 5 s if it is not set.
	Interval time.Duration
	// Peers cosign.
	Peers []Peer
	// PeerTimeout bounds what one of them may take: it is asked off the request path, and the next checkpoint comes soon. 2 s if it is not set.
	PeerTimeout time.Duration
	// Logger for what needs somebody's eyes; slog.Default() if it is nil.
	Logger *slog.Logger
}

// historyInterval is how often a checkpoint is kept for good.
const historyInterval = time.Hour

// Checkpoint is a signed statement about a log: at this size, this was its root.
type Checkpoint struct {
	Origin string // of the shard: the log's origin, a slash, and the name of the shard
	Size   int64
	Root   tlog.Hash
	Note   []byte // as it was signed
	// SignedBy names the known keys that signed it.
	SignedBy []string
}

// Sealer seals one log. Seal and Run are for one goroutine; Latest is for all.
type Sealer struct {
	cfg     Config
	cursor  *audit.Cursor
	current *shard // whose records come
	latest  atomic.Pointer[Checkpoint]
	metrics sealMetrics
}

type shard struct {
	name    string
	hashes  *hashFile
	sealed  int64
	kept    time.Time // when a checkpoint was last kept for good
	dir     string
	checked bool // the hash file was compared with the last checkpoint
}

type sealMetrics struct {
	size, peers, cosigned prometheus.Gauge
	failures              prometheus.Counter
}

// New prepares the sealing of the log in cfg.Dir.
func New(cfg Config) (*Sealer, error) {
	var problems []error
	if cfg.Dir == "" || cfg.Origin == "" {
		problems = append(problems, errors.New("seal: no directory or no origin"))
	}
	if len(cfg.Signers) == 0 {
		problems = append(problems, errors.New("seal: no signing key"))
	}
	if cfg.Durable == nil {
		problems = append(problems, errors.New("seal: nobody tells what is durable"))
	}
	if cfg.Interval == 0 {
		cfg.Interval = 5 * time.Second
	}
	if cfg.PeerTimeout == 0 {
		cfg.PeerTimeout = 2 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	cursor, err := firstUnsealed(cfg)
	if err != nil {
		return nil, err
	}
	s := &Sealer{cfg: cfg, cursor: cursor, metrics: sealMetrics{
		size:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "gate_audit_sealed_records", Help: "Records of the current shard under the latest checkpoint."}),
		peers:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "gate_audit_peers", Help: "Peers that are asked to cosign each checkpoint."}),
		cosigned: prometheus.NewGauge(prometheus.GaugeOpts{Name: "gate_audit_cosignatures", Help: "Peers that cosigned the latest checkpoint."}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "gate_audit_seal_failures_total", Help: "Attempts to seal the audit log that failed."}),
	}}
	s.metrics.peers.Set(float64(len(cfg.Peers)))
	return s, nil
}

// Metrics returns the collectors of the sealer, to be registered by the program.
func (s *Sealer) Metrics() []prometheus.Collector {
	return []prometheus.Collector{s.metrics.size, s.metrics.peers, s.metrics.cosigned, s.metrics.failures}
}

// Latest is the latest checkpoint, or nil. The API server's audit log is a good place for its size and root.
func (s *Sealer) Latest() *Checkpoint { return s.latest.Load() }

// Run seals at each interval until ctx ends, and once more then. It returns only ErrTampered and ErrRolledBack; any other
// failure is logged and tried again, for the log does not need its seal to be written.
func (s *Sealer) Run(ctx context.Context) error {
	tick := time.NewTicker(s.cfg.Interval)
	defer tick.Stop()
	for {
		_, err := s.Seal(ctx)
		if err != nil && ctx.Err() == nil {
			s.metrics.failures.Inc()
			s.cfg.Logger.Error("the audit log could not be sealed", "err", err)
			if errors.Is(err, ErrTampered) || errors.Is(err, ErrRolledBack) {
				return err
			}
		}
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Interval)
			defer cancel()
			_, err := s.Seal(last)
			return err
		case <-tick.C:
		}
	}
}

// errEnough ends the cursor's reading.
var errEnough = errors.New("enough")

// Seal takes in what became durable since the last call, signs a checkpoint if there was anything, and asks the peers to
// cosign it. It returns the latest checkpoint.
func (s *Sealer) Seal(ctx context.Context) (*Checkpoint, error) {
	durable := s.cfg.Durable()
	err := s.cursor.Read(func(seg audit.Segment, line audit.Line) error {
		f, err := audit.ParseFrame(line.Text)
		if err != nil {
			return fmt.Errorf("%s: %w: %w", line.File, ErrTampered, err)
		}
		if f.Seq > durable {
			return errEnough
		}
		if !f.Sound() {
			return fmt.Errorf("%s:%d: %w: its content does not match its sum", line.File, line.Number, ErrTampered)
		}
		if s.current == nil || s.current.name != seg.Shard {
			if err := s.next(ctx, seg.Shard); err != nil {
				return err
			}
		}
		return s.current.take(line.Text)
	})
	if err != nil && !errors.Is(err, errEnough) {
		return s.Latest(), err
	}
	if s.current == nil {
		return s.Latest(), nil
	}
	err = s.sign(ctx, s.current, false)
	return s.Latest(), err
}

// next seals the current shard for good, for the records of another come.
func (s *Sealer) next(ctx context.Context, name string) error {
	if s.current != nil {
		if err := s.sign(ctx, s.current, true); err != nil {
			return err
		}
		if err := s.current.hashes.close(); err != nil {
			return err
		}
	}
	sh, err := s.open(name)
	s.current = sh
	return err
}

// firstUnsealed is a cursor before the first shard that is not sealed whole: the current one, as a rule.
func firstUnsealed(cfg Config) (*audit.Cursor, error) {
	segments, err := audit.Segments(cfg.Dir)
	if err != nil || len(segments) == 0 {
		return audit.CursorAt(cfg.Dir, audit.Segment{}), err
	}
	end := uint64(0) // first record of the shard after
	for i := len(segments) - 1; ; i-- {
		if i > 0 && segments[i-1].Shard == segments[i].Shard {
			continue
		}
		if end != 0 {
			b, err := os.ReadFile(filepath.Join(cfg.Dir, segments[i].Shard, checkpointName))
			if err == nil {
				cp, err := ParseCheckpoint(b, cfg.Verifiers)
				if err == nil && segments[i].First+uint64(cp.Size) == end {
					return audit.CursorAt(cfg.Dir, after(segments, i)), nil
				}
			}
		}
		if i == 0 {
			return audit.CursorAt(cfg.Dir, segments[0]), nil
		}
		end = segments[i].First
	}
}

// after is the first segment of the shard after that of segments[i].
func after(segments []audit.Segment, i int) audit.Segment {
	for _, s := range segments[i:] {
		if s.Shard != segments[i].Shard {
			return s
		}
	}
	return segments[i]
}

// open reads the tree of a shard.
func (s *Sealer) open(name string) (*shard, error) {
	dir := filepath.Join(s.cfg.Dir, name)
	sh := &shard{name: name, dir: dir}
	var err error
	if sh.hashes, err = openHashFile(filepath.Join(dir, hashesName)); err != nil {
		return nil, err
	}
	cp, err := s.readCheckpoint(filepath.Join(dir, checkpointName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		sh.sealed = cp.Size
		s.latest.Store(cp)
	}
	return sh, nil
}

// take adds a leaf.
func (sh *shard) take(line []byte) error { return sh.hashes.add(tlog.RecordHash(line)) }

// sign makes a checkpoint of a shard if it has grown; final: the shard is complete.
func (s *Sealer) sign(ctx context.Context, sh *shard, final bool) error {
	if sh.hashes.size < sh.sealed {
		return fmt.Errorf("%w: shard %s has %d records, %d were sealed", ErrTampered, sh.name, sh.hashes.size, sh.sealed)
	}
	if err := sh.check(s); err != nil {
		return err
	}
	if sh.hashes.size == sh.sealed && !final {
		return nil
	}
	root, err := sh.hashes.root(sh.hashes.size)
	if err != nil {
		return err
	}
	cp := &Checkpoint{Origin: s.cfg.Origin + "/" + sh.name, Size: sh.hashes.size, Root: root}
	text := tlogfmt.Checkpoint{Origin: cp.Origin, Size: uint64(cp.Size), Hash: root[:]}.Marshal()
	if cp.Note, err = note.Sign(&note.Note{Text: string(text)}, s.cfg.Signers...); err != nil {
		return fmt.Errorf("sign checkpoint: %w", err)
	}
	path := filepath.Join(sh.dir, checkpointName)
	if err := writeDurable(path, cp.Note); err != nil {
		return err
	}
	sh.sealed = cp.Size
	s.latest.Store(cp)
	s.metrics.size.Set(float64(cp.Size))
	cosigned, err := s.cosign(ctx, sh, cp)
	if len(cosigned) > len(cp.Note) {
		with := *cp
		with.Note = cosigned
		s.latest.Store(&with)
		cp = &with
		err = errors.Join(err, writeDurable(path, cosigned))
	}
	if now := time.Now(); final || now.Sub(sh.kept) >= historyInterval {
		sh.kept = now
		err = errors.Join(err, keep(sh.dir, cp))
	}
	return err
}

// check compares, once, the tree with what was signed before this process began.
func (sh *shard) check(s *Sealer) error {
	if sh.checked {
		return nil
	}
	sh.checked = true
	if sh.sealed == 0 {
		return nil
	}
	root, err := sh.hashes.root(sh.sealed)
	if err != nil {
		return err
	}
	if cp := s.Latest(); cp.Origin == s.cfg.Origin+"/"+sh.name && cp.Root != root {
		return fmt.Errorf("%w: shard %s: the root of its first %d records is another", ErrTampered, sh.name, sh.sealed)
	}
	return nil
}

// keep writes a checkpoint into the history.
func keep(dir string, cp *Checkpoint) error {
	folder := filepath.Join(dir, historyName)
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return writeDurable(filepath.Join(folder, fmt.Sprintf("%020d", cp.Size)), cp.Note)
}

// readCheckpoint reads a checkpoint that one of our own keys signed.
func (s *Sealer) readCheckpoint(path string) (*Checkpoint, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	cp, err := ParseCheckpoint(b, s.cfg.Verifiers)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrTampered, err)
	}
	return cp, nil
}

// ParseCheckpoint reads a checkpoint that at least one of the verifiers' keys signed.
func ParseCheckpoint(b []byte, verifiers []note.Verifier) (*Checkpoint, error) {
	n, err := note.Open(b, note.VerifierList(verifiers...))
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	cp, err := parseText(n.Text, b)
	if err != nil {
		return nil, err
	}
	for _, sig := range n.Sigs {
		cp.SignedBy = append(cp.SignedBy, sig.Name)
	}
	return cp, nil
}

// parseText reads what a checkpoint says.
func parseText(text string, signed []byte) (*Checkpoint, error) {
	var c tlogfmt.Checkpoint
	if _, err := c.Unmarshal([]byte(text)); err != nil {
		return nil, err
	}
	if len(c.Hash) != tlog.HashSize || c.Size > 1<<62 {
		return nil, errors.New("checkpoint: no such root or size")
	}
	return &Checkpoint{Origin: c.Origin, Size: int64(c.Size), Root: tlog.Hash(c.Hash), Note: signed}, nil
}

// Unverified reads what a checkpoint says, whoever wrote it.
func Unverified(b []byte) (*Checkpoint, error) {
	text, _, ok := bytes.Cut(b, []byte("\n\n"))
	if !ok {
		return nil, errors.New("checkpoint: not a signed note")
	}
	return parseText(string(text)+"\n", b)
}

// Floor is how many records the log in dir must have at least, by its latest checkpoint: for audit.Config.Floor.
func Floor(dir string, verifiers []note.Verifier) (uint64, error) {
	segments, err := audit.Segments(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	slices.Reverse(segments)
	for _, seg := range segments {
		path := filepath.Join(dir, seg.Shard, checkpointName)
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		cp, err := ParseCheckpoint(b, verifiers)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		for _, first := range segments { // the first segment of the shard
			if first.Shard == seg.Shard {
				seg = first
			}
		}
		return seg.First + uint64(cp.Size) - 1, nil
	}
	return 0, nil
}

// writeDurable replaces a file: readers see the old content or the new one, and after a crash too.
func writeDurable(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
