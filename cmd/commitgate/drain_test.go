package main

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A rolling update must refuse nothing: who is told to end is unready first, goes on answering, and tells its clients to go elsewhere.
func TestDrain(t *testing.T) {
	g := newTestGateOf(t, testGate, func(o *serveOptions) { o.drain = time.Hour })
	ctx, sigterm := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.run(ctx) }()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	review := func() *http.Response {
		t.Helper()
		response, err := client.Post("https://"+g.listener.Addr().String()+"/review", "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		return response
	}
	staying := func() string { return g.drain.Check().Missing() }
	if r := review(); r.Close || staying() != "" {
		t.Error("a gate that goes on sends its clients away")
	}
	sigterm()
	for deadline := time.Now().Add(time.Minute); staying() == "" && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if r := review(); r.StatusCode != http.StatusBadRequest || !r.Close || staying() == "" {
		t.Errorf("a gate that ends: status %d, the connection ends: %t, readiness: %q", r.StatusCode, r.Close, staying())
	}
	select {
	case err := <-ended:
		t.Fatalf("ended before its time: %v", err)
	default:
	}
	if err := g.listener.Close(); err != nil { // something breaks: nothing is left to wait for
		t.Fatal(err)
	}
	<-ended
}

// Whoever ends, ends: within its time, and with the port closed.
func TestDrainEnds(t *testing.T) {
	g := newTestGate(t)
	ctx, sigterm := context.WithCancel(t.Context())
	sigterm()
	if err := g.run(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := tls.Dial("tcp", g.listener.Addr().String(), &tls.Config{InsecureSkipVerify: true}); err == nil {
		t.Error("somebody still listens")
	}
}
