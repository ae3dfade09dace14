package authority

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	leafLife    = 48 * time.Hour // short: the leaf lives in memory, so renewing it costs nothing
	leafRenewal = leafLife / 3   // what is left of a leaf's life when it is renewed
	// look is how often a folder and the caBundle are read; a Secret reaches a pod's folder within two minutes.
	look = 10 * time.Second
	// unseen is how long after its making a new authority is used where nobody can say whether it is trusted.
	unseen = 24 * time.Hour
	// askTimeout bounds a look at the caBundle.
	askTimeout = 5 * time.Second
)

// Config says where the authorities are and for whom leaves are issued.
type Config struct {
	Dir   string   // with ca.crt and ca.key; an authority is made there if it has none
	Names []string // DNS names and IP addresses by which the API server calls the gate
	// Trusted reads the caBundle by which the API server knows the gate. With nil a new authority is used a day after it was made.
	Trusted func(context.Context) ([]byte, error)
	// Settle is how long an authority must have been trusted before it issues. API servers see a changed caBundle within a moment; a watchdog in
	// another replica that has not seen the changed Secret may put the old one back within minutes.
	Settle time.Duration
	Log    *slog.Logger
	Now    func() time.Time
}

// Server issues the certificates of a TLS server, from the newest authority that its clients trust. It is safe for concurrent use.
type Server struct {
	config Config

	mu     sync.Mutex
	bundle Bundle
	// current issues; it is one of bundle, or was.
	current *Authority
	// trustedSince is when an authority was first seen in the caBundle, by its certificate.
	trustedSince map[string]time.Time
	leaf         *tls.Certificate
	problem      string // what the last look met, "" if all was well; logged when it changes
}

// Open reads the authorities of the folder, or makes one there.
func Open(config Config) (*Server, error) {
	s := &Server{config: config, trustedSince: map[string]time.Time{}}
	now := config.Now()
	b, err := Load(config.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		b, err = makeFolder(config.Dir, now)
	}
	if err == nil && !slices.ContainsFunc(b, func(a *Authority) bool { return a.valid(now) }) {
		err = fmt.Errorf("ca.crt is valid from %s to %s, and it is %s: replace both files, restart, and renew the caBundle",
			b.Newest().Cert.NotBefore.Format(time.DateOnly), b.Newest().Cert.NotAfter.Format(time.DateOnly), now.Format(time.DateOnly))
	}
	if err != nil {
		return nil, fmt.Errorf("certificate authority in %s: %w", config.Dir, err)
	}
	s.bundle = b
	s.choose(now, nil, false)
	return s, nil
}

// Run looks for new authorities until the context ends.
func (s *Server) Run(ctx context.Context) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		s.Look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Look reads the folder and the caBundle anew, and changes to the authority that is to issue now. What cannot be read leaves everything as it was.
func (s *Server) Look(ctx context.Context) {
	b, err := Load(s.config.Dir)
	if err != nil {
		s.report(fmt.Errorf("the certificate authority cannot be read: %w", err))
		return
	}
	var trusted []*x509.Certificate
	known := false
	if s.config.Trusted != nil && len(b) > 1 { // with one there is nothing to choose
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		text, err := s.config.Trusted(ctx)
		if err == nil {
			trusted, err = Certificates(text)
		}
		if err != nil {
			err = fmt.Errorf("the caBundle of the webhook configuration cannot be read, so no new authority is used: %w", err)
		}
		s.report(err)
		known = err == nil
	} else {
		s.report(nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bundle = b
	s.choose(s.config.Now(), trusted, known)
}

// choose decides who issues. s.mu is held, or s is not shared yet.
func (s *Server) choose(now time.Time, trusted []*x509.Certificate, known bool) {
	var valid []*Authority // oldest first
	for _, a := range s.bundle {
		if a.valid(now) {
			valid = append(valid, a)
		}
	}
	if len(valid) == 0 {
		return // what is shown is refused, and the metric has said so for long
	}
	next := s.next(valid, trusted, known, now)
	if s.current == nil || !s.current.Cert.Equal(next.Cert) {
		if s.current != nil {
			s.config.Log.Info("another certificate authority issues from now on", "expires", next.Cert.NotAfter)
		}
		s.current, s.leaf = next, nil
	}
}

// next is who is to issue, of those who may (oldest first).
func (s *Server) next(valid []*Authority, trusted []*x509.Certificate, known bool, now time.Time) *Authority {
	current := slices.IndexFunc(valid, func(a *Authority) bool { return s.current != nil && s.current.Cert.Equal(a.Cert) })
	isTrusted := func(a *Authority) bool { return slices.ContainsFunc(trusted, a.Cert.Equal) }
	for _, a := range slices.Backward(valid) {
		switch id := string(a.Cert.Raw); {
		case known && isTrusted(a):
			since, seen := s.trustedSince[id]
			if !seen {
				s.trustedSince[id], since = now, now
			}
			// Nobody is served by an authority that is no longer trusted: there is nothing to wait for.
			if now.Sub(since) >= s.config.Settle || current >= 0 && !isTrusted(valid[current]) {
				return a
			}
		case known:
			delete(s.trustedSince, id)
		case s.config.Trusted == nil && now.Sub(a.made()) >= unseen:
			return a
		}
	}
	if current >= 0 {
		return valid[current]
	}
	return valid[0]
}

// report logs what a look met, once.
func (s *Server) report(err error) {
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	s.mu.Lock()
	changed := problem != s.problem
	s.problem = problem
	s.mu.Unlock()
	if changed && err != nil {
		s.config.Log.Error("certificate authority", "err", err)
	}
}

// Certificate returns a leaf that is valid for a while yet; it is a tls.Config's GetCertificate.
func (s *Server) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.config.Now()
	// A leaf that was issued while the clock was ahead would begin in the future when the clock is right again.
	if s.leaf != nil && now.After(s.leaf.Leaf.NotBefore) && now.Before(s.leaf.Leaf.NotAfter.Add(-leafRenewal)) {
		return s.leaf, nil
	}
	leaf, err := s.current.issue(s.config.Names, now)
	if err != nil {
		return nil, err
	}
	s.leaf = leaf
	return leaf, nil
}

// Expiry is when the authority that issues now ends.
func (s *Server) Expiry() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.Cert.NotAfter
}

// Issues tells whether leaves are issued from this authority.
func (s *Server) Issues(cert *x509.Certificate) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Equal(s.current.Cert.Raw, cert.Raw)
}

// issue makes a leaf, which ends with its authority at the latest.
func (a *Authority) issue(names []string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := newTemplate("commitgate", now, leafLife)
	if err != nil {
		return nil, err
	}
	if template.NotBefore.Before(a.Cert.NotBefore) {
		template.NotBefore = a.Cert.NotBefore
	}
	if template.NotAfter.After(a.Cert.NotAfter) {
		template.NotAfter = a.Cert.NotAfter
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Cert, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.Cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}
