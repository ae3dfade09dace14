package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/seal"
)

// gateIn starts a gate that keeps its data in dir, and lets flags be changed.
func gateIn(t *testing.T, dir string, edit func(*serveOptions)) (*gate, error) {
	t.Helper()
	cfg, err := v1alpha1.Parse("gate.yaml", []byte(testGate))
	if err != nil {
		t.Fatal(err)
	}
	o := serveOptions{data: dir, listen: "127.0.0.1:0", probeListen: "127.0.0.1:0", noCluster: true, names: []string{"127.0.0.1"}}
	if edit != nil {
		edit(&o)
	}
	return newGate(t.Context(), cfg, o, slog.New(slog.DiscardHandler))
}

func TestAGateSealsItsLogAndIsHeldToIt(t *testing.T) {
	dir := t.TempDir()
	log, key := filepath.Join(dir, "audit"), filepath.Join(dir, "audit.key.pub")
	for range 2 {
		g, err := gateIn(t, dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.close(); err != nil {
			t.Fatal(err)
		}
	}
	out, status := command(t, "audit", "verify", log, "--key", key, "-o", "json")
	var v struct {
		Records uint64
		Sealed  []seal.Result
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil || status != exitYes {
		t.Fatalf("status %d, %v", status, err)
	}
	if len(v.Sealed) != 1 || v.Sealed[0].Sealed != int64(v.Records) || v.Records < 4 {
		t.Errorf("%d records, sealed %+v: what a gate wrote before it stopped is sealed", v.Records, v.Sealed)
	}
	if out, _ := command(t, "audit", "log", log, "--type", "gate.start", "-o", "json"); strings.Count(out, `"mode":"Enforce"`) != 2 {
		t.Errorf("the starts do not tell the mode:\n%s", out)
	}

	// Somebody puts an older log in place of the newer one: what was sealed since is gone.
	segment := firstSegment(t, log)
	b, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(b), "\n")
	if err := os.WriteFile(segment, []byte(strings.Join(lines[:len(lines)-3], "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := gateIn(t, dir, nil); !errors.Is(err, audit.ErrCorrupt) {
		t.Errorf("with a log that was rolled back: %v", err)
	}
}

// TestAGateWhoseLogIsTamperedWithEnds: it neither signs what was changed under it, nor goes on as if nothing were.
func TestAGateWhoseLogIsTamperedWithEnds(t *testing.T) {
	dir := t.TempDir()
	g, err := gateIn(t, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	segment := firstSegment(t, filepath.Join(dir, "audit"))
	b, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(segment, []byte(strings.Replace(string(b), `"mode":"Enforce"`, `"mode":"Enf0rce"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := g.sealing.run(t.Context(), slog.New(slog.DiscardHandler)); !errors.Is(err, seal.ErrTampered) {
		t.Errorf("it ran on: %v", err)
	}
	if err := g.close(); !errors.Is(err, seal.ErrTampered) {
		t.Errorf("it ended in peace: %v", err)
	}
}

func TestALogOfAForeignKeyIsNotGoneOnWith(t *testing.T) {
	dir := t.TempDir()
	g, err := gateIn(t, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.close(); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(t.TempDir(), "old.pub")
	if err := errors.Join(os.Rename(filepath.Join(dir, "audit.key.pub"), old), os.Remove(filepath.Join(dir, "audit.key"))); err != nil {
		t.Fatal(err)
	}
	if _, err := gateIn(t, dir, nil); err == nil || !strings.Contains(err.Error(), "--audit-former-key") {
		t.Fatalf("with another key: %v", err)
	}
	g, err = gateIn(t, dir, func(o *serveOptions) { o.audit.formerKeys = []string{old} })
	if err != nil {
		t.Fatalf("with the former key: %v", err)
	}
	if err := g.close(); err != nil {
		t.Fatal(err)
	}
}

func TestReplicasCosignEachOther(t *testing.T) {
	home := t.TempDir()
	// A witness of another replica, which knows our log.
	a := filepath.Join(home, "a")
	g, err := gateIn(t, a, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.close(); err != nil {
		t.Fatal(err)
	}
	ours, err := seal.ReadVerifiers(filepath.Join(a, "audit.key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	_, theirLogKey, err := seal.GenerateKey("commitgate.dev/cluster/other")
	if err != nil {
		t.Fatal(err)
	}
	theirWitness, theirWitnessKey, err := seal.GenerateKey("other-witness")
	if err != nil {
		t.Fatal(err)
	}
	_, ourWitnessKey, err := seal.GenerateKey("our-witness")
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, lines ...string) string {
		path := filepath.Join(home, name)
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	b, err := gateIn(t, filepath.Join(home, "b"), func(o *serveOptions) {
		o.audit.witnessKey = file("witness.key", theirWitness)
		o.audit.peers = []string{"http://127.0.0.1:1=" + file("a.pub", ours[0], ourWitnessKey)}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	probes := httptest.NewServer(b.probes.Handler)
	defer probes.Close()

	g, err = gateIn(t, a, func(o *serveOptions) {
		o.audit.peers = []string{probes.URL + "=" + file("b.pub", theirLogKey, theirWitnessKey)}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.sealing.sealer.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := g.close(); err != nil {
		t.Fatal(err)
	}
	out, status := command(t, "audit", "verify", filepath.Join(a, "audit"), "--key", filepath.Join(a, "audit.key.pub"), "--key", file("w.pub", theirWitnessKey))
	if status != exitYes || !strings.Contains(out, "other-witness") {
		t.Errorf("status %d: the other replica did not cosign:\n%s", status, out)
	}
	for name, flag := range map[string]string{
		"no file":            "http://peer",
		"a file that is not": "http://peer=" + filepath.Join(home, "nothing"),
		"one key only":       "http://peer=" + file("one.pub", theirLogKey),
	} {
		if _, _, err := auditPeers([]string{flag}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestTheAPIServerTellsTheGateWhatBecameOfChanges(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	stream := func(o *serveOptions) { o.audit.streamToken, o.audit.namespace = token, "commitgate" }
	if _, err := gateIn(t, t.TempDir(), stream); err == nil {
		t.Fatal("a token that can be guessed was taken")
	}
	secret := strings.Repeat("canary-", 6)
	if err := os.WriteFile(token, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	g, err := gateIn(t, dir, stream)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Format(time.RFC3339Nano)
	event := func(resource, namespace string) string {
		return fmt.Sprintf(`{"stage":"ResponseComplete","verb":"create","user":{"username":"root"},"objectRef":{"resource":%q,"namespace":%q,"name":"x"},"responseStatus":{"code":201},"requestReceivedTimestamp":%q,"stageTimestamp":%q,"requestObject":{"data":"canary-body"}}`, resource, namespace, now, now)
	}
	list := `{"kind":"EventList","items":[` + event("secrets", "shop") + `,` + event("pods", "commitgate") + `,` + event("events", "shop") + `]}`
	for auth, want := range map[string]int{"Bearer nobody": http.StatusUnauthorized, "Bearer " + secret: http.StatusOK} {
		r := httptest.NewRequest(http.MethodPost, "/audit-stream", strings.NewReader(list))
		r.Header.Set("Authorization", auth)
		w := httptest.NewRecorder()
		g.reviews.Handler.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: %d, want %d", auth[:9], w.Code, want)
		}
	}
	if err := g.close(); err != nil {
		t.Fatal(err)
	}
	out, _ := command(t, "audit", "log", filepath.Join(dir, "audit"), "--type", "finding", "-o", "json")
	if strings.Count(out, "\n") != 1 || !strings.Contains(out, "secrets shop/x") {
		t.Errorf("want one finding, of the secret that nobody judged:\n%s", out)
	}
	if strings.Contains(out, "canary") {
		t.Error("a body or the token came into the log")
	}
}

// A second disk has each record, whatever becomes of the first.
func TestACopyOnAnotherDisk(t *testing.T) {
	dir, other := t.TempDir(), filepath.Join(t.TempDir(), "copy.jsonl")
	g, err := gateIn(t, dir, func(o *serveOptions) { o.audit.copies = []string{other + ",required,timeout=30s"} })
	if err != nil {
		t.Fatal(err)
	}
	if err := g.close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []audit.Type{audit.TypeStart, audit.TypeStop} {
		if !strings.Contains(string(b), `"type":"`+string(kind)+`"`) {
			t.Errorf("the copy does not hold %s:\n%s", kind, b)
		}
	}
	for flag, want := range map[string]string{
		other + ",optional":          "want required or timeout",
		other + ",timeout=soon":      "invalid duration",
		other + ",timeout=-1s":       "not positive",
		"/nowhere/copy.jsonl":        "no such file",
		other + ",required,,":        "want required or timeout",
		other + ",timeout=1s,mirror": "want required or timeout",
	} {
		if g, err := gateIn(t, t.TempDir(), func(o *serveOptions) { o.audit.copies = []string{flag} }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", flag, err, want)
			if err == nil {
				g.close()
			}
		}
	}
}
