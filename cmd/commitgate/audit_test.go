package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/seal"
)

// command runs a command in this process.
func command(t *testing.T, args ...string) (stdout string, status int) {
	t.Helper()
	root := newRoot("commitgate")
	var out, problems bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&problems)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	var e exit
	switch {
	case err == nil:
	case errors.As(err, &e):
		status = e.code
	default:
		status = exitUsage
	}
	t.Logf("commitgate %s: %d %v %s", strings.Join(args, " "), status, err, problems.String())
	return out.String(), status
}

// sealedLog is a log of one change for each name, and the file with its public key.
func sealedLog(t *testing.T, names ...string) (dir, key string, ids []string) {
	t.Helper()
	const origin = "gate.test/prod/gate-0"
	dir = filepath.Join(t.TempDir(), "log")
	secret, vkey, err := seal.GenerateKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	private := filepath.Join(t.TempDir(), "gate-0.key")
	key = filepath.Join(t.TempDir(), "gate-0.vkey")
	if err := errors.Join(os.WriteFile(private, []byte(secret), 0o600), os.WriteFile(key, []byte(vkey+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	signer, _, err := seal.LoadSigner(t.Context(), private, origin)
	if err != nil {
		t.Fatal(err)
	}
	verifiers, err := seal.ParseVerifiers([]string{vkey})
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	l, err := audit.Open(audit.Config{Dir: dir, Origin: origin, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		r, err := l.Append(t.Context(), audit.Record{
			Type:     audit.TypeDecision,
			Request:  &audit.Request{Operation: "UPDATE", Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments", Namespace: "shop", Name: name},
			Actor:    &audit.Actor{Username: "flux\x1b[2J", Role: "agent"},
			Decision: &audit.Decision{Outcome: "allow", Verdict: "allow", Mode: "Enforce", Reason: "Declared"},
			Origin:   &audit.Origin{Repository: "shop", Branch: "main", Revision: "3f2c1d9b7a5e4f60812a9c3d5b7e1f2a4c6d8e0b", Path: "apps/cart.yaml"},
		})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := seal.New(seal.Config{Dir: dir, Origin: origin, Durable: func() uint64 { return l.Health().Seq }, Verifiers: verifiers,
		Signers: []note.Signer{signer}, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	return dir, key, ids
}

func TestAnAuditorSearchesExportsAndVerifies(t *testing.T) {
	dir, key, _ := sealedLog(t, "cart", "till", "cart")
	zip := filepath.Join(t.TempDir(), "evidence.zip")
	page := filepath.Join(t.TempDir(), "report.html")
	for _, c := range []struct {
		about  string
		args   []string
		status int
		want   string
	}{
		{"which commits made this object", []string{"log", dir, "--object", "Deployment/shop/cart"}, exitYes, "2 of 6 records"},
		{"what did this commit change", []string{"log", dir, "--commit", "3f2c1d9"}, exitYes, "3 of 6 records"},
		{"nobody did that", []string{"log", dir, "--actor", "mallory"}, exitNo, "0 of 6"},
		{"a filter that is none", []string{"log", dir, "--object", "cart"}, exitUsage, ""},
		{"a time that is none", []string{"log", dir, "--from", "yesterday"}, exitUsage, ""},
		{"a folder without a log", []string{"log", t.TempDir()}, exitUsage, ""},
		{"the population", []string{"export", dir, "-o", "csv"}, exitYes, "#trailer,"},
		{"an unknown format", []string{"export", dir, "-o", "pdf"}, exitUsage, ""},
		{"evidence to keep", []string{"export", dir, "-o", "evidence", "--out", zip, "--key", key}, exitYes, ""},
		{"nothing is overwritten", []string{"export", dir, "-o", "evidence", "--out", zip}, exitUsage, ""},
		{"the archive, offline", []string{"verify", zip, "--key", key}, exitYes, "sound and complete: 6 records"},
		{"the archive, for a program", []string{"verify", zip, "--key", key, "-o", "json"}, exitYes, `"complete": true`},
		{"the log itself", []string{"verify", dir, "--key", key}, exitYes, "sound: 6 records"},
		{"a report", []string{"export", dir, "-o", "html", "--out", page, "--key", key, "--title", "Q4"}, exitYes, ""},
	} {
		out, status := command(t, append([]string{"audit"}, c.args...)...)
		if status != c.status || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit status %d, want %d, and %q in:\n%s", c.about, status, c.status, c.want, out)
		}
		if c.args[0] == "log" && strings.Contains(out, "\x1b") {
			t.Errorf("%s: an escape sequence of a user name came to the terminal", c.about)
		}
	}
	b, err := os.ReadFile(page)
	if err != nil || !bytes.Contains(b, []byte("All 6 records of the logs were verified")) {
		t.Errorf("the report does not say that the logs were verified (%v)", err)
	}
	b, err = os.ReadFile(zip)
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad.zip")
	b[len(b)/3] ^= 1
	if err := os.WriteFile(bad, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, status := command(t, "audit", "verify", bad, "--key", key); status == exitYes || strings.Contains(out, "sound and") {
		t.Errorf("an archive with another byte: %d\n%s", status, out)
	}
}

func TestAnExportGoesOnWhereItEnded(t *testing.T) {
	dir, _, _ := sealedLog(t, "cart", "till")
	cursor := filepath.Join(t.TempDir(), "cursor")
	for i, want := range []int{5 + 1, 1} { // with the trailer
		out, status := command(t, "audit", "export", dir, "--cursor", cursor)
		if lines := strings.Count(out, "\n"); status != exitYes || lines != want {
			t.Errorf("export %d: status %d, %d lines, want %d", i, status, lines, want)
		}
	}
	if _, status := command(t, "audit", "export", dir, "--cursor", cursor, "--to", "2026-12-01"); status != exitUsage {
		t.Errorf("with an end: status %d", status)
	}
}

func TestOutcomesAreJoinedAtTheCommandLine(t *testing.T) {
	dir, _, ids := sealedLog(t, "cart", "till")
	l, err := os.ReadFile(firstSegment(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	var at string // of the records
	for line := range strings.Lines(string(l)) {
		if f, err := audit.ParseFrame([]byte(strings.TrimSpace(line))); err == nil && f.Type == audit.TypeDecision {
			at = f.Time.Format("2006-01-02T15:04:05.999999Z")
		}
	}
	event := func(name, annotations string) string {
		return fmt.Sprintf(`{"stage":"ResponseComplete","verb":"update","user":{"username":"flux"},"objectRef":{"resource":"deployments","apiGroup":"apps","namespace":"shop","name":%q},"responseStatus":{"code":200},"requestReceivedTimestamp":%q,"stageTimestamp":%q,"annotations":{%s}}`+"\n",
			name, at, at, annotations)
	}
	events := filepath.Join(t.TempDir(), "audit.log")
	whole := event("cart", `"gate.commitgate.dev/record":"`+ids[0]+`"`) + event("till", `"gate.commitgate.dev/record":"`+ids[1]+`"`)
	then, err := time.Parse(time.RFC3339, at)
	if err != nil {
		t.Fatal(err)
	}
	later := strings.NewReplacer(`"update"`, `"get"`, at, then.Add(time.Hour).Format(time.RFC3339)).Replace(event("cart", ""))
	gap := event("cart", `"gate.commitgate.dev/record":"`+ids[0]+`"`) + later
	guard := strings.Replace(event("gate", ""), `{"resource":"deployments","apiGroup":"apps","namespace":"shop",`, `{"resource":"validatingwebhookconfigurations","apiGroup":"admissionregistration.k8s.io",`, 1)
	for _, c := range []struct {
		about, events, failOn string
		status                int
		want                  string
	}{
		{"each change has its decision", whole, "low", exitYes, "complete: each persisted change has its decision"},
		{"one has none: the gate was down", whole + event("shadow", ""), "critical", exitNo, "critical  Undecided       update deployments.apps shop/shadow"},
		{"the events do not tell of one", gap, "critical", exitYes, "THE EVENTS HAVE A GAP"},
		{"the events do not tell of one, and are expected to", gap, "low", exitNo, "low       Unseen"},
		{"a webhook was changed", whole + guard, "critical", exitYes, "complete"},
		{"a webhook was changed, and must not be", whole + guard, "high", exitNo, "high      GuardChanged"},
		{"no events at all", "", "critical", exitNo, "NOT COMPLETE"},
		{"a severity that is none", whole, "grave", exitUsage, ""},
	} {
		if err := os.WriteFile(events, []byte(c.events), 0o600); err != nil {
			t.Fatal(err)
		}
		out, status := command(t, "audit", "outcomes", dir, "--events", events, "--fail-on", c.failOn)
		if status != c.status || !strings.Contains(out, c.want) {
			t.Errorf("%s: status %d, want %d and %q in:\n%s", c.about, status, c.status, c.want, out)
		}
	}
	if _, status := command(t, "audit", "outcomes", dir); status != exitUsage {
		t.Errorf("without events: status %d", status)
	}
}

func firstSegment(t *testing.T, dir string) string {
	t.Helper()
	segments, err := audit.Segments(dir)
	if err != nil || len(segments) == 0 {
		t.Fatalf("%v, %v", segments, err)
	}
	return segments[0].Path
}

func TestRevisionsAreAttested(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l, err := audit.Open(audit.Config{Dir: dir, Origin: "gate.test/a", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	const good, bad = "3f2c1d9b7a5e4f60812a9c3d5b7e1f2a4c6d8e0b", "aaaa1d9b7a5e4f60812a9c3d5b7e1f2a4c6d8e0b"
	for _, r := range []audit.Record{
		{Type: audit.TypePublished, Origin: &audit.Origin{Repository: "shop", Branch: "main", Revision: good, Signers: []audit.Signer{{Principal: "ada"}}}},
		{Type: audit.TypePublished, Origin: &audit.Origin{Repository: "shop", Branch: "main", Revision: good}},
		{Type: audit.TypeRefused, Origin: &audit.Origin{Repository: "shop", Branch: "main", Revision: bad}},
	} {
		if _, err := l.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key, out := filepath.Join(t.TempDir(), "key.pem"), filepath.Join(t.TempDir(), "vsa")
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, status := command(t, "audit", "attest", dir, "--key", key, "--out", out); status != exitUsage {
		t.Errorf("without the URL of the repository: status %d", status)
	}
	text, status := command(t, "audit", "attest", dir, "--key", key, "--out", out, "--url", "shop=https://git.test/shop.git")
	if status != exitYes || !strings.HasPrefix(text, "2 statements") {
		t.Errorf("status %d: %s", status, text)
	}
	for _, name := range []string{good + ".passed.intoto.json", bad + ".failed.intoto.json"} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
}
