package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/commitgate/commitgate/status"
)

// A gate that knows nothing yet says so of itself, in the words of /readyz, and what soon needs somebody.
func TestStatusOfAGate(t *testing.T) {
	soon := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	g := newTestGateOf(t, testGate+`  exemptions: [{name: migration, users: [bob], reason: moving, expires: "`+soon+`"}]`+"\n")
	w := httptest.NewRecorder()
	g.probes.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, status.Path, nil))
	r, err := status.Parse(w.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if r.Ready || r.Name != "test" || len(r.Repositories) != 1 || r.Repositories[0].Commit != "" || len(r.Agents) != 1 || r.Agents[0].Seen != nil || r.Audit.Records == 0 {
		t.Errorf("unexpected: %+v", r)
	}
	if len(r.Ending) != 1 || r.Ending[0].Name != "migration" || r.Ending[0].Ended {
		t.Errorf("exemptions that end: %+v", r.Ending)
	}
	if len(r.Certificates) != 2 || r.Serving == "" {
		t.Errorf("certificates: %+v", r.Certificates)
	}
	if sentences := r.Attention(24 * time.Hour); len(sentences) != 2 { // the repository, the exemption
		t.Errorf("what needs somebody: %q", sentences)
	}
}
