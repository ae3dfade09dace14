package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/commitgate/commitgate/authority"
)

// Whoever issues elsewhere (cert-manager) renews the leaf by itself; the authority in the caBundle ends all the same, and somebody must be told.
func TestTheEndOfTheCABundle(t *testing.T) {
	now := time.Now()
	dir := t.TempDir()
	server, err := authority.Open(authority.Config{Dir: dir, Names: []string{"commitgate.svc"}, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	ours, err := authority.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	other, err := authority.New(now)
	if err != nil {
		t.Fatal(err)
	}
	longer, err := authority.New(now.Add(24 * time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	bundle := func(all ...*authority.Authority) []byte { return authority.Bundle(all).CertPEM() }
	for name, tt := range map[string]struct {
		bundle []byte
		err    error
		want   int64 // 0: nobody of it issued what is shown; -1: it is not known
	}{
		"the authority that issues":            {bundle: bundle(ours[0]), want: ours[0].Cert.NotAfter.Unix()},
		"another that ends later is no help":   {bundle: bundle(longer, ours[0]), want: ours[0].Cert.NotAfter.Unix()},
		"an authority that issued none of it":  {bundle: bundle(other), want: 0},
		"nothing, as an injector leaves it":    {bundle: []byte{}, want: 0},
		"an API server that does not answer":   {err: errors.New("connection refused"), want: -1},
		"what somebody wrote there by mistake": {bundle: []byte("-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n"), want: -1},
	} {
		t.Run(name, func(t *testing.T) {
			c := &certificates{config: &tls.Config{GetCertificate: server.Certificate}, own: server}
			c.bundle = &caBundle{log: slog.New(slog.DiscardHandler), read: func(context.Context) ([]byte, error) { return tt.bundle, tt.err }}
			if err := c.bundle.look(t.Context()); (err != nil) != (tt.want < 0) {
				t.Errorf("error %v", err)
			}
			have := int64(-1)
			if end, ok := c.ends()["ca_bundle"]; ok {
				if have = 0; !end.IsZero() {
					have = end.Unix()
				}
			}
			if have != tt.want {
				t.Errorf("it ends at %d, want %d", have, tt.want)
			}
		})
	}
}
