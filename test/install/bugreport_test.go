package install

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/commitgate/commitgate/doctor"
	"github.com/commitgate/commitgate/test/cluster"
)

// bugReport plants canaries wherever an installation may hold a secret, and looks at every byte of a bug report.
func bugReport(t *testing.T, c *cluster.Cluster, admin *rest.Config, kubeconfig string) {
	t.Helper()
	must := func(stdin string, args ...string) {
		t.Helper()
		if out, err := c.Kubectl(t.Context(), kubeconfig, stdin, append([]string{"--namespace=commitgate"}, args...)...); err != nil {
			t.Fatalf("kubectl %v: %v\n%s", args, err, out)
		}
	}
	must("", "set", "env", "statefulset/commitgate", "AWS_SECRET_ACCESS_KEY=canary1")
	must("", "annotate", "statefulset/commitgate", "note=canary2")
	must("", "create", "secret", "generic", "git", "--from-literal=password=canary3")
	must("", "create", "configmap", "somebody-elses", "--from-literal=key=canary4")
	must("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: commitgate}\ndata: {infra.yaml: \"url: https://bot:canary5@git.example.org/infra.git\\npassword: canary6\\n\"}\n", "apply", "--server-side", "--force-conflicts", "--filename=-")
	probe := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			_, _ = io.WriteString(w, "gate_x 1\n# Authorization: Bearer canary7canary\n# eyJhbGciOiJub25l.eyJjYW5hcnki.canary8\n-----BEGIN EC PRIVATE KEY-----\ncanary9\n-----END EC PRIVATE KEY-----\n")
			return
		}
		http.NotFound(w, r)
	}))
	defer probe.Close()
	for name, probes := range map[string][]string{"through the API server": nil, "at a probe address": {probe.URL}} {
		d, err := doctor.New(doctor.Config{Cluster: admin, Probes: probes, Namespace: "commitgate", Webhook: "commitgate", Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := d.Bundle(t.Context(), &out, "test"); err != nil {
			t.Fatal(err)
		}
		files := unpack(t, &out)
		for file, text := range files {
			if strings.Contains(text, "canary") {
				t.Errorf("%s: %s holds a canary:\n%s", name, file, text)
			}
		}
		for file, words := range map[string]string{
			"doctor.json": "is not there: the API server asks nobody", "objects/statefulsets/commitgate.yaml": "AWS_SECRET_ACCESS_KEY",
			"objects/configmaps/commitgate.yaml": "git.example.org", "objects/validatingadmissionpolicies/commitgate-guards-itself.yaml": "commitgate:admins", "version.txt": "test",
		} {
			if !strings.Contains(files["commitgate-bugreport/"+file], words) {
				t.Errorf("%s: %s does not say %q:\n%s", name, file, words, files["commitgate-bugreport/"+file])
			}
		}
		if files["commitgate-bugreport/objects/secrets/git.yaml"] != "" {
			t.Error("a Secret was read")
		}
	}
}

func unpack(t *testing.T, from io.Reader) map[string]string {
	t.Helper()
	compressed, err := gzip.NewReader(from)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(compressed); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = string(text)
	}
}
