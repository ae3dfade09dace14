package agents

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// repository is a Helm repository: one chart, packed, which nobody signs. Its digest is.
type repository struct {
	url, digest string
	chart       []byte
}

// serveChart serves a chart of one ConfigMap, till/1.0.0.
func serveChart(t *testing.T) *repository {
	t.Helper()
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	pack := tar.NewWriter(zip)
	for _, file := range [][2]string{
		{"till/Chart.yaml", "apiVersion: v2\nname: till\nversion: 1.0.0\n"},
		{"till/values.yaml", "drawers: 1\n"},
		{"till/templates/till.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {drawers: {{ .Values.drawers | quote }}}\n"},
	} {
		check(t, pack.WriteHeader(&tar.Header{Name: file[0], Mode: 0o644, Size: int64(len(file[1]))}))
		_, err := pack.Write([]byte(file[1]))
		check(t, err)
	}
	check(t, pack.Close())
	check(t, zip.Close())
	r := &repository{chart: packed.Bytes(), digest: fmt.Sprintf("%x", sha256.Sum256(packed.Bytes()))}
	files := http.NewServeMux()
	server := httptest.NewServer(files)
	t.Cleanup(server.Close)
	r.url = server.URL
	serve := func(path string, content []byte) {
		files.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) })
	}
	serve("/till-1.0.0.tgz", r.chart)
	serve("/index.yaml", fmt.Appendf(nil, "apiVersion: v1\nentries:\n  till:\n  - {apiVersion: v2, name: till, version: 1.0.0, digest: %s, urls: [%s/till-1.0.0.tgz]}\n", r.digest, r.url))
	return r
}

// folder is where the gate finds the chart.
func (r *repository) folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, r.digest+".tgz"), r.chart, 0o600))
	return dir
}

// lock records the digest, in Git.
func (r *repository) lock() string {
	return fmt.Sprintf("charts:\n- {repository: %q, name: till, version: 1.0.0, digest: \"sha256:%s\"}\n", r.url, r.digest)
}

// release is a release of the chart.
func (r *repository) release() string {
	return fmt.Sprintf(`apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {name: tills, namespace: shop}
spec: {interval: 10m, url: %q}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: till, namespace: shop}
spec:
  interval: 10m
  chart:
    spec:
      chart: till
      version: 1.0.0
      sourceRef: {kind: HelmRepository, name: tills}
  values: {drawers: 3}
`, r.url)
}
