package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/commitgate/commitgate/authority"
)

const (
	// bundleLook is how often the caBundle is read: it ends in days, not in minutes.
	bundleLook = time.Minute
	// bundleTimeout bounds a look.
	bundleTimeout = 10 * time.Second
)

// caBundle is by what the API server knows the gate, as it was last read: of an issuer elsewhere, nobody but the API server may notice its end.
type caBundle struct {
	read    func(context.Context) ([]byte, error)
	log     *slog.Logger
	current atomic.Pointer[[]*x509.Certificate] // nil: not read yet
}

// run reads until the context ends. What cannot be read leaves what was read before.
func (b *caBundle) run(ctx context.Context) {
	tick := time.NewTicker(bundleLook)
	defer tick.Stop()
	failed := false
	for {
		err := b.look(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			b.log.Warn("the caBundle of the webhook configuration cannot be read: nobody is told of its end", "err", err)
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (b *caBundle) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bundleTimeout)
	defer cancel()
	text, err := b.read(ctx)
	if err != nil {
		return err
	}
	certs, err := authority.Certificates(text)
	if err != nil {
		return err
	}
	b.current.Store(&certs)
	return nil
}

// end is until when the API server believes what is shown to it: when the first authority ends on the way from it to the caBundle, by the best of
// several ways. It is zero if there is no way, and ok is false if the caBundle was not read yet.
func (b *caBundle) end(shown *tls.Certificate) (end time.Time, ok bool) {
	roots := b.current.Load()
	if roots == nil {
		return time.Time{}, false
	}
	pool, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for _, root := range *roots {
		pool.AddCert(root)
	}
	var leaf *x509.Certificate
	for i, der := range shown.Certificate {
		cert, err := x509.ParseCertificate(der)
		switch {
		case err != nil:
			return time.Time{}, true
		case i == 0:
			leaf = cert
		default:
			intermediates.AddCert(cert)
		}
	}
	// As of its first moment: an authority that has ended since is a way that has an end, and no missing one.
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: intermediates, CurrentTime: leaf.NotBefore.Add(time.Second)})
	if err != nil {
		return time.Time{}, true
	}
	for _, chain := range chains {
		first := chain[len(chain)-1].NotAfter
		for _, cert := range chain[1:] {
			if cert.NotAfter.Before(first) {
				first = cert.NotAfter
			}
		}
		if first.After(end) {
			end = first
		}
	}
	return end, true
}
