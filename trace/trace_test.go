package trace

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// collector is one that takes everything. Names stand in OTLP's protobuf as they are.
type collector struct {
	mu   sync.Mutex
	body bytes.Buffer
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.URL.Path == "/v1/traces" {
		_, _ = io.Copy(&c.body, r.Body)
	}
}

func (c *collector) holds(s string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Contains(c.body.Bytes(), []byte(s))
}

func TestSpansReachTheCollector(t *testing.T) {
	c := &collector{}
	server := httptest.NewServer(c)
	defer server.Close()
	tracer, err := Open(t.Context(), server.URL+"/v1/traces", "v1.2.3", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	caller := http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
	ctx, review := tracer.Start(tracer.Remote(t.Context(), caller), "review")
	_, record := tracer.Start(ctx, "record")
	record.End(errors.New("disk full at /a-place"))
	review.Set("k8s.kind", "Deployment")
	review.Set("k8s.subresource", "")
	review.Count("git.commits", 3)
	review.End(nil)
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	parent := string([]byte{0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c})
	for _, want := range []string{"review", "record", "k8s.kind", "Deployment", "git.commits", "v1.2.3", parent} {
		if !c.holds(want) {
			t.Errorf("the collector was not told %q", want)
		}
	}
	for _, not := range []string{"k8s.subresource", "a-place"} {
		if c.holds(not) {
			t.Errorf("the collector was told %q", not)
		}
	}
}

func TestOff(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
	tracer, err := Open(t.Context(), "", "", nil)
	if tracer != nil || err != nil {
		t.Fatalf("without a collector: %v, %v", tracer, err)
	}
	ctx := tracer.Remote(t.Context(), http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}})
	if got := testing.AllocsPerRun(100, func() {
		_, span := tracer.Start(ctx, "review")
		span.Set("k8s.kind", "Deployment")
		span.Count("git.commits", 1)
		span.End(nil)
	}); got != 0 {
		t.Errorf("a span that nobody asked for costs %v allocations", got)
	}
	if err := tracer.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTheStandardVariablesSwitchItOn(t *testing.T) {
	c := &collector{}
	server := httptest.NewServer(c)
	defer server.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	tracer, err := Open(t.Context(), "", "", slog.New(slog.DiscardHandler))
	if err != nil || tracer == nil {
		t.Fatalf("%v, %v", tracer, err)
	}
	_, span := tracer.Start(t.Context(), "round")
	span.End(nil)
	if err := tracer.Close(t.Context()); err != nil || !c.holds("round") {
		t.Errorf("told: %t, %v", c.holds("round"), err)
	}
}

// A collector that is gone holds up nobody, and is told of in the log.
func TestACollectorThatIsGone(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	var log strings.Builder
	tracer, err := Open(t.Context(), server.URL, "", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	_, span := tracer.Start(t.Context(), "review")
	span.End(nil)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_ = tracer.Close(ctx)
	if ctx.Err() == nil && !strings.Contains(log.String(), "traces") {
		t.Errorf("nobody is told: %s", log.String())
	}
}
