package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/test/lab"
)

// outcomes joins the gate's log with the API server's own from a moment on.
func outcomes(t *testing.T, l *lab.Lab, from time.Time) (result struct {
	Complete bool
	Totals   struct{ Changes, Joined, Decisions int }
	Findings []struct{ Kind, Severity, Object, User, Verb string }
}, text string) {
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

	before, text := outcomes(t, l, began)
	if !before.Complete || before.Totals.Joined == 0 || before.Totals.Joined+1 > before.Totals.Decisions {
		t.Errorf("not complete:\n%s", text)
	}

	// The last resort: the webhook is gone, and somebody makes use of it.
	admin := []string{"--as=root", "--as-group=commitgate:admins", "--as-group=system:masters"}
	_, err = l.Cluster.Kubectl(ctx, l.AdminConfig, "", append(admin, "delete", "validatingwebhookconfiguration", "--all")...)
	check(t, err)
	check(t, l.Eventually(ctx, func(ctx context.Context) error { // the API server forgets a webhook with a delay
		_, err := l.Cluster.Kubectl(ctx, l.AdminConfig, "", append(admin, "create", "configmap", "shadow", "--namespace=shop")...)
		return err
	}))
	after, text := outcomes(t, l, began)
	found := map[string]bool{}
	for _, f := range after.Findings {
		found[f.Kind+" "+f.Object] = true
	}
	if after.Complete || !found["Undecided configmaps shop/shadow"] {
		t.Errorf("the change behind the gate's back is not found:\n%s", text)
	}
	if !strings.Contains(text, "GuardChanged") {
		t.Errorf("nobody says that the webhook was removed:\n%s", text)
	}
}

// What a gate wrote goes to an auditor as one file, who verifies it with one key, while the gate runs.
func TestEvidenceOfARunningGate(t *testing.T) {
	l := stage(t)
	head, err := l.Repository.Head(t.Context())
	check(t, err)
	key := filepath.Join(l.Gate.Data, "audit.key.pub")
	archive := filepath.Join(t.TempDir(), "evidence.zip")
	check(t, l.Eventually(t.Context(), func(context.Context) error { // the first seal takes some seconds
		_, err := os.Stat(filepath.Join(l.Gate.AuditLog(), "lock"))
		return err
	}))
	time.Sleep(6 * time.Second)
	for _, args := range [][]string{
		{"audit", "export", l.Gate.AuditLog(), "-o", "evidence", "--out", archive},
		{"audit", "verify", archive, "--key", key},
		{"audit", "log", l.Gate.AuditLog(), "--commit", string(head)},
		{"audit", "log", l.Gate.AuditLog(), "--object", "Deployment/shop/cart"},
	} {
		out, status, err := l.Gate.Run(t.Context(), args...)
		check(t, err)
		if status != 0 {
			t.Errorf("%v: exit status %d\n%s", args, status, out)
		}
		if args[1] == "verify" && !strings.Contains(out, "sound and complete") {
			t.Errorf("%s", out)
		}
	}
}
