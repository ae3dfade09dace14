package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/test/forge"
	"github.com/commitgate/commitgate/test/sopstool"
)

// TestEncryptedScenarios plays scripts with the real sops: `encrypt FILE [ARGUMENT...]` encrypts a file in its place, and $KEYS is the folder with the key.
func TestEncryptedScenarios(t *testing.T) {
	s := sopstool.New(t)
	cmds := words()
	cmds["encrypt"] = func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) == 0 {
			ts.Fatalf("usage: encrypt FILE [ARGUMENT...]")
		}
		text := s.Encrypt(t, filepath.Base(args[0]), ts.ReadFile(args[0]), append(args[1:], "--age", s.Age)...)
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
	}
	setup := func(env *testscript.Env) error {
		env.Setenv("KEYS", s.Keys)
		return newWorld(env)
	}
	testscript.Run(t, testscript.Params{Dir: "testdata/sops", Setup: setup, Cmds: cmds, RequireExplicitExec: true, RequireUniqueNames: true})
}

// TestNoDecryptedValueComesOut has a gate with the keys judge what is applied of encrypted Secrets, and of what is made with their values, right and wrong, and looks at every byte that it keeps, logs,
// measures and answers.
func TestNoDecryptedValueComesOut(t *testing.T) {
	const canary = "corvus-corax"
	s := sopstool.New(t)
	ctx := t.Context()
	f, err := forge.New(t.TempDir())
	must(t, err)
	t.Cleanup(func() { must(t, f.Close()) })
	alice, err := f.WithSSHKey(ctx, "Alice", "alice@example.org")
	must(t, err)
	repository, err := f.Create(ctx, "infra")
	must(t, err)
	anchor, err := repository.Publish(ctx, alice, "begin", map[string]string{
		"apps/kustomization.yaml": "namespace: shop\nresources: [db.yaml, flux.yaml]\nsecretGenerator: [{name: token, envs: [token.env], options: {disableNameSuffixHash: true}}]\n",
		"apps/db.yaml": s.Encrypt(t, "db.yaml", "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\nstringData:\n  password: "+canary+"\n",
			"--encrypted-regex", "^stringData$", "--age", s.Age),
		"apps/flux.yaml":             takesDecrypted,
		"later/all.yaml":             "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: url, namespace: shop}\ndata: {value: \"https://${password}@example.com\"}\n",
		"chart/Chart.yaml":           "apiVersion: v2\nname: web\nversion: 1.0.0\n",
		"chart/templates/web.yaml":   "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {value: \"https://{{ .Values.password }}@example.com\"}\n",
		"chart/templates/other.yaml": "{{ if contains \"raven\" .Values.password }}{{ fail .Values.password }}{{ end }}",
		"apps/token.env":             s.Encrypt(t, "token.env", "TOKEN="+canary+"\n", "--pgp", s.PGP),
	})
	must(t, err)
	signer, err := json.Marshal(alice.Signer())
	must(t, err)
	const flux = "system:serviceaccount:flux-system:kustomize-controller"
	cfg, err := v1alpha1.Parse("gate.yaml", fmt.Appendf(nil, encryptedGate, repository.URL(), anchor, signer, s.Keys, flux))
	must(t, err)
	var logged bytes.Buffer
	dir := t.TempDir()
	o := serveOptions{data: dir, listen: "127.0.0.1:0", probeListen: "127.0.0.1:0", noCluster: true, names: []string{"127.0.0.1"}}
	g, err := newGate(ctx, cfg, o, slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})))
	must(t, err)
	must(t, g.now().tracker.Once(ctx))
	outputs := map[string][]byte{}
	secret := func(name, key string) func(string) string {
		return func(value string) string {
			return fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":%q,"namespace":"shop","uid":"u1"},"type":"Opaque","data":{%q:%q}}`,
				name, key, base64.StdEncoding.EncodeToString([]byte(value)))
		}
	}
	configMap := func(name, metadata string) func(string) string {
		return func(value string) string {
			return fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q,"namespace":"shop","uid":"u1",%s},"data":{"value":"https://%s@example.com"}}`, name, metadata, value)
		}
	}
	objects := map[string]func(value string) string{
		"Secret db": secret("db", "password"), "Secret token": secret("token", "TOKEN"),
		"ConfigMap url": configMap("url", `"labels":{"kustomize.toolkit.fluxcd.io/name":"later","kustomize.toolkit.fluxcd.io/namespace":"shop"}`),
		"ConfigMap web": configMap("web", `"labels":{"helm.toolkit.fluxcd.io/name":"web","helm.toolkit.fluxcd.io/namespace":"shop","app.kubernetes.io/managed-by":"Helm"},"annotations":{"meta.helm.sh/release-name":"web","meta.helm.sh/release-namespace":"shop"}`),
	}
	for object, of := range objects {
		kind, name, _ := strings.Cut(object, " ")
		for value, allowed := range map[string]bool{canary: true, "another": false} {
			body := fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"r1","kind":{"group":"","version":"v1","kind":%q},"resource":{"group":"","version":"v1","resource":%q},"name":%q,"namespace":"shop","operation":"CREATE","userInfo":{"username":%q,"uid":"1","extra":{"authentication.kubernetes.io/credential-id":["JTI=1"]}},"object":%s}}`,
				kind, strings.ToLower(kind)+"s", name, flux, of(value))
			r := httptest.NewRequest(http.MethodPost, "/review", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			g.reviews.Handler.ServeHTTP(w, r)
			if got := strings.Contains(w.Body.String(), `"allowed":true`); got != allowed {
				t.Errorf("%s with the value %s is allowed: %v\n%s", object, value, got, w.Body)
			}
			outputs["answer to "+object+" "+value] = w.Body.Bytes()
		}
	}
	metrics := httptest.NewRecorder()
	g.probes.Handler.ServeHTTP(metrics, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	outputs["metrics"] = metrics.Body.Bytes()
	must(t, g.close())
	outputs["the gate's log"] = logged.Bytes()
	records, status := command(t, "audit", "export", filepath.Join(dir, "audit"), "-o", "jsonl")
	if status != exitYes || strings.Count(records, `"decrypted":true`) != len(objects) || strings.Contains(records, `"unverified":true`) {
		t.Errorf("want a record of decrypted values for each object:\n%s", records)
	}
	outputs["export"] = []byte(records)
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			outputs[path], err = os.ReadFile(path)
		}
		return err
	}))
	for name, b := range outputs {
		for _, text := range []string{canary, base64.StdEncoding.EncodeToString([]byte(canary))} {
			if i := bytes.Index(b, []byte(text)); i >= 0 {
				t.Errorf("%s holds %q", name, b[max(0, i-60):min(len(b), i+60)])
			}
		}
	}
}

// takesDecrypted are a Kustomization and a release that take a decrypted value from Secret db.
const takesDecrypted = `
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: later}
spec: {path: later, sourceRef: {kind: GitRepository, name: infra, namespace: flux-system}, postBuild: {substituteFrom: [{kind: Secret, name: db}]}}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: web}
spec:
  chart: {spec: {chart: ./chart, sourceRef: {kind: GitRepository, name: infra, namespace: flux-system}}}
  valuesFrom: [{kind: Secret, name: db, valuesKey: password, targetPath: password}]
`

const encryptedGate = `
apiVersion: commitgate.dev/v1alpha1
kind: TrustedRepository
metadata: {name: infra}
spec: {url: %[1]q, branch: main, anchor: {commit: %[2]s}, signers: [%[3]s]}
---
apiVersion: commitgate.dev/v1alpha1
kind: Gate
metadata: {name: test}
spec:
  decryption: {keys: %[4]q}
  agents: [{name: flux, preset: Flux, users: [%[5]q]}]
  roots:
  - agent: flux
    objects:
    - {apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: infra, namespace: flux-system}, spec: {url: %[1]q, ref: {branch: main}}}
    - {apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: shop, namespace: flux-system}, spec: {path: apps, decryption: {provider: sops}, sourceRef: {kind: GitRepository, name: infra}}}
`

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
