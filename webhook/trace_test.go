package webhook

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/trace"
)

// Traces leave the process: they say what was asked and answered, and no value of the object.
func TestTracesTellNoValues(t *testing.T) {
	var told bytes.Buffer
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(&told, r.Body) }))
	f := newFixture(t)
	tracer, err := trace.Open(t.Context(), collector.URL+"/v1/traces", "", f.handler.Log)
	if err != nil {
		t.Fatal(err)
	}
	f.handler.Tracer = tracer
	f.post(review(fluxUser, "blue", false))
	f.post(review(fluxUser, "canary", false))
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	collector.Close()
	for _, want := range []string{"review", "decide", "refresh", "record", "ConfigMap", "shop", "cart", "allow", "deny", "FieldsDiffer", "rec-1", strings.Repeat("c1", 20)} {
		if !bytes.Contains(told.Bytes(), []byte(want)) {
			t.Errorf("the collector was not told %q", want)
		}
	}
	if bytes.Contains(told.Bytes(), []byte("canary")) {
		t.Error("a value left by a trace")
	}
}
