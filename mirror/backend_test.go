package mirror_test

import (
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"testing"
)

// httpBackend serves a work repository with git's own HTTP server, which speaks version 2 only if it is told that the client asked.
func httpBackend(t testing.TB, w *work, protocol string) (url string) {
	t.Helper()
	program, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{Path: program, Args: []string{"http-backend"},
		Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(w.dir), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1"}}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.Header.Del("Git-Protocol")
		if protocol != "" {
			r.Header.Set("Git-Protocol", protocol)
		}
		backend.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/" + filepath.Base(w.dir) + "/.git"
}
