package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/mod/sumdb/note"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/exhibit"
	"github.com/commitgate/commitgate/audit/outcome"
	"github.com/commitgate/commitgate/audit/seal"
	"github.com/commitgate/commitgate/audit/ship"
	"github.com/commitgate/commitgate/webhook"
)

// auditOptions are the flags of serve about its audit log.
type auditOptions struct {
	keys, formerKeys []string
	peers            []string
	peersDir         string
	peerTimeout      time.Duration // no flag: 0 but in tests, which busy machines run too
	peerURL          string
	witnessKey       string
	streamToken      string
	namespace        string
	retention        time.Duration
	sealInterval     time.Duration
	ship             []string
	digestKey        string
	copies           []string
}

func (o *auditOptions) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&o.keys, "audit-key", nil, "key that seals the audit log: a file of `commitgate audit keygen`, or a KMS (awskms://, gcpkms://, azurekms://, hashivault://); with two, both sign (default DATA/audit.key, made if it is missing)")
	f.StringArrayVar(&o.formerKeys, "audit-former-key", nil, "file with verifier keys that sealed this log before")
	f.DurationVar(&o.sealInterval, "audit-seal-interval", 5*time.Second, "how often the audit log is sealed")
	f.DurationVar(&o.retention, "audit-retention", 0, "remove a shard of the audit log this long after its end, such as 9600h (0 keeps all)")
	f.StringVar(&o.digestKey, "audit-digest-key", "", "file with a secret of at least 32 bytes: records then hold keyed digests of objects, which `commitgate audit digest` tests")
	f.StringArrayVar(&o.ship, "audit-ship", nil, "copy the sealed log to this destination each minute: s3://… or postgres://… (commitgate audit ship --help)")
	f.StringArrayVar(&o.copies, "audit-copy", nil, "FILE, on another disk, that gets each record after the log has it; FILE,required refuses changes that it cannot take, FILE,timeout=2s waits so long for it (default 1s)")
	f.StringArrayVar(&o.peers, "audit-peer", nil, "URL=FILE of another replica that cosigns: its probe address, and a file with the verifier keys of its log and its witness")
	f.StringVar(&o.peersDir, "audit-peers", "", "folder with a file for each replica, by its name, as `commitgate audit peer` prints it: all cosign each other; an empty or missing one is no peers")
	f.StringVar(&o.peerURL, "audit-peer-url", "http://%s.commitgate-replicas:8080", "probe address of a replica of --audit-peers, with %s for its name")
	f.StringVar(&o.witnessKey, "audit-witness-key", "", "key file with which this replica cosigns the logs of its peers, on the probe address (default with --audit-peers DATA/witness.key, made if it is missing)")
	f.StringVar(&o.streamToken, "audit-stream-token", "", "file with the token by which the API server posts its own audit events to /audit-stream, beside /review")
	f.StringVar(&o.namespace, "namespace", "commitgate", "namespace that the gate runs in, whose pods the webhook is not asked about")
}

// defaultAuditKey is the key of a log whose operator gave none, in the data folder: who can write there can write both.
const defaultAuditKey = "audit.key"

// sealing is what keeps the audit log honest: its log, its sealer, and the witness for others.
type sealing struct {
	origin  string
	log     *audit.Log
	sealer  *seal.Sealer
	witness *seal.Witness    // nil: no peers
	stream  *outcome.Handler // nil: the API server does not post its audit events
	shipper *ship.Shipper
	// exhibits are the signer lists and policies that records name.
	exhibits *exhibit.Store
	copies   []audit.Copy // their sinks are files
}

// openAudit opens the log of this replica, one per name, and prepares its seals.
func openAudit(ctx context.Context, cfg *v1alpha1.Config, o serveOptions, log *slog.Logger) (*sealing, error) {
	name := o.name
	if name == "" {
		var err error
		if name, err = os.Hostname(); err != nil {
			return nil, err
		}
	}
	cluster := cfg.Gate.Spec.Cluster
	if cluster == "" {
		cluster = "cluster"
	}
	dir, origin := filepath.Join(o.data, "audit"), "commitgate.dev/"+cluster+"/"+name
	signers, verifiers, err := auditKeys(ctx, o, origin)
	if err != nil {
		return nil, fmt.Errorf("audit log %s: %w (spec.cluster and --name make its name: another name takes an empty data folder)", origin, err)
	}
	peers, known, err := auditPeers(o.audit.peers)
	if err != nil {
		return nil, err
	}
	if o.audit.peersDir != "" {
		if o.audit.witnessKey, err = defaultWitness(o, origin); err != nil {
			return nil, err
		}
		fellows, err := replicaPeers(o.audit, name, known, log)
		if err != nil {
			return nil, err
		}
		peers = append(peers, fellows...)
	}
	floor, err := seal.Floor(dir, verifiers)
	if err != nil {
		return nil, fmt.Errorf("audit log: %w (a log that another key sealed needs --audit-former-key)", err)
	}
	s := &sealing{origin: origin}
	if s.exhibits, err = exhibit.Open(dir); err != nil {
		return nil, err
	}
	start, err := keepConfiguration(s.exhibits, cfg)
	if err != nil {
		return nil, err
	}
	if s.copies, err = openCopies(o.audit.copies); err != nil {
		return nil, err
	}
	s.log, err = audit.Open(audit.Config{
		Dir: dir, Origin: origin, Writer: audit.Writer{Name: name, Version: version()}, Heartbeat: heartbeat, Retention: o.audit.retention,
		Floor: floor, Logger: log,
		Start: start, Copies: s.copies,
	})
	if err != nil {
		return nil, errors.Join(err, closeCopies(s.copies))
	}
	s.sealer, err = seal.New(seal.Config{
		Dir: dir, Origin: origin, Durable: func() uint64 { return s.log.Health().Seq }, Signers: signers, Verifiers: append(verifiers, witnesses(peers)...),
		Interval: o.audit.sealInterval, Peers: peers, PeerTimeout: o.audit.peerTimeout, Logger: log,
	})
	if err == nil {
		s.shipper, err = ship.NewShipper(dir, o.audit.ship, shipInterval, log)
	}
	if err == nil && o.audit.witnessKey != "" {
		s.witness, err = openWitness(filepath.Join(o.data, "witness"), o.audit.witnessKey, known)
	}
	if err == nil && o.audit.streamToken != "" {
		s.stream, err = openStream(s.log, o, log)
	}
	if err != nil {
		return nil, errors.Join(err, s.log.Close(), closeCopies(s.copies))
	}
	return s, nil
}

// keepConfiguration keeps what the gate was told, as JSON: with the history of Git, all that a decision depends on. The trusted repositories
// are kept as each judges (track.Publication). It holds no secret. It returns what a record says of the configuration.
func keepConfiguration(s *exhibit.Store, cfg *v1alpha1.Config) (map[string]string, error) {
	spec := &cfg.Gate.Spec
	b, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	digest, err := s.Put(b, time.Now())
	return map[string]string{"cluster": spec.Cluster, "mode": string(spec.Mode), "scope": string(spec.Scope), audit.DetailConfiguration: digest}, err
}

// openCopies reads FILE[,required][,timeout=DURATION].
func openCopies(flags []string) (copies []audit.Copy, err error) {
	for _, flag := range flags {
		path, options, _ := strings.Cut(flag, ",")
		c := audit.Copy{Name: path}
		for option := range strings.SplitSeq(options, ",") {
			wait, isTimeout := strings.CutPrefix(option, "timeout=")
			switch {
			case options == "":
			case option == "required":
				c.Required = true
			case isTimeout:
				if c.Timeout, err = time.ParseDuration(wait); err == nil && c.Timeout <= 0 {
					err = errors.New("not positive")
				}
			default:
				err = fmt.Errorf("%q: want required or timeout=DURATION", option)
			}
		}
		var sink *audit.FileSink
		if err == nil {
			sink, err = audit.OpenFileSink(path)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("--audit-copy %s: %w", flag, err), closeCopies(copies))
		}
		c.Sink = sink
		copies = append(copies, c)
	}
	return copies, nil
}

func closeCopies(copies []audit.Copy) error {
	var errs []error
	for _, c := range copies {
		if f, ok := c.Sink.(*audit.FileSink); ok {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// auditKeys loads the keys that seal the log, and makes one where the operator gave none.
func auditKeys(ctx context.Context, o serveOptions, origin string) (signers []note.Signer, verifiers []note.Verifier, err error) {
	refs := o.audit.keys
	if len(refs) == 0 {
		path := filepath.Join(o.data, defaultAuditKey)
		if err := newKeyFile(path, origin); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, nil, fmt.Errorf("audit key: %w", err)
		}
		refs = []string{path}
	}
	var vkeys []string
	for _, ref := range refs {
		signer, vkey, err := seal.LoadSigner(ctx, ref, origin)
		if err != nil {
			return nil, nil, err
		}
		signers, vkeys = append(signers, signer), append(vkeys, vkey)
	}
	for _, file := range o.audit.formerKeys {
		former, err := seal.ReadVerifiers(file)
		if err != nil {
			return nil, nil, err
		}
		vkeys = append(vkeys, former...)
	}
	verifiers, err = seal.ParseVerifiers(vkeys)
	return signers, verifiers, err
}

// newKeyFile makes a key and writes it beside its public part, FILE.pub. It returns fs.ErrExist if the file is there.
func newKeyFile(path, origin string) error {
	secret, verifier, err := seal.GenerateKey(origin)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, secret)
	return errors.Join(err, f.Sync(), f.Close(), os.WriteFile(path+".pub", []byte(verifier+"\n"), 0o644))
}

// openStream prepares the receiver of the API server's audit events.
func openStream(log *audit.Log, o serveOptions, logger *slog.Logger) (*outcome.Handler, error) {
	token, err := os.ReadFile(o.audit.streamToken)
	if err != nil {
		return nil, fmt.Errorf("--audit-stream-token: %w", err)
	}
	text := strings.TrimSpace(string(token))
	if len(text) < minToken {
		return nil, fmt.Errorf("--audit-stream-token: %d characters, want at least %d", len(text), minToken)
	}
	return outcome.NewHandler(outcome.HandlerConfig{Log: log, Token: text, Exclusions: outcome.Shipped(o.audit.namespace), Logger: logger}), nil
}

// digests makes the digests of records, or none where no key was given.
func (s *sealing) digests(o serveOptions) (webhook.Digests, error) {
	if o.audit.digestKey == "" {
		return nil, nil
	}
	d, err := audit.LoadDigester(o.audit.digestKey, s.origin)
	if err != nil {
		return nil, fmt.Errorf("--audit-digest-key: %w", err)
	}
	return audit.LogDigester{Digester: d, Log: s.log}, nil
}

// minToken is the shortest token of the audit stream: 128 bits in hexadecimal.
const minToken = 32

// shipInterval is how often copies are brought up to date: what a lost disk costs at most.
const shipInterval = time.Minute

// pruneInterval is how often shards whose time is over are looked for.
const pruneInterval = time.Hour

// run seals until ctx ends, and removes what the retention says. It returns an error when the log is not what was sealed: a gate whose
// memory was tampered with must not go on as if it were not.
func (s *sealing) run(ctx context.Context, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	var others sync.WaitGroup
	others.Go(func() { s.prune(ctx, log) })
	others.Go(func() { s.shipper.Run(ctx) })
	err := s.sealer.Run(ctx)
	cancel()
	others.Wait()
	return err
}

// prune removes what the retention says, until ctx ends.
func (s *sealing) prune(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(pruneInterval)
	defer tick.Stop()
	for {
		if removed, err := s.log.Prune(ctx); err != nil && ctx.Err() == nil {
			log.Error("shards of the audit log could not be removed", "err", err)
		} else if len(removed) > 0 {
			log.Info("shards of the audit log were removed: their retention is over", "shards", removed)
		}
		if err := s.pruneExhibits(); err != nil {
			log.Error("the exhibits of the audit log cannot be kept in order", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// exhibitSlack is how long before the oldest record an exhibit must have been used last to be removed: clocks step, and a superseded
// revision judges for a while.
const exhibitSlack = 48 * time.Hour

// pruneExhibits removes the exhibits that no record that is left can name. Where nothing is ever removed of the log, none is.
func (s *sealing) pruneExhibits() error {
	since, err := s.log.Since()
	if err != nil {
		return err
	}
	_, err = s.exhibits.Prune(time.Now(), since.Add(-exhibitSlack))
	return err
}

// close ends the log, and seals its last records.
func (s *sealing) close() error {
	err := s.log.Close()
	ctx, cancel := context.WithTimeout(context.Background(), lastSeal)
	defer cancel()
	_, sealErr := s.sealer.Seal(ctx)
	return errors.Join(err, sealErr, closeCopies(s.copies))
}

// lastSeal bounds the seal of the last records: what it misses, the next process seals.
const lastSeal = 5 * time.Second

// handleWitness serves the witness for peers, if there is one.
func (s *sealing) handleWitness(mux *http.ServeMux) {
	if s.witness != nil {
		mux.Handle("/add-checkpoint", s.witness)
	}
}
