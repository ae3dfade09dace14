package chaos

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/lab"
)

var update = flag.Bool("update", false, "watch each event for longer, and write docs/reliability.md")

// TestReliability: whatever happens to the replicas, to what they need and to their clocks, no request is decided wrongly and no record is lost, and
// each request that was refused without a verdict is counted and explained.
func TestReliability(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a control plane: not with -short")
	}
	s := settings{linger: 2 * time.Second, drain: time.Second, look: 200 * time.Millisecond, caSettle: time.Second}
	if *update {
		s = settings{linger: 20 * time.Second, drain: 5 * time.Second, look: time.Second, caSettle: 10 * time.Second}
	}
	l := startLab(t)
	ctx := t.Context()
	in, err := newInstallation(ctx, l, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, r := range in.replicas {
				log, err := os.ReadFile(r.output())
				t.Logf("%s (%v):\n%s", r.name, err, log[max(0, len(log)-4000):])
			}
		}
		if err := in.close(); err != nil {
			t.Error(err)
		}
	})
	began := time.Now().Truncate(time.Second).Add(time.Second)
	time.Sleep(time.Until(began)) // `audit outcomes` takes whole seconds
	phases := happenings(t, in)

	// What was written while everything went on, and what the API server saw.
	if sealed := cosigned(t, in); sealed != nil {
		t.Error(sealed)
	}
	for _, r := range in.replicas {
		if err := r.end(ctx); err != nil {
			t.Fatal(err)
		}
	}
	seen, _, err := l.Cluster.Events(0)
	if err != nil {
		t.Fatal(err)
	}
	named := judge(phases, seen)
	lost := lostRecords(t, in, named)
	checkOutcomes(t, in, began, phases)
	for _, p := range phases {
		t.Logf("%-32s %4d asked, %4d allowed, %4d refused, %3d not yet, %3d without a verdict: %s", p.name, p.tally.asked, p.tally.allowed, p.tally.denied,
			p.tally.notYet, p.tally.failed(), p.tally.why())
		for _, w := range p.tally.wrong {
			t.Errorf("%s: WRONG: %s", p.name, w)
		}
		if p.tally.asked == 0 {
			t.Errorf("%s: nobody asked for anything", p.name)
		}
	}
	if *update && !t.Failed() {
		write(t, phases, len(named), lost)
	}
}

func startLab(t *testing.T) *lab.Lab {
	t.Helper()
	l, err := lab.Start(t.Context(), lab.Config{Dir: t.TempDir(), WithoutGate: true})
	if errors.Is(err, cluster.ErrNotBuilt) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// happenings lets everything happen while everybody works, and tells when.
func happenings(t *testing.T, in *installation) []*phase {
	t.Helper()
	ctx := t.Context()
	work, err := startLoad(in.lab)
	if err != nil {
		t.Fatal(err)
	}
	defer work.end()
	var phases []*phase
	for _, e := range events() {
		if e.skip != "" {
			t.Logf("%s: left out: %s", e.name, e.skip)
			continue
		}
		p := &phase{name: e.name, begin: time.Now(), mode: e.mode, unregistered: e.unregistered, backstop: e.backstop}
		before := work.unheard.Load()
		if err := e.happen(ctx, in); err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		p.stood = time.Now()
		if err := errors.Join(linger(ctx, in.settings.linger), work.tried(ctx)); err != nil {
			t.Fatal(err)
		}
		p.end, p.tally.unheard = time.Now(), int(work.unheard.Load()-before)
		phases = append(phases, p)
		t.Logf("%s: %s", e.name, p.end.Sub(p.begin).Round(time.Millisecond))
	}
	work.end()
	if err := work.converged(ctx); err != nil {
		t.Errorf("the cluster does not become what the branch says: %v", err)
	}
	phases[len(phases)-1].end = time.Now()
	return phases
}

// cosigned tells what is wrong with the seals: each replica's log is to be cosigned by both others.
func cosigned(t *testing.T, in *installation) error {
	t.Helper()
	return eventually(t.Context(), func() error {
		for _, r := range in.replicas {
			n, err := r.metric(t.Context(), "gate_audit_cosignatures")
			if err != nil {
				return err
			}
			if n != 2 {
				return errors.New(r.name + ": not cosigned by both peers")
			}
		}
		return nil
	})
}

// lostRecords counts the records that the gate's answers named and its logs do not hold, and has each log verified by the key of its replica.
func lostRecords(t *testing.T, in *installation, named map[string]bool) int {
	t.Helper()
	for _, r := range in.replicas {
		out, status, err := in.run(t.Context(), "audit", "verify", r.auditLog(), "--key", r.logKey()+".pub")
		if err != nil || status != 0 || !strings.Contains(out, "sound") {
			t.Errorf("%s: audit verify: %d %v\n%s", r.name, status, err, out)
		}
	}
	// All three in one stream, as an operator exports them.
	file := t.TempDir() + "/all.jsonl"
	out, status, err := in.run(t.Context(), append([]string{"audit", "export", "-o", "jsonl", "--out", file}, in.logs()...)...)
	if err != nil || status != 0 {
		t.Fatalf("audit export: %d %v\n%s", status, err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	for id := range named {
		missing[id] = true
	}
	for line := range strings.Lines(string(text)) {
		var record struct{ ID string }
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		delete(missing, record.ID)
	}
	for id := range missing {
		t.Errorf("LOST: record %s was named in an answer, and no log holds it", id)
	}
	if len(named) == 0 {
		t.Error("no answer named a record")
	}
	return len(missing)
}

// checkOutcomes has the gate's own tool join its logs with the API server's: each persisted change has its decision, but for those that were made while
// the webhook was away, and those are found, each.
func checkOutcomes(t *testing.T, in *installation, began time.Time, phases []*phase) {
	t.Helper()
	args := append([]string{"audit", "outcomes", "--events", in.lab.Cluster.AuditLog(), "--from", began.UTC().Format(time.RFC3339), "-o", "json"}, in.logs()...)
	out, status, err := in.run(t.Context(), args...)
	if err != nil || status > 1 {
		t.Fatalf("audit outcomes: %d %v\n%s", status, err, out)
	}
	var report struct {
		Findings []struct {
			At                                 time.Time
			Kind, Severity, Object, User, What string
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range report.Findings {
		during := slices.ContainsFunc(phases, func(p *phase) bool { return p.unregistered && !f.At.Before(p.begin) && f.At.Before(p.end) })
		switch {
		case (f.Kind == "Undecided" || f.Kind == "FailedOpen") && during: // nobody was asked, or nobody answered while that was let pass
			found[f.Object] = true
		case f.Kind == "GuardChanged", f.Severity == "low":
		default:
			t.Errorf("a finding that nobody can explain: %+v", f)
		}
	}
	for _, p := range phases {
		for _, object := range p.tally.unasked {
			if !found[object] {
				t.Errorf("%s: LOST: nobody was asked about %s, and audit outcomes does not find it", p.name, object)
			}
		}
	}
}
