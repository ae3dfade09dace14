package audit

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// Config says where and how a log is written.
type Config struct {
	// Dir of the log: on a volume that outlives the pod. It is made if it is missing; its parent is not.
	Dir string
	// Origin names the log in its checkpoints: gate.example/cluster/pod. One log, one writer, one origin.
	Origin string
	// Writer is filled into each record; Log, Shard and Boot are set by the log.
	Writer Writer
	// Period of a shard; Quarter if it is not set.
	Period Period
	// Retention is how long a shard is kept after its last record; 0 keeps all.
	Retention time.Duration
	// SegmentSize in bytes; 64 MiB if it is not set.
	SegmentSize int64
	// MaxPending is how many bytes may wait for the disk; 32 MiB if it is not set.
	MaxPending int
	// Heartbeat is the longest silence: then a heartbeat record is written. 0 is none.
	Heartbeat time.Duration
	// LowSpace is the share of the disk below which Health warns; 0.2 if it is not set.
	LowSpace float64
	// Copies get each record after the disk has it.
	Copies []Copy
	// Start is what the TypeStart record tells beside the log's own settings: mode, cluster.
	Start map[string]string
	// Floor is how many records the log must have at least (the largest size that a checkpoint, ours or a peer's copy,
	// vouches for). A shorter log was rolled back and is not opened.
	Floor uint64
	// Logger for what needs somebody's eyes; slog.Default() if it is nil.
	Logger *slog.Logger

	// VolatileUnsafe keeps nothing: records are put in order, chained and forgotten. For benchmarks of everything else.
	VolatileUnsafe bool
	// NoSyncUnsafe acknowledges records that the disk may not have. For benchmarks of everything else.
	NoSyncUnsafe bool

	// wrap lets a test break the file.
	wrap func(file) file
	// now lets a test step the clock.
	now func() time.Time
}

// DefaultSegmentSize of a log's files, in bytes.
const DefaultSegmentSize = 64 << 20

func (c Config) withDefaults() (Config, error) {
	var problems []error
	if c.Dir == "" && !c.VolatileUnsafe {
		problems = append(problems, errors.New("audit log: no directory"))
	}
	if c.Origin == "" {
		problems = append(problems, errors.New("audit log: no origin"))
	}
	if c.Period == "" {
		c.Period = Quarter
	}
	if !c.Period.valid() {
		problems = append(problems, fmt.Errorf("audit log: period %q: want %s, %s or %s", c.Period, Quarter, Month, Day))
	}
	if c.SegmentSize == 0 {
		c.SegmentSize = DefaultSegmentSize
	}
	if c.MaxPending == 0 {
		c.MaxPending = 32 << 20
	}
	if c.LowSpace == 0 {
		c.LowSpace = 0.2
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.wrap == nil {
		c.wrap = func(f file) file { return f }
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.Writer.Log = c.Origin
	c.Writer.Boot = bootID()
	return c, errors.Join(problems...)
}

// Log is an open write-ahead log. Its methods may be called from many goroutines.
type Log struct {
	cfg     Config
	lock    *os.File // held for the life of the log
	metrics *logMetrics
	stop    chan struct{} // closed by Close: the watch ends
	kick    chan struct{} // capacity 1: there is something to flush
	ended   sync.WaitGroup
	copies  []*copier

	mu      sync.Mutex
	head    head                   // where the next record goes; includes what is not durable yet. Under mu.
	durable head                   // what the disk has. Under mu.
	queue   []*batch               // not yet handed to the disk, in order. Under mu.
	pending int                    // bytes of queue and of the batch in flight. Under mu.
	failed  error                  // why nothing may be written any more. Under mu.
	closed  bool                   // Under mu.
	entropy *ulid.MonotonicEntropy // Under mu.
	health  Health                 // Under mu.

	// Owned by the syncer (flush.go).
	file    file
	written int64      // bytes of file
	fileMu  sync.Mutex // file and written, between the syncer and the watch; held across a write, never across a sync
	spareMu sync.Mutex // the spare file, between the syncer, which makes a segment of it, and the watch, which reserves the next
}

// head is a place in a log.
type head struct {
	seq   uint64 // of the last record; 0: none
	sum   string // of the last line
	shard string
	size  int64 // bytes of the segment; 0: none yet
	last  time.Time
}

// batch is what becomes durable together.
type batch struct {
	start  *Segment // a segment begins with this batch; its header is the first line of data
	header int      // bytes of data that are the header
	data   []byte
	head   head          // after the batch
	n      int           // records
	done   chan struct{} // closed when err is final
	err    error
}

// Open takes the log in cfg.Dir for this process, cuts a torn tail, and writes a TypeStart record.
// It returns ErrInUse if another process has it, and ErrCorrupt if it is damaged or shorter than cfg.Floor.
func Open(cfg Config) (*Log, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Log{
		cfg:     cfg,
		metrics: newLogMetrics(),
		stop:    make(chan struct{}),
		kick:    make(chan struct{}, 1),
		entropy: ulid.Monotonic(rand.Reader, 0),
	}
	var torn *torn
	if !cfg.VolatileUnsafe {
		if torn, err = l.openDir(); err != nil {
			l.release()
			return nil, fmt.Errorf("open audit log %s: %w", cfg.Dir, err)
		}
	}
	for _, c := range cfg.Copies {
		l.copies = append(l.copies, newCopier(c, l.metrics, cfg.Logger))
	}
	l.ended.Go(l.flushAll)
	l.ended.Go(l.watch)
	if err := l.begin(torn); err != nil {
		l.Close()
		return nil, fmt.Errorf("open audit log %s: %w", cfg.Dir, err)
	}
	return l, nil
}

// begin writes the first records of this process.
func (l *Log) begin(t *torn) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if t != nil {
		if _, err := l.Append(ctx, t.record()); err != nil {
			return err
		}
	}
	details := map[string]string{"pid": strconv.Itoa(os.Getpid()), "period": string(l.cfg.Period), "retention": l.cfg.Retention.String()}
	maps.Copy(details, l.cfg.Start)
	_, err := l.Append(ctx, Record{Type: TypeStart, Event: &Event{Message: "the gate began to write this log", Details: details}})
	return err
}

// startTimeout bounds the first writes: a disk that takes longer is not one to start on.
const startTimeout = 30 * time.Second

// openDir locks the directory and finds the end of the log.
func (l *Log) openDir() (*torn, error) {
	if err := os.Mkdir(l.cfg.Dir, 0o700); err != nil && !os.IsExist(err) {
		return nil, err
	}
	if err := l.takeLock(); err != nil {
		return nil, err
	}
	end, t, err := findEnd(l.cfg.Dir)
	if err != nil {
		return nil, err
	}
	if end.seq < l.cfg.Floor {
		return nil, fmt.Errorf("%w: it ends with record %d, but %d records are vouched for", ErrCorrupt, end.seq, l.cfg.Floor)
	}
	if end.path != "" {
		f, err := os.OpenFile(end.path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return nil, err
		}
		l.file, l.written = l.cfg.wrap(&osFile{File: f, path: end.path}), end.size
	}
	l.head = end.head
	l.durable = end.head
	return t, nil
}

// takeLock makes this process the only writer, and says so in the lock file for whoever finds it taken.
func (l *Log) takeLock() error {
	path := filepath.Join(l.cfg.Dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := lockFile(f); err != nil {
		owner, _ := os.ReadFile(path)
		f.Close()
		return fmt.Errorf("%w: %s", err, owner)
	}
	l.lock = f
	host, _ := os.Hostname()
	owner, err := json.Marshal(map[string]any{"pid": os.Getpid(), "host": host, "name": l.cfg.Writer.Name, "since": l.cfg.now().UTC()})
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(owner, 0)
	return err
}

func (l *Log) release() {
	if l.file != nil {
		l.file.Close()
	}
	if l.lock != nil {
		l.lock.Close()
	}
}

// Append writes r and returns when it is durable, with its place in the log filled in. It never fails because r
// is long: text is cut, with a mark. When it returns an error, the caller must act as if nothing was recorded, and refuse;
// with ErrNotDurable and ErrCopy the record may be in the log all the same, and a decision then is followed by a
// TypeSuperseded record that takes it back.
func (l *Log) Append(ctx context.Context, r Record) (Record, error) {
	if err := ctx.Err(); err != nil {
		return r, fmt.Errorf("%w: %w", ErrNotDurable, err)
	}
	b, err := l.enqueue(&r)
	if err != nil {
		return r, err
	}
	select {
	case <-b.done:
	case <-ctx.Done():
		select {
		case <-b.done: // both happened
		default:
			l.supersede(r)
			return r, fmt.Errorf("%w: %w", ErrNotDurable, ctx.Err())
		}
	}
	if errors.Is(b.err, ErrCopy) {
		l.supersede(r)
	}
	return r, b.err
}

// supersede takes back a decision that was not answered. It does not wait: nobody may hang on it, and if it is lost the
// log says more than what happened, never less.
func (l *Log) supersede(r Record) {
	if r.Type != TypeDecision {
		return
	}
	_, err := l.enqueue(&Record{Type: TypeSuperseded, Event: &Event{
		Message: "the decision was not answered: it was not durable in time",
		Details: map[string]string{"record": r.ID, "seq": strconv.FormatUint(r.Seq, 10)},
	}})
	if err != nil {
		l.cfg.Logger.Error("a decision in the audit log was not answered", "record", r.ID, "err", err)
	}
}

// enqueue gives r its place and hands it to the syncer.
func (l *Log) enqueue(r *Record) (*batch, error) {
	r.Schema = Schema
	writer := l.cfg.Writer
	l.mu.Lock()
	writer.Shard = l.head.shard
	l.mu.Unlock()
	r.Writer = &writer
	d := newDraft(r) // most of the work, outside the lock

	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.failed != nil:
		return nil, l.failed
	case l.closed:
		return nil, ErrClosed
	case l.pending > l.cfg.MaxPending:
		return nil, ErrOverloaded
	}
	return l.place(r, d), nil
}
