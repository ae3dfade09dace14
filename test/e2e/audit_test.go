package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/test/lab"
)

type auditFinding struct{ Kind, Severity, Object, User, Verb string }

// joined is what `audit outcomes` found.
type joined struct {
	Complete bool
	Totals   struct{ Changes, Joined, Decisions int }
	Findings []auditFinding
}

// outcomes joins the gate's log with the API server's own from a moment on.
func outcomes(t *testing.T, l *lab.Lab, from time.Time) (result joined, text string) {
	t.Helper()
	out, status, err := l.Gate.Run(t.Context(), "audit", "outcomes", l.Gate.AuditLog(), "--events", l.Cluster.AuditLog(),
		"--from", from.Format(time.RFC3339), "-o", "json")
	check(t, err)
	if status > 1 {
		t.Fatalf("exit status %d: %s", status, out)
	}
	check(t, json.Unmarshal([]byte(out), &result))
	if result.Complete != (status == 0) {
		t.Errorf("exit status %d, complete: %t", status, result.Complete)
	}
	return result, out
}

// Each change that the API server tells of has its decision, and a change that was made while nobody asked the gate is found: by the API
// server's own audit log, joined by the gate's annotation.
func TestEveryChangeHasItsDecision(t *testing.T) {
	ctx := t.Context()
	l := stage(t)
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
	began := time.Now()
	publish(t, l, "cart:1.4.0", "cart:1.5.0")
	_, err := l.Flux.Sync(ctx)
	check(t, err)
	pods(t, l, "cart", 3)
	_, err = l.Cluster.Kubectl(ctx, l.CarolConfig, "", "scale", "deployment", "cart", "--replicas=9", "--namespace=shop")
	refused(t, err, cart)

	traced(t, l)
	before, text := outcomes(t, l, began)
	if !before.Complete || before.Totals.Joined == 0 || before.Totals.Joined+1 > before.Totals.Decisions {
		t.Errorf("not complete:\n%s", text)
	}

	// The last resort: the webhook is gone, and somebody makes use of it.
	unregistered(t, l)
	asRoot(t, l, "create", "configmap", "shadow", "--namespace=shop")
	check(t, l.Eventually(ctx, func(context.Context) error { // the API server writes its event once it has answered
		var after joined
		after, text = outcomes(t, l, began)
		if after.Complete || !slices.ContainsFunc(after.Findings, func(f auditFinding) bool { return f.Kind == "Undecided" && f.Object == "configmaps shop/shadow" }) {
			return fmt.Errorf("the change behind the gate's back is not found:\n%s", text)
		}
		return nil
	}))
	if !strings.Contains(text, "GuardChanged") {
		t.Errorf("nobody says that the webhook was removed:\n%s", text)
	}
}

// recorded are the records of a gate's log of one type.
func recorded(t *testing.T, l *lab.Lab, kind audit.Type) (records []audit.Record) {
	t.Helper()
	segments, err := audit.Segments(l.Gate.AuditLog())
	check(t, err)
	for line, err := range audit.Records(segments) {
		check(t, err)
		r, err := line.Decode()
		check(t, err)
		if r.Type == kind {
			records = append(records, r)
		}
	}
	return records
}

// traced checks that each change which an agent was allowed to make has its commit, and the list of signers by which that was judged.
func traced(t *testing.T, l *lab.Lab) (changes map[string]audit.Record) {
	t.Helper()
	changes = map[string]audit.Record{}
	agents := 0
	for _, r := range recorded(t, l, audit.TypeDecision) {
		if r.Decision.Outcome != "allow" {
			continue
		}
		changes[r.ID] = r
		if r.Actor.Role != "agent" || r.Decision.Noop || r.Request.Operation == "DELETE" {
			continue
		}
		agents++
		if r.Origin == nil || r.Origin.Commit == "" || r.Origin.Path == "" || len(r.Origin.Signers) == 0 {
			t.Errorf("record %s, %s %s/%s: no commit: %+v", r.ID, r.Request.Kind, r.Request.Namespace, r.Request.Name, r.Origin)
			continue
		}
		if signed := r.Origin.Signers[0].Kind != "Anchor"; signed != (r.Origin.SignerList != "") {
			t.Errorf("record %s: signed by %v, judged by %q", r.ID, r.Origin.Signers, r.Origin.SignerList)
		}
	}
	if agents == 0 {
		t.Error("no agent changed anything")
	}
	return changes
}

// The API server posts its audit events to the gate. Each change that it persisted has its commit, and one that was made while the gate was down, and its
// webhook gone, is a finding once the gate is there again: in the log, as a metric, and in the report. The API server's own file tells the same.
func TestTheAuditStreamProvesCompleteness(t *testing.T) {
	ctx := t.Context()
	l := startWith(t, lab.Config{Stream: true})
	guarded := time.Now() // what came before, the gate was not asked about
	_, err := l.Flux.Sync(ctx)
	check(t, err)
	publish(t, l, "cart:1.4.0", "cart:1.5.0")
	_, err = l.Flux.Sync(ctx)
	check(t, err)
	_, err = l.Cluster.Kubectl(ctx, l.CarolConfig, "", "scale", "deployment", "cart", "--replicas=9", "--namespace=shop")
	refused(t, err, cart)
	pods(t, l, "cart", 3)

	// What became of the decisions: each persisted change is one that was judged, and none that was refused.
	check(t, l.Eventually(ctx, func(context.Context) error {
		changes := traced(t, l)
		for _, r := range recorded(t, l, audit.TypeOutcome) {
			d, judged := changes[r.Outcome.Of]
			switch {
			case r.Outcome.State != "persisted":
			case !judged:
				t.Errorf("persisted, but not allowed: %+v", r.Outcome)
			case d.Request.Kind == "Deployment" && d.Request.Name == "cart" && d.Request.Operation == "UPDATE" && d.Actor.Role == "agent":
				return nil
			}
		}
		return errors.New("the outcome of the agent's change is not recorded")
	}))
	for _, f := range recorded(t, l, audit.TypeFinding) {
		if f.Outcome.At.After(guarded) {
			t.Errorf("a finding before anything happened: %+v %+v", f.Event, f.Outcome)
		}
	}

	// A machine loses power, and somebody uses the hour.
	check(t, l.Gate.Kill())
	unregistered(t, l)
	asRoot(t, l, "create", "configmap", "shadow", "--namespace=shop")
	check(t, l.Gate.Start(ctx))
	check(t, l.Eventually(ctx, func(context.Context) error {
		for _, r := range recorded(t, l, audit.TypeFinding) {
			if r.Outcome.State == "Undecided" && strings.Contains(r.Event.Details["object"], "shop/shadow") && r.Event.Details["severity"] == "critical" {
				return nil
			}
		}
		return errors.New("the change behind the gate's back is not found")
	}))
	for _, series := range []string{`gate_audit_findings_total{kind="Undecided",severity="critical"}`, `gate_audit_findings_total{kind="GuardChanged",severity="high"}`} {
		check(t, l.Eventually(ctx, func(ctx context.Context) error {
			value, err := l.Gate.Metric(ctx, series)
			if err == nil && (value == "" || value == "0") {
				err = fmt.Errorf("%s is %q", series, value)
			}
			return err
		}))
	}
	page, status, err := l.Gate.Run(ctx, "audit", "export", l.Gate.AuditLog(), "-o", "html", "--from", guarded.UTC().Format(time.RFC3339))
	check(t, err)
	for _, want := range []string{"critical or high: see Gaps and findings", "create configmaps shop/shadow by root", "did not stop in good order"} {
		if status != 0 || !strings.Contains(page, want) {
			t.Errorf("the report does not say %q (exit status %d)", want, status)
		}
	}
	if file, text := outcomes(t, l, time.Time{}); file.Complete || !strings.Contains(text, "shop/shadow") {
		t.Errorf("the API server's own file tells nothing of it:\n%s", text)
	}
}

// What a gate wrote goes to an auditor as one file, who verifies it with one key, while the gate runs.
func TestEvidenceOfARunningGate(t *testing.T) {
	l := stage(t)
	head, err := l.Repository.Head(t.Context())
	check(t, err)
	key := filepath.Join(l.Gate.Data, "audit.key.pub")
	archive := filepath.Join(t.TempDir(), "evidence.zip")
	check(t, l.Eventually(t.Context(), func(ctx context.Context) error { // a seal takes some seconds
		try := filepath.Join(t.TempDir(), "try.zip")
		if _, _, err := l.Gate.Run(ctx, "audit", "export", l.Gate.AuditLog(), "-o", "evidence", "--out", try); err != nil {
			return err
		}
		out, _, err := l.Gate.Run(ctx, "audit", "verify", try, "--key", key)
		if err == nil && !strings.Contains(out, "judged:") {
			err = errors.New("no change is sealed yet: " + out)
		}
		return err
	}))
	for _, args := range [][]string{
		{"audit", "export", l.Gate.AuditLog(), "-o", "evidence", "--out", archive, "--sign", filepath.Join(l.Gate.Data, "audit.key")},
		{"audit", "verify", archive, "--key", key, "--signed"},
		{"audit", "log", l.Gate.AuditLog(), "--commit", string(head)},
		{"audit", "log", l.Gate.AuditLog(), "--object", "Deployment/shop/cart"},
	} {
		out, status, err := l.Gate.Run(t.Context(), args...)
		check(t, err)
		if status != 0 {
			t.Errorf("%v: exit status %d\n%s", args, status, out)
		}
		if args[1] == "verify" && !(strings.Contains(out, "sound and complete") && strings.Contains(out, "judged:   ")) {
			t.Errorf("%s", out)
		}
	}
}
