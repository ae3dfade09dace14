package outcome

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/commitgate/commitgate/audit"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// event is one as the API server writes it, body included.
func event(change func(map[string]any)) map[string]any {
	e := map[string]any{
		"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": "a1", "stage": "ResponseComplete",
		"requestURI": "/apis/apps/v1/namespaces/shop/deployments/cart", "verb": "update",
		"user":                     map[string]any{"username": "flux"},
		"objectRef":                map[string]any{"resource": "deployments", "apiGroup": "apps", "namespace": "shop", "name": "cart", "resourceVersion": "7"},
		"responseStatus":           map[string]any{"code": 200},
		"requestObject":            map[string]any{"data": "canary-hunter2"},
		"requestReceivedTimestamp": noon.Format(time.RFC3339Nano), "stageTimestamp": noon.Format(time.RFC3339Nano),
		"annotations": map[string]any{"gate.commitgate.dev/record": "R1", "authorization.k8s.io/decision": "allow"},
	}
	if change != nil {
		change(e)
	}
	return e
}

func decode(t *testing.T, e map[string]any) *Event {
	t.Helper()
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var out Event
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return &out
}

func decided(id, outcome string) *audit.Record {
	return &audit.Record{ID: id, Type: audit.TypeDecision, Time: noon.Add(-time.Second),
		Request:  &audit.Request{Operation: "UPDATE", Resource: "deployments", Namespace: "shop", Name: "cart"},
		Decision: &audit.Decision{Outcome: outcome, Verdict: outcome}}
}

func TestEveryChangeHasItsDecisionOrIsFound(t *testing.T) {
	annotations := func(a map[string]any) func(map[string]any) {
		return func(e map[string]any) { e["annotations"] = a }
	}
	for name, c := range map[string]struct {
		decision *audit.Record
		event    func(map[string]any)
		outcome  string // state
		finding  Kind
	}{
		"allowed and persisted":             {decided("R1", "allow"), nil, Persisted, ""},
		"allowed, and refused by a quota":   {decided("R1", "allow"), func(e map[string]any) { e["responseStatus"] = map[string]any{"code": 403} }, Rejected, ""},
		"refused by us":                     {decided("R1", "deny"), func(e map[string]any) { e["responseStatus"] = map[string]any{"code": 403} }, Refused, ""},
		"refused by us, and persisted":      {decided("R1", "deny"), nil, Persisted, AgainstVerdict},
		"persisted while the gate was down": {nil, annotations(nil), "", Undecided},
		"the API server went on without us": {nil, annotations(map[string]any{"failed-open.validating.webhook.admission.k8s.io/round_0_index_0": "gate.commitgate.dev"}), "", FailedOpen},
		"it went on without somebody else":  {decided("R1", "allow"), annotations(map[string]any{"gate.commitgate.dev/record": "R1", "failed-open.validating.webhook.admission.k8s.io/round_0_index_0": "other.example"}), Persisted, ""},
		"the record is not in any log":      {nil, nil, "", UnknownRecord},
		"a decision that no event tells of": {decided("R9", "allow"), func(e map[string]any) { e["verb"] = "get" }, Unpersisted, ""},
		"a webhook configuration is changed": {nil, func(e map[string]any) {
			e["annotations"] = nil
			e["objectRef"] = map[string]any{"resource": "validatingwebhookconfigurations", "apiGroup": "admissionregistration.k8s.io", "name": "commitgate"}
		}, "", GuardChanged},
		"a dry-run": {nil, func(e map[string]any) { e["annotations"] = nil; e["requestURI"] = "/apis/x?fieldManager=k&dryRun=All" }, "", ""},
		"a read":    {nil, func(e map[string]any) { e["annotations"] = nil; e["verb"] = "list" }, "", ""},
		"an exec through a GET": {nil, func(e map[string]any) {
			e["annotations"] = nil
			e["verb"] = "get"
			e["objectRef"] = map[string]any{"resource": "pods", "subresource": "exec"}
		}, "", Undecided},
		"a review that is answered": {nil, func(e map[string]any) {
			e["annotations"] = nil
			e["verb"] = "create"
			e["objectRef"] = map[string]any{"resource": "subjectaccessreviews", "apiGroup": "authorization.k8s.io"}
		}, "", ""},
		"what the rules leave out": {nil, func(e map[string]any) {
			e["annotations"] = nil
			e["objectRef"] = map[string]any{"resource": "leases", "apiGroup": "coordination.k8s.io"}
		}, "", ""},
		"a stage before the answer": {nil, func(e map[string]any) { e["stage"] = "RequestReceived" }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var outcomes []Outcome
			var findings []Finding
			j := NewJoiner(Config{
				Exclusions: []Exclusion{{Group: "coordination.k8s.io", Resource: "leases", Why: "leases"}},
				Outcome:    func(o Outcome) { outcomes = append(outcomes, o) }, Finding: func(f Finding) { findings = append(findings, f) },
			})
			if c.decision != nil {
				j.Decision(c.decision)
			}
			j.Event(decode(t, event(c.event)))
			totals := j.Totals()
			if c.outcome == "" && len(outcomes) > 0 || c.outcome != "" && (len(outcomes) != 1 || outcomes[0].State != c.outcome) {
				t.Errorf("outcomes %+v, want %q", outcomes, c.outcome)
			}
			if c.finding == "" && len(findings) > 0 || c.finding != "" && (len(findings) != 1 || findings[0].Kind != c.finding) {
				t.Errorf("findings %+v, want %q", findings, c.finding)
			}
			if bad := c.finding != "" && c.finding != GuardChanged; totals.Complete() == bad && totals.Events > 0 {
				t.Errorf("complete: %t, %+v", totals.Complete(), totals)
			}
		})
	}
}

func TestAGapInTheStreamIsFound(t *testing.T) {
	var findings []Finding
	j := NewJoiner(Config{Finding: func(f Finding) { findings = append(findings, f) }})
	lost := decided("R2", "allow")
	lost.Time = noon.Add(time.Minute)
	j.Decision(decided("R1", "allow"))
	j.Decision(lost)
	j.Event(decode(t, event(nil)))
	j.Event(decode(t, event(func(e map[string]any) {
		e["verb"] = "get"
		e["stageTimestamp"] = noon.Add(time.Hour).Format(time.RFC3339)
	})))
	if totals := j.Totals(); totals.Complete() || len(findings) != 1 || findings[0].Kind != Unseen || findings[0].Record != "R2" {
		t.Errorf("%+v, %+v", findings, totals)
	}
}

// TestWhatIsWrittenMeanwhileIsLeftOut: gate and API server go on while their logs are joined. An event that came after the logs were read names a record
// that is not in what was read, and a request that was judged a moment ago may not have its answer: neither is a finding.
func TestWhatIsWrittenMeanwhileIsLeftOut(t *testing.T) {
	line := func(change func(map[string]any)) []byte {
		text, err := json.Marshal(event(change))
		if err != nil {
			t.Fatal(err)
		}
		return append(text, '\n')
	}
	told := line(nil)
	late := line(func(e map[string]any) {
		e["annotations"] = map[string]any{"gate.commitgate.dev/record": "R3"}
		e["stageTimestamp"] = noon.Add(time.Second).Format(time.RFC3339Nano)
	})
	file := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(file, slices.Concat(told, late), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		size     int
		findings map[Kind]int
	}{
		"the file as it was when the logs were read": {len(told), map[Kind]int{}},
		"the file to its end":                        {len(told) + len(late), map[Kind]int{UnknownRecord: 1}},
		"an event of which a part was written":       {len(told) + len(late)/2, map[Kind]int{}},
	} {
		t.Run(name, func(t *testing.T) {
			j := NewJoiner(Config{})
			underway := decided("R2", "allow")
			underway.Time, underway.Request.Name = noon.Add(time.Millisecond), "till"
			j.Decision(decided("R1", "allow"))
			j.Decision(underway)
			if err := joinFile(t.Context(), file, int64(c.size), nil, j); err != nil {
				t.Fatal(err)
			}
			if totals := j.Totals(); !maps.Equal(totals.Findings, c.findings) {
				t.Errorf("%v, want %v", totals.Findings, c.findings)
			}
		})
	}
}

// TestWithoutTheLogTheAnnotationSaysIt: the receiver knows the logs of other replicas by what their answers said only.
func TestWithoutTheLogTheAnnotationSaysIt(t *testing.T) {
	for name, c := range map[string]struct {
		verdict, mode string
		code          int
		state         string
		finding       Kind
	}{
		"allowed and persisted":         {"allow", "Enforce", 200, Persisted, ""},
		"refused by the gate":           {"deny", "Enforce", 403, Refused, ""},
		"not yet, said the gate":        {"retry", "Enforce", 429, Refused, ""},
		"refused by somebody else":      {"allow", "Enforce", 403, Rejected, ""},
		"only warned, and persisted":    {"deny", "Warn", 200, Persisted, ""},
		"refused and persisted":         {"deny", "Enforce", 200, Persisted, AgainstVerdict},
		"only warned, refused by quota": {"deny", "Warn", 403, Rejected, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var state string
			var finding Kind
			j := NewJoiner(Config{Partial: true, Outcome: func(o Outcome) { state = o.State }, Finding: func(f Finding) { finding = f.Kind }})
			j.Event(decode(t, event(func(e map[string]any) {
				e["responseStatus"] = map[string]any{"code": c.code}
				e["annotations"] = map[string]any{"gate.commitgate.dev/record": "R1", "gate.commitgate.dev/verdict": c.verdict, "gate.commitgate.dev/mode": c.mode}
			})))
			if state != c.state || finding != c.finding {
				t.Errorf("%s, finding %q; want %s, %q", state, finding, c.state, c.finding)
			}
		})
	}
}

// TestOneRequestMayHaveManyDecisions: the API server judges again when somebody else was faster, and judges each object of a
// deletecollection; its event names the first decision only.
func TestOneRequestMayHaveManyDecisions(t *testing.T) {
	for name, c := range map[string]struct {
		second func(*audit.Record)
		event  func(map[string]any)
		states []string
		found  int
	}{
		"a retry": {func(r *audit.Record) {}, nil, []string{Persisted, Unpersisted}, 0},
		"the same object, long after": {func(r *audit.Record) { r.Time = r.Time.Add(10 * time.Minute) }, nil,
			[]string{Persisted, Unpersisted}, 1},
		"another object": {func(r *audit.Record) { r.Request.Name = "till" }, nil, []string{Persisted, Unpersisted}, 1},
		"a collection": {func(r *audit.Record) { r.Request.Name = "till" }, func(e map[string]any) {
			e["verb"] = "deletecollection"
			e["objectRef"] = map[string]any{"resource": "deployments", "apiGroup": "apps", "namespace": "shop"}
		}, []string{Persisted, Persisted}, 0},
		"a collection elsewhere": {func(r *audit.Record) { r.Request.Name = "till" }, func(e map[string]any) {
			e["verb"] = "deletecollection"
			e["objectRef"] = map[string]any{"resource": "deployments", "apiGroup": "apps", "namespace": "bank"}
		}, []string{Persisted, Unpersisted}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var states []string
			j := NewJoiner(Config{Outcome: func(o Outcome) { states = append(states, o.State) }})
			j.Event(decode(t, event(func(e map[string]any) { // the stream is there before and after
				e["verb"] = "list"
				e["stageTimestamp"] = noon.Add(-time.Hour).Format(time.RFC3339)
			})))
			first, second := decided("R1", "allow"), decided("R2", "allow")
			for _, d := range []*audit.Record{first, second} {
				d.Request.Operation, d.Request.Group = "DELETE", "apps"
			}
			c.second(second)
			j.Decision(first)
			j.Decision(second)
			j.Event(decode(t, event(c.event)))
			j.Event(decode(t, event(func(e map[string]any) {
				e["verb"] = "list"
				e["stageTimestamp"] = noon.Add(time.Hour).Format(time.RFC3339)
			})))
			if totals := j.Totals(); !slices.Equal(states, c.states) || totals.Findings[Unseen] != c.found {
				t.Errorf("states %v, want %v; %+v", states, c.states, totals)
			}
		})
	}
}

// TestWhatTheShippedWebhookLeavesOut holds Shipped to the configuration: a condition that is added there leaves out something, and
// must be thought of here.
func TestWhatTheShippedWebhookLeavesOut(t *testing.T) {
	b, err := os.ReadFile("../../config/webhook/webhook.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "  - name: "); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	if want := []string{"no-leases-of-components", "no-events", "no-access-reviews", "no-nodes-of-components", "no-tokens-of-system-pods", "not-the-gate-itself", "not-the-authority"}; !slices.Equal(names, want) {
		t.Errorf("its conditions are %v, and Shipped knows %v", names, want)
	}
	for name, c := range map[string]struct {
		user, group, resource, namespace string
		out                              bool
	}{
		"a lease of a node":             {"system:node:n1", "coordination.k8s.io", "leases", "kube-node-lease", true},
		"a lease of somebody":           {"mallory", "coordination.k8s.io", "leases", "shop", false},
		"an event":                      {"mallory", "", "events", "shop", true},
		"an access review":              {"mallory", "authorization.k8s.io", "selfsubjectaccessreviews", "", true},
		"a pod of the gate":             {"mallory", "", "pods", "commitgate", true},
		"a secret in its namespace":     {"mallory", "", "secrets", "commitgate", false},
		"a deployment in its namespace": {"mallory", "apps", "deployments", "commitgate", false},
		"a pod of somebody":             {"mallory", "", "pods", "shop", false},
		"a claim of the gate":           {"mallory", "", "persistentvolumeclaims", "commitgate", true},
		"the gate's authority replaced": {"system:serviceaccount:commitgate:commitgate-certificates", "", "secrets", "commitgate", true},
		"a job of the gate":             {"mallory", "batch", "jobs", "commitgate", true},
		"a cronjob in its namespace":    {"mallory", "batch", "cronjobs", "commitgate", false},
		"a claim of somebody":           {"mallory", "", "persistentvolumeclaims", "shop", false},
		"a node that reports itself":    {"system:node:n1", "", "nodes", "", true},
		"a node, by somebody":           {"mallory", "", "nodes", "", false},
	} {
		e := Event{User: User{Username: c.user}, ObjectRef: &ObjectRef{APIGroup: c.group, Resource: c.resource, Namespace: c.namespace}}
		if got := slices.ContainsFunc(Shipped("commitgate"), func(x Exclusion) bool { return x.covers(&e) }); got != c.out {
			t.Errorf("%s: left out %t, want %t", name, got, c.out)
		}
	}
}

// writeLog is a real log in a folder, with one allowed decision per name.
func writeLog(t *testing.T, names ...string) (dir string, ids []string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "log")
	l, err := audit.Open(audit.Config{Dir: dir, Origin: "gate.test/a", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, n := range names {
		r := decided("", "allow")
		r.Request.Name = n
		got, err := l.Append(t.Context(), *r)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, got.ID)
	}
	return dir, ids
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func TestJoinReadsTheLogsOfAllReplicas(t *testing.T) {
	a, idsA := writeLog(t, "one", "two")
	b, idsB := writeLog(t, "three")
	var file bytes.Buffer
	at := time.Now()
	for i, id := range append(idsA, idsB...) {
		line, _ := json.Marshal(event(func(e map[string]any) {
			e["auditID"] = fmt.Sprint(i)
			e["stageTimestamp"] = at.Format(time.RFC3339Nano)
			e["annotations"] = map[string]any{"gate.commitgate.dev/record": id}
		}))
		file.Write(append(line, '\n'))
	}
	path := filepath.Join(t.TempDir(), "audit.log")
	os.WriteFile(path, append(file.Bytes(), `{"unfinished":`...), 0o600)
	totals, err := Join(t.Context(), []string{a, b}, []string{path}, Config{})
	if err != nil || !totals.Complete() || totals.Joined != 3 || totals.Decisions != 3 {
		t.Errorf("%+v, %v", totals, err)
	}
	totals, err = Join(t.Context(), []string{a}, []string{path}, Config{})
	if err != nil || totals.Complete() || totals.Findings[UnknownRecord] != 1 {
		t.Errorf("without one replica's log: %+v, %v", totals, err)
	}
}

// The clock of one replica jumps ahead for a while, by more than the window: its records of that time, those behind them and those of the other replica
// are found all the same.
func TestJoinLivesWithClocksThatStep(t *testing.T) {
	began := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	record := func(at time.Time, boot string, elapsed time.Duration, id string) audit.Line {
		r := decided(id, "allow")
		r.ID = id
		r.Time, r.Monotonic, r.Writer = at, int64(elapsed), &audit.Writer{Boot: boot}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]any // in order, as a log has them
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatal(err)
		}
		if text, err = json.Marshal(members); err != nil {
			t.Fatal(err)
		}
		return audit.Line{Text: text}
	}
	var a, b []audit.Line
	for i := range 90 {
		elapsed := time.Duration(i) * time.Minute
		at := began.Add(elapsed)
		b = append(b, record(at, "b", time.Hour+elapsed, fmt.Sprintf("b%d", i)))
		if i >= 20 && i < 30 {
			at = at.Add(3 * time.Hour)
		}
		a = append(a, record(at, "a", elapsed, fmt.Sprintf("a%d", i)))
	}
	j := NewJoiner(Config{})
	var all []*source
	for _, lines := range [][]audit.Line{a, b} {
		s, err := newSource(func(yield func(audit.Line, error) bool) {
			for _, l := range lines {
				if !yield(l, nil) {
					return
				}
			}
		}, j)
		if err != nil {
			t.Fatal(err)
		}
		defer s.stop()
		all = append(all, s)
	}
	var file bytes.Buffer
	for i := range 90 {
		for _, log := range []string{"a", "b"} {
			line, _ := json.Marshal(event(func(e map[string]any) {
				e["stageTimestamp"] = began.Add(time.Duration(i) * time.Minute).Format(time.RFC3339Nano)
				e["annotations"] = map[string]any{"gate.commitgate.dev/record": fmt.Sprintf("%s%d", log, i)}
			}))
			file.Write(append(line, '\n'))
		}
	}
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := joinFile(t.Context(), path, int64(file.Len()), all, j); err != nil {
		t.Fatal(err)
	}
	if totals := j.Totals(); !totals.Complete() || totals.Joined != 180 {
		t.Errorf("%+v", totals)
	}
}

// appender keeps records, or fails. As with the log, several may be appended at once.
type appender struct {
	mu      sync.Mutex
	records []audit.Record
	err     error
}

func (a *appender) Append(_ context.Context, r audit.Record) (audit.Record, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.records = append(a.records, r)
	}
	return r, a.err
}

func TestTheHandlerRecordsWhatTheAPIServerTells(t *testing.T) {
	log := &appender{}
	h := NewHandler(HandlerConfig{Log: log, Token: "s3cret", Logger: quiet})
	post := func(token string, body any) int {
		t.Helper()
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "/audit", bytes.NewReader(b))
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	list := map[string]any{"kind": "EventList", "metadata": map[string]any{}, "items": []any{
		event(nil),
		event(func(e map[string]any) { e["auditID"] = "a2"; e["annotations"] = nil }),
	}}
	if got := post("wrong", list); got != 401 || len(log.records) > 0 {
		t.Fatalf("without the token: %d", got)
	}
	log.err = errors.New("disk full")
	if got := post("s3cret", list); got != 503 {
		t.Fatalf("with a log that cannot be written: %d; the API server must keep the batch", got)
	}
	log.err = nil
	for range 2 { // the API server may post a batch twice
		if got := post("s3cret", list); got != 200 {
			t.Fatalf("got %d", got)
		}
	}
	if len(log.records) != 2 {
		t.Fatalf("%d records: %+v", len(log.records), log.records)
	}
	kinds := map[audit.Type]audit.Record{}
	for _, r := range log.records {
		kinds[r.Type] = r
	}
	if o := kinds[audit.TypeOutcome].Outcome; o == nil || o.Of != "R1" || o.State != Persisted {
		t.Errorf("outcome %+v", o)
	}
	if e := kinds[audit.TypeFinding].Event; e == nil || e.Details["kind"] != string(Undecided) {
		t.Errorf("finding %+v", e)
	}
	if all, _ := json.Marshal(log.records); strings.Contains(string(all), "canary-hunter2") {
		t.Error("a body came into the log")
	}
	for _, bad := range []any{"x", map[string]any{"items": "x"}, map[string]any{"items": []any{"x"}}, map[string]any{}} {
		if got := post("s3cret", bad); got != 400 {
			t.Errorf("%v: %d", bad, got)
		}
	}
}

func FuzzList(f *testing.F) {
	b, _ := json.Marshal(map[string]any{"kind": "EventList", "items": []any{event(nil)}})
	f.Add(b)
	f.Add([]byte(`{"items":[{},{"stage":"ResponseComplete","verb":"create","objectRef":{}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		j := NewJoiner(Config{})
		for e, err := range List(bytes.NewReader(b)) {
			if err == nil {
				j.Event(&e)
			}
		}
		for e, err := range Lines(bytes.NewReader(b)) {
			if err == nil {
				j.Event(&e)
			}
		}
		if n := j.Totals(); n.Reads+n.Refusals+n.Changes != n.Events || n.Joined > n.Changes {
			t.Errorf("some event was counted twice, or not at all: %+v", n)
		}
	})
}
