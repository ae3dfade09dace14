package authority

import (
	"bytes"
	"crypto/x509"
	"slices"
	"time"
)

// Rotation says when one authority follows another.
type Rotation struct {
	// Before is how long before the end of the newest authority its successor is made.
	Before time.Duration
	// Overlap is how long both are kept after that. It must be longer than a replica takes to see a changed Secret.
	Overlap time.Duration
	// Since, if set, is when the bundle was last written: what it no longer holds is trusted for an Overlap after that. It is for caBundles that several
	// machines keep, each at its own time, and none knows of what the others have seen.
	Since time.Time
}

// Step is what a rotation does now. Each is safe by itself, and done again where it did not last: whoever rotates may end after any of them.
type Step struct {
	// What was found or is done, for people.
	What string
	// Bundle is what the folder or Secret holds from now on; it is written before the caBundle.
	Bundle Bundle
	// Trusted is the caBundle from now on.
	Trusted []byte
	// Rotated and Retrusted tell which of them differs from what was there.
	Rotated, Retrusted bool
}

// Next is the next step from a bundle, and the caBundle by which the API server knows it:
//
//  1. The newest authority ends soon: a successor is made, and trusted. No leaf is of it yet.
//  2. The caBundle lacks an authority: it is trusted. Replicas then issue from the newest.
//  3. The overlap is over: the predecessors are removed from the bundle, so that nothing can be issued from them. They are still trusted.
//  4. Nothing is issued from them any more: they are no longer trusted.
func (r Rotation) Next(b Bundle, trusted []byte, now time.Time) (Step, error) {
	s := Step{Bundle: b, Trusted: trusted}
	known, err := Certificates(trusted)
	if err != nil {
		return s, err
	}
	newest := b.Newest()
	old := !now.Before(newest.made().Add(r.Overlap))
	switch {
	case now.Add(r.Before).After(newest.Cert.NotAfter):
		successor, err := New(now)
		if err != nil {
			return s, err
		}
		s.What, s.Rotated = "a successor is made and trusted; replicas issue from it when they see both", true
		s.Bundle = append(slices.Clone(b), successor)
		s.Trusted = trust(known, s.Bundle)
	case !all(b, known):
		s.What, s.Trusted = "the caBundle lacked an authority, and has it now", trust(known, b)
	case len(b) > 1 && !old:
		s.What = "a new authority is trusted beside the old; the old goes when the overlap is over"
	case len(b) > 1:
		s.What, s.Rotated = "the overlap is over: nothing is issued from the old authority any more", true
		s.Bundle = Bundle{newest}
	case len(known) > 1 && old && now.Before(r.Since.Add(r.Overlap)):
		s.What = "the old authority is trusted until every replica has changed over"
	case len(known) > 1 && old:
		s.What, s.Trusted = "the old authority is no longer trusted", b.CertPEM()
	default:
		s.What = "nothing is due"
	}
	s.Retrusted = !bytes.Equal(s.Trusted, trusted)
	return s, nil
}

// all tells whether every authority of a bundle is known.
func all(b Bundle, known []*x509.Certificate) bool {
	return !slices.ContainsFunc(b, func(a *Authority) bool { return !slices.ContainsFunc(known, a.Cert.Equal) })
}

// trust adds the authorities of a bundle to what is known.
func trust(known []*x509.Certificate, b Bundle) []byte {
	var out []byte
	for _, cert := range known {
		out = append(out, encode(cert)...)
	}
	for _, a := range b {
		if !slices.ContainsFunc(known, a.Cert.Equal) {
			out = append(out, encode(a.Cert)...)
		}
	}
	return out
}
