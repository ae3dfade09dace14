package export

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/seal"
	"github.com/commitgate/commitgate/git"
)

// defaultRecords is how many records the benchmark writes if nobody says otherwise: enough to be past every buffer.
const defaultRecords = 50_000

// callers is how many requests are decided at once while the log is written.
const callers = 128

// BenchmarkLog is the budget of the record, over one log that it writes: all of it is written durably, verified, exported and searched, beside a bare
// read of the same files. COMMITGATE_BENCH_RECORDS=1000000 writes the million that the budget speaks of.
func BenchmarkLog(b *testing.B) {
	n := defaultRecords
	if s := os.Getenv("COMMITGATE_BENCH_RECORDS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 {
			b.Fatalf("COMMITGATE_BENCH_RECORDS=%s", s)
		}
	}
	r := newReplica(b, "gate-0")
	b.Run("write", func(b *testing.B) { measure(b, n, func() error { return r.writeMany(b, n) }) })
	b.Run("seal", func(b *testing.B) { measure(b, n, func() error { return r.seal(b) }) })
	b.Run("read", func(b *testing.B) { measure(b, n, func() error { return readFiles(r.dir) }) })
	b.Run("verify", func(b *testing.B) {
		measure(b, n, func() error {
			report, _, err := seal.Verify(r.dir, seal.Options{Verifiers: r.verifiers})
			if err == nil && (len(report.Problems) > 0 || report.Records < uint64(n)) {
				err = fmt.Errorf("%d records, problems %v", report.Records, report.Problems)
			}
			return err
		})
	})
	var lines float64 // processor time of the export that decodes nothing
	for _, x := range []struct {
		name   string
		filter audit.Filter
		format Format
		least  int // records that are found
	}{
		{"export/jsonl", audit.Filter{}, JSONLines{}, n},
		{"export/csv", audit.Filter{}, CSV{}, n},
		{"export/ocsf", audit.Filter{}, OCSF{}, n},
		{"query/commit", audit.Filter{Commit: string(commitOf(n / 2)[:12])}, Discard{}, 1},
		{"query/object", audit.Filter{Kind: "Deployment", Namespace: "team-7", Name: "app-7"}, Discard{}, 1},
		{"query/person", audit.Filter{Person: "dev-7@"}, Discard{}, 1},
	} {
		b.Run(x.name, func(b *testing.B) {
			spent := measure(b, n, func() error {
				logs, err := OpenLogs([]string{r.dir}, x.filter)
				if err != nil {
					return err
				}
				t, err := Write(b.Context(), io.Discard, logs, x.filter, x.format, nil)
				if err == nil && (t.Count < uint64(x.least) || t.Read < uint64(n)) {
					err = fmt.Errorf("%d of %d records, want %d", t.Count, t.Read, x.least)
				}
				return err
			})
			if x.name == "export/jsonl" {
				lines = spent
			} else if lines > 0 {
				b.ReportMetric(spent/lines, "x-jsonl")
			}
		})
	}
}

// measure does something once per iteration, and reports what it took: time and processor time for a million records, and how much the heap grew. It
// returns the processor time for a million, in seconds.
func measure(b *testing.B, records int, do func() error) float64 {
	runtime.GC()
	before, cpu := heap(), processor()
	peak, stop := before, make(chan struct{})
	var sampling sync.WaitGroup
	sampling.Go(func() {
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
				peak = max(peak, heap())
			}
		}
	})
	for b.Loop() {
		if err := do(); err != nil {
			b.Fatal(err)
		}
	}
	close(stop)
	sampling.Wait()
	per := 1e6 / float64(records) / float64(b.N)
	b.ReportMetric(b.Elapsed().Seconds()*per, "s/million")
	spent := (processor() - cpu).Seconds() * per
	b.ReportMetric(spent, "cpu-s/million")
	b.ReportMetric(float64(peak-before)/(1<<20), "heap-MiB")
	return spent
}

// heap is what live and dead objects take now, in bytes.
func heap() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// readFiles is the least that anybody who looks at a log does.
func readFiles(dir string) error {
	segments, err := audit.Segments(dir)
	if err != nil {
		return err
	}
	buffer := make([]byte, 1<<20)
	for _, s := range segments {
		f, err := os.Open(s.Path)
		if err != nil {
			return err
		}
		for err == nil {
			_, err = f.Read(buffer)
		}
		f.Close()
		if err != io.EOF {
			return err
		}
	}
	return nil
}

// commitOf is the commit of the i-th change: a commit changes fifty objects.
func commitOf(i int) git.ID {
	sum := sha1.Sum([]byte(strconv.Itoa(i / 50)))
	return git.ID(hex.EncodeToString(sum[:]))
}

// typical is a record as a gate writes most of them: an agent applies what a signed commit declares.
func typical(i int) audit.Record {
	at := time.Date(2026, 11, 21, 9, 0, 0, i, time.UTC)
	team, dev := i%40, fmt.Sprintf("dev-%d@example.org", i/50%200)
	return audit.Record{
		Type: audit.TypeDecision,
		Request: &audit.Request{
			UID: fmt.Sprintf("705ab4f5-6393-11e8-b7cc-%012x", i), Operation: "UPDATE", Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments",
			Namespace: fmt.Sprintf("team-%d", team), Name: fmt.Sprintf("app-%d", i%1000), ObjectUID: fmt.Sprintf("11e8b7cc-6393-4393-b7cc-%012x", i%1000),
			OldResourceVersion: strconv.Itoa(4_000_000 + i), ObjectDigest: "hmac:1f0c22aa:" + string(commitOf(i)) + "aaaaaaaaaaaaaaaaaaaaaaaa",
			OldDigest: "hmac:1f0c22aa:" + string(commitOf(i+50)) + "aaaaaaaaaaaaaaaaaaaaaaaa",
		},
		Actor: &audit.Actor{
			Username: "system:serviceaccount:flux-system:kustomize-controller", UID: "0f1ac3c2-2ea5-4b4e-9d5b-2b3a6a0e4f11", Role: "agent",
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:flux-system", "system:authenticated"},
		},
		Decision: &audit.Decision{Outcome: "allow", Verdict: "allow", Mode: "Enforce", Reason: "Declared", Noop: i%3 > 0, Micros: 140},
		Origin: &audit.Origin{
			Repository: "fleet", Branch: "main", Revision: commitOf(i), Commit: commitOf(i), Tree: commitOf(i + 50), Path: git.Path(fmt.Sprintf("teams/team-%d/app-%d.yaml", team, i%1000)),
			Author: "Dev " + dev, Committer: "Dev " + dev, CommitTime: &at,
			Signers: []audit.Signer{
				{Principal: dev, Kind: "SSH", Key: "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"},
				{Principal: "lead@example.org", Kind: "OpenPGP", Key: "D8692123C4065DEA5E0F3AB5249B39D24F25E3B6"},
			},
			SignerList: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		},
		Policy: &audit.Policy{
			Repository: "fleet", Commit: commitOf(0), Digest: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", Engine: "opa 1.5.0", Time: &at,
		},
		Change: &audit.Change{EvidenceSource: "signatures", Approvers: []audit.Approver{{ID: "lead@example.org"}}, Tickets: []string{fmt.Sprintf("OPS-%d", i/50)}},
	}
}

// writeMany writes a log of n typical records in the replica's folder, as many requests at once would.
func (r *replica) writeMany(b *testing.B, n int) error {
	if err := os.RemoveAll(r.dir); err != nil {
		return err
	}
	l, err := audit.Open(audit.Config{Dir: r.dir, Origin: r.origin, Logger: quiet})
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	for c := range callers {
		all.Go(func() {
			for i := c; i < n; i += callers {
				if _, err := l.Append(b.Context(), typical(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return l.Close()
}

// seal signs what was written, from the beginning.
func (r *replica) seal(b *testing.B) error {
	segments, err := audit.Segments(r.dir)
	if err != nil {
		return err
	}
	last := uint64(0)
	for line, err := range audit.Records(segments[len(segments)-1:]) {
		if err != nil {
			return err
		}
		f, err := audit.ParseFrame(line.Text)
		if err != nil {
			return err
		}
		last = f.Seq
	}
	if old, err := filepath.Glob(filepath.Join(r.dir, "*", "checkpoint*")); err == nil {
		for _, path := range old {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	s, err := seal.New(seal.Config{Dir: r.dir, Origin: r.origin, Durable: func() uint64 { return last }, Signers: r.signers, Verifiers: r.verifiers, Logger: quiet})
	if err != nil {
		return err
	}
	_, err = s.Seal(b.Context())
	return err
}
