package export

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/seal"
	"github.com/commitgate/commitgate/git"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// replica is one log with its key.
type replica struct {
	dir, origin, vkey string
	ids               []string
	signers           []note.Signer
	verifiers         []note.Verifier
}

// newReplica writes a log of the given records and seals it.
func newReplica(t testing.TB, name string, records ...audit.Record) *replica {
	t.Helper()
	r := &replica{dir: filepath.Join(t.TempDir(), name), origin: "gate.test/prod/" + name}
	secret, vkey, err := seal.GenerateKey(r.origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	r.vkey, r.signers = vkey, []note.Signer{signer}
	if r.verifiers, err = seal.ParseVerifiers([]string{vkey}); err != nil {
		t.Fatal(err)
	}
	r.write(t, records...)
	return r
}

// write appends records, in a process of its own, so to speak: with a start, a stop, and a seal.
func (r *replica) write(t testing.TB, records ...audit.Record) {
	t.Helper()
	l, err := audit.Open(audit.Config{Dir: r.dir, Origin: r.origin, SegmentSize: 16 << 10, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range records {
		got, err := l.Append(t.Context(), rec)
		if err != nil {
			t.Fatal(err)
		}
		r.ids = append(r.ids, got.ID)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := seal.New(seal.Config{
		Dir: r.dir, Origin: r.origin, Durable: func() uint64 { return l.Health().Seq }, Signers: r.signers, Verifiers: r.verifiers, Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Seal(context.Background()); err != nil {
		t.Fatal(err)
	}
}

const commit = git.ID("3f2c1d9b7a5e4f60812a9c3d5b7e1f2a4c6d8e0b")

// decided is a decision about one object, by default an allowed update of the agent.
func decided(name string, edit ...func(*audit.Record)) audit.Record {
	at := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	r := audit.Record{
		Type: audit.TypeDecision,
		Request: &audit.Request{UID: "u-" + name, Operation: "UPDATE", Group: "apps", Version: "v1", Kind: "Deployment",
			Resource: "deployments", Namespace: "shop", Name: name},
		Actor:    &audit.Actor{Username: "system:serviceaccount:flux-system:kustomize-controller", Role: "agent"},
		Decision: &audit.Decision{Outcome: "allow", Verdict: "allow", Mode: "Enforce", Reason: "Declared", Micros: 90},
		Origin: &audit.Origin{Repository: "shop", Branch: "main", Revision: commit, Commit: commit, Path: git.Path("apps/" + name + ".yaml"),
			Author: "Ada <ada@example.org>", CommitTime: &at,
			Signers: []audit.Signer{{Principal: "ada@example.org", Kind: "SSH"}, {Principal: "bob@example.org", Kind: "SSH"}}},
		Change: &audit.Change{Approvers: []audit.Approver{{ID: "bob@example.org"}}, Tickets: []string{"SHOP-7"}},
	}
	for _, e := range edit {
		e(&r)
	}
	return r
}

func refused(r *audit.Record) {
	r.Decision.Outcome, r.Decision.Verdict, r.Decision.Reason, r.Decision.Code = "deny", "deny", "NotFromSyncAgent", 403
	r.Actor.Username, r.Actor.Role = "mallory", "other"
	r.Change = nil
}

func exported(t testing.TB, dirs []string, f audit.Filter, format Format) (string, Trailer) {
	t.Helper()
	logs, err := OpenLogs(dirs, f)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	trailer, err := Write(t.Context(), &out, logs, f, format, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), trailer
}

func TestAnExportSaysWhatItHoldsAndOfWhat(t *testing.T) {
	r := newReplica(t, "gate-0", decided("cart"), decided("cart", refused), decided("till"))
	out, trailer := exported(t, []string{r.dir}, audit.Filter{Outcome: "allow"}, JSONLines{})
	if trailer.Count != 2 || trailer.Read != 6 || trailer.First != 3 || trailer.Last != 5 {
		t.Errorf("trailer %+v", trailer)
	}
	_, sealed, err := seal.Verify(r.dir, seal.Options{Verifiers: r.verifiers})
	if err != nil {
		t.Fatal(err)
	}
	want := ShardRoot{r.origin + "/" + sealed[0].Shard, sealed[0].Sealed, sealed[0].Root}
	if l := trailer.Logs; len(l) != 1 || l[0].Log != r.origin || l[0].First != 1 || l[0].Last != 6 || len(l[0].Shards) != 1 || l[0].Shards[0] != want {
		t.Errorf("logs %+v, want shard %+v", l, want)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var last struct{ Trailer Trailer }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || len(lines) != 3 || last.Trailer.Count != 2 {
		t.Errorf("%d lines, trailer %+v, %v", len(lines), last, err)
	}
	for _, line := range lines[:2] {
		if f, err := audit.ParseFrame([]byte(line)); err != nil || !f.Sound() {
			t.Errorf("an exported line is not what was written: %s (%v)", line, err)
		}
	}
}

func TestFiltersChoose(t *testing.T) {
	grant := func(r *audit.Record) {
		r.Emergency = &audit.Emergency{Grant: "g-1"}
		r.Origin, r.Change, r.Actor.Username = nil, nil, "eve"
	}
	r := newReplica(t, "gate-0", decided("cart"), decided("cart", refused), decided("till", func(r *audit.Record) {
		r.Request.Namespace, r.Origin.Commit = "bank", "aaaa1d9b7a5e4f60812a9c3d5b7e1f2a4c6d8e0b"
	}), decided("vault", grant), audit.Record{Type: audit.TypePublished, Event: &audit.Event{Message: "published"}, Origin: decided("x").Origin})
	for name, c := range map[string]struct {
		filter audit.Filter
		want   []int // of r.ids
	}{
		"by namespace":                    {audit.Filter{Namespace: "bank"}, []int{2}},
		"by object":                       {audit.Filter{Kind: "deployment", Name: "cart"}, []int{0, 1}},
		"by kind with group":              {audit.Filter{Kind: "Deployment.apps", Name: "till"}, []int{2}},
		"by the commit that says so":      {audit.Filter{Commit: "aaaa1d9"}, []int{2}},
		"by the revision":                 {audit.Filter{Commit: "3f2c1d9", Name: "till"}, []int{2}},
		"by folder in Git":                {audit.Filter{Path: "apps"}, []int{0, 1, 2, 4}},
		"by who asked":                    {audit.Filter{Person: "MALLORY"}, []int{1}},
		"by who approved":                 {audit.Filter{Person: "bob@"}, []int{0, 1, 2, 4}},
		"by outcome":                      {audit.Filter{Outcome: "deny"}, []int{1}},
		"by reason":                       {audit.Filter{Reason: "NotFromSyncAgent"}, []int{1}},
		"by control: segregation of duty": {audit.Filter{Control: "A.5.3"}, []int{0, 1, 2}},
		"by control: access":              {audit.Filter{Control: "CM-5"}, []int{1, 3}},
		"by type":                         {audit.Filter{Types: []audit.Type{audit.TypePublished}}, []int{4}},
		"before anything happened":        {audit.Filter{To: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}, nil},
		"all must hold":                   {audit.Filter{Name: "cart", Namespace: "bank"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			out, trailer := exported(t, []string{r.dir}, c.filter, JSONLines{})
			var got []int
			for line := range strings.Lines(out) {
				var rec audit.Record
				if err := json.Unmarshal([]byte(line), &rec); err != nil {
					t.Fatal(err)
				}
				if i := slices.Index(r.ids, rec.ID); i >= 0 {
					got = append(got, i)
				}
			}
			for i, id := range r.ids {
				if line := lineOf(t, r.dir, id); slices.Contains(c.want, i) && !c.filter.MayMatch(line) {
					t.Errorf("record %d matches, and the first look says it cannot", i)
				}
			}
			if !slices.Equal(got, c.want) || trailer.Count != uint64(len(c.want)) {
				t.Errorf("got %v, want %v; trailer %+v", got, c.want, trailer)
			}
		})
	}
}

func lineOf(t *testing.T, dir, id string) []byte {
	t.Helper()
	segments, err := audit.Segments(dir)
	if err != nil {
		t.Fatal(err)
	}
	for line, err := range audit.Records(segments) {
		if err != nil {
			t.Fatal(err)
		}
		if f, err := audit.ParseFrame(line.Text); err == nil && f.ID == id {
			return bytes.Clone(line.Text)
		}
	}
	t.Fatalf("no record %s", id)
	return nil
}

func TestReplicasAreMergedByTimeAndNoneCountsTwice(t *testing.T) {
	a := newReplica(t, "gate-0", decided("one"))
	b := newReplica(t, "gate-1", decided("two"))
	a.write(t, decided("three"))
	out, trailer := exported(t, []string{a.dir, b.dir}, audit.Filter{Types: []audit.Type{audit.TypeDecision}}, CSV{})
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err == nil || len(rows) > 0 { // the trailer's row is shorter, on purpose: a reader notices where the table ends
		t.Errorf("%d rows, %v", len(rows), err)
	}
	var names []string
	for i, line := range strings.Split(out, "\r\n") {
		if cells := strings.Split(line, ","); i > 0 && len(cells) == len(columns) {
			names = append(names, cells[slices.IndexFunc(columns, func(c column) bool { return c.name == "name" })])
		}
	}
	if !slices.Equal(names, []string{"one", "two", "three"}) || trailer.Count != 3 || len(trailer.Logs) != 2 {
		t.Errorf("%v, %+v", names, trailer)
	}
	if _, err := OpenLogs([]string{a.dir, a.dir}, audit.Filter{}); err == nil {
		t.Error("the same log twice was opened: each change would count twice")
	}
}

func TestAnExportThatGoesOnMissesNothingAndRepeatsNothing(t *testing.T) {
	r := newReplica(t, "gate-0", decided("one"))
	whole := ""
	after := uint64(0)
	for i := range 3 {
		logs, err := OpenLogs([]string{r.dir}, audit.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		logs[0].After = after
		var out bytes.Buffer
		trailer, err := Write(t.Context(), &out, logs, audit.Filter{}, recordsOnly{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		whole += out.String()
		after = trailer.Logs[0].Last
		var more []audit.Record
		for n := range 40 { // more than one segment
			more = append(more, decided(fmt.Sprintf("more-%d-%d", i, n)))
		}
		if i < 2 {
			r.write(t, more...)
		}
	}
	if once, _ := exported(t, []string{r.dir}, audit.Filter{}, recordsOnly{}); once != whole {
		t.Errorf("in three parts: %d bytes, at once: %d", len(whole), len(once))
	}
}

type recordsOnly struct{ JSONLines }

func (recordsOnly) Trailer(io.Writer, Trailer) error { return nil }

// TestATableIsNoProgram: whoever names a commit's author, an object or themselves writes into the auditor's spreadsheet.
func TestATableIsNoProgram(t *testing.T) {
	for value, want := range map[string]string{
		`=HYPERLINK("https://evil")`: `"'=HYPERLINK(""https://evil"")"`,
		"+1":                         "'+1",
		"-2":                         "'-2",
		"@cmd":                       "'@cmd",
		"\tx":                        "'\tx",
		"a,b":                        `"a,b"`,
		"two\r\nlines":               "\"two\r\nlines\"",
		"plain":                      "plain",
		"":                           "",
	} {
		if got := string(cell(nil, value)); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

func BenchmarkExport(b *testing.B) {
	records := make([]audit.Record, 5000)
	for i := range records {
		records[i] = decided(fmt.Sprint("app-", i))
	}
	r := newReplica(b, "gate-0", records...)
	for name, format := range map[string]Format{"jsonl": JSONLines{}, "csv": CSV{}, "ocsf": OCSF{}} {
		b.Run(name, func(b *testing.B) {
			n := uint64(0)
			for b.Loop() {
				logs, err := OpenLogs([]string{r.dir}, audit.Filter{})
				if err != nil {
					b.Fatal(err)
				}
				t, err := Write(b.Context(), io.Discard, logs, audit.Filter{}, format, nil)
				if err != nil {
					b.Fatal(err)
				}
				n += t.Count
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
