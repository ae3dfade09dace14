package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

// TestNoSecretComesOut plants canaries wherever a request may carry a secret, lets the gate judge, and looks at every byte that it keeps,
// logs, measures, answers and exports.
func TestNoSecretComesOut(t *testing.T) {
	cfg, err := v1alpha1.Parse("gate.yaml", []byte(testGate))
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	dir := t.TempDir()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(strings.Repeat("canary", 6)), 0o600); err != nil {
		t.Fatal(err)
	}
	o := serveOptions{data: dir, listen: "127.0.0.1:0", probeListen: "127.0.0.1:0", noCluster: true, names: []string{"127.0.0.1"}}
	o.audit.streamToken = token
	o.audit.digestKey = filepath.Join(t.TempDir(), "digest.key")
	if err := os.WriteFile(o.audit.digestKey, []byte(strings.Repeat("canary", 6)), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := newGate(t.Context(), cfg, o, slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	outputs := map[string][]byte{}
	post := func(name, path, auth, body string) {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", auth)
		w := httptest.NewRecorder()
		g.reviews.Handler.ServeHTTP(w, r)
		outputs["answer to "+name] = w.Body.Bytes()
	}
	for _, user := range []string{"ci", "mallory", "system:serviceaccount:kube-system:generic-garbage-collector"} {
		for kind, group := range map[string]string{"Secret": "", "ConfigMap": "", "Deployment": "apps", "Broken": "x.y"} {
			post(user+" "+kind, "/review", "", canaryReview(user, kind, group))
		}
	}
	post("a review that breaks off", "/review", "", canaryReview("ci", "Secret", "")[:900])
	post("an event with a body", "/audit-stream", "Bearer "+strings.Repeat("canary", 6),
		`{"items":[{"stage":"ResponseComplete","verb":"create","user":{"username":"x"},"objectRef":{"resource":"secrets","name":"s"},"responseStatus":{"code":201,"message":"canary"},"requestReceivedTimestamp":"2026-11-21T12:00:00Z","stageTimestamp":"2026-11-21T12:00:00Z","requestObject":{"data":"canary"},"responseObject":{"data":"canary"}}]}`)
	post("an event that is none", "/audit-stream", "Bearer "+strings.Repeat("canary", 6), `{"items":[{"stage":7,"x":"canary"}]}`)

	metrics := httptest.NewRecorder()
	g.probes.Handler.ServeHTTP(metrics, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	outputs["metrics"] = metrics.Body.Bytes()
	if err := g.close(); err != nil {
		t.Fatal(err)
	}
	outputs["the gate's log"] = logged.Bytes()
	log := filepath.Join(dir, "audit")
	for _, format := range []string{"jsonl", "csv", "ocsf", "html"} {
		out, status := command(t, "audit", "export", log, "-o", format)
		if status != exitYes {
			t.Fatalf("%s: status %d", format, status)
		}
		outputs["export "+format] = []byte(out)
	}
	for _, args := range [][]string{{"log", log}, {"tail", log}, {"verify", log}} {
		out, _ := command(t, append([]string{"audit"}, args...)...)
		outputs[args[0]] = []byte(out)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			outputs[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(outputs["export jsonl"], []byte(`"type":"decision"`)); n < 12 {
		t.Fatalf("%d decisions were recorded: the canaries were not seen by anybody\n%s", n, outputs["answer to ci Secret"])
	}
	if n := bytes.Count(outputs["export jsonl"], []byte(`"objectDigest":"hmac:`)); n < 12 {
		t.Errorf("%d digests of objects", n)
	}
	if n := bytes.Count(outputs["export jsonl"], []byte(`"extraDigest":"hmac:`)); n < 12 {
		t.Errorf("%d digests of claims", n)
	}
	for name, b := range outputs {
		for _, canary := range []string{"canary", "Y2FuYXJ5"} { // and in base64
			if i := bytes.Index(b, []byte(canary)); i >= 0 {
				t.Errorf("%s holds %q", name, b[max(0, i-60):min(len(b), i+60)])
			}
		}
	}
}

// canaryReview is a change of an object with canaries in its data, its annotations and the claims of the token.
func canaryReview(user, kind, group string) string {
	object := fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":"db","namespace":"shop","uid":"u1","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":\"canary\"}","note":"canary"},"managedFields":[{"manager":"canary","operation":"Apply","fieldsV1":{"f:data":{}}}]},"data":{"password":"Y2FuYXJ5","k":"canary"},"stringData":{"p":"canary"},"spec":{"template":{"spec":{"containers":[{"name":"c","image":"i","env":[{"name":"P","value":"canary"}],"args":["canary"]}]}}}}`,
		strings.TrimPrefix(group+"/v1", "/"), kind)
	plural := strings.ToLower(kind) + "s"
	return fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"r1","kind":{"group":%[2]q,"version":"v1","kind":%[3]q},"resource":{"group":%[2]q,"version":"v1","resource":%[4]q},"name":"db","namespace":"shop","operation":"UPDATE","userInfo":{"username":%[1]q,"uid":"1","groups":["g"],"extra":{"example.org/session":["canary"],"authentication.kubernetes.io/credential-id":["JTI=canary"]}},"object":%[5]s,"oldObject":%[6]s,"options":{"apiVersion":"meta.k8s.io/v1","kind":"UpdateOptions","fieldManager":"kubectl"}}}`,
		user, group, kind, plural, object, strings.Replace(object, `"image":"i"`, `"image":"j"`, 1))
}
