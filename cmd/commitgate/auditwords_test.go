package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/mod/sumdb/note"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/seal"
)

// gate is `gate CONFIG DATA [REVIEWS]`: a gate starts on its data folder, believes what the branches say, answers the reviews, and ends in good order.
func (w *world) gate(ts *testscript.TestScript, args []string) error {
	if len(args) < 2 || len(args) > 3 {
		return errors.New("usage: gate CONFIG DATA [REVIEWS]")
	}
	cfg, err := v1alpha1.Load(ts.MkAbs(args[0]))
	if err != nil {
		return err
	}
	ctx := context.Background()
	o := serveOptions{data: ts.MkAbs(args[1]), listen: "127.0.0.1:0", probeListen: "127.0.0.1:0", noCluster: true, names: []string{"127.0.0.1"}}
	o.audit.digestKey = ts.MkAbs("digest.key")
	if err := os.WriteFile(o.audit.digestKey, []byte(strings.Repeat("a secret of the test ", 3)), 0o600); err != nil {
		return err
	}
	g, err := newGate(ctx, cfg, o, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	err = g.now().tracker.Once(ctx)
	if err == nil && len(args) == 3 {
		for line := range strings.Lines(ts.ReadFile(args[2])) {
			r := httptest.NewRequest(http.MethodPost, "/review", strings.NewReader(line))
			r.Header.Set("Content-Type", "application/json")
			g.reviews.Handler.ServeHTTP(httptest.NewRecorder(), r)
		}
	}
	return errors.Join(err, g.close())
}

// log is `log DIR COUNT`: a log of so many changes in several files, sealed half-way and at the end, beside DIR.pub with its key.
func (w *world) log(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: log DIR COUNT")
	}
	var count int
	if _, err := fmt.Sscan(args[1], &count); err != nil {
		return err
	}
	const origin = "gate.example/test/gate-0"
	secret, vkey, err := seal.GenerateKey(origin)
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		return err
	}
	verifiers, err := seal.ParseVerifiers([]string{vkey})
	if err != nil {
		return err
	}
	dir := ts.MkAbs(args[0])
	if err := os.WriteFile(dir+".pub", []byte(vkey+"\n"), 0o600); err != nil {
		return err
	}
	for _, n := range []int{count / 2, count - count/2} {
		l, err := audit.Open(audit.Config{Dir: dir, Origin: origin, Writer: audit.Writer{Name: "gate-0"}, SegmentSize: 16 << 10, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		for i := range n {
			if _, err := l.Append(context.Background(), audit.Record{
				Type:     audit.TypeDecision,
				Request:  &audit.Request{Operation: "UPDATE", Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments", Namespace: "shop", Name: fmt.Sprint("app-", i)},
				Actor:    &audit.Actor{Username: "flux", Role: "agent"},
				Decision: &audit.Decision{Outcome: "allow", Verdict: "allow", Mode: "Enforce", Reason: "FromGit"},
			}); err != nil {
				return errors.Join(err, l.Close())
			}
		}
		if err := l.Close(); err != nil {
			return err
		}
		s, err := seal.New(seal.Config{
			Dir: dir, Origin: origin, Durable: func() uint64 { return l.Health().Seq }, Verifiers: verifiers, Signers: []note.Signer{signer}, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return err
		}
		if _, err := s.Seal(context.Background()); err != nil {
			return err
		}
	}
	return nil
}

// damage is `damage LOG HOW RECORD`: somebody with access to the disk does something to the record with this number. HOW is flip (one bit), drop, swap
// (with the next), or cut (it and what comes after it in its file).
func (w *world) damage(ts *testscript.TestScript, args []string) error {
	if len(args) != 3 {
		return errors.New("usage: damage LOG HOW RECORD")
	}
	var seq uint64
	if _, err := fmt.Sscan(args[2], &seq); err != nil {
		return err
	}
	file, lines, i, err := findRecord(ts.MkAbs(args[0]), seq)
	if err != nil {
		return err
	}
	switch args[1] {
	case "flip":
		line := []byte(lines[i])
		line[bytes.Index(line, []byte("app-"))] ^= 1
		lines[i] = string(line)
	case "drop":
		lines = slices.Delete(lines, i, i+1)
	case "swap":
		if i+1 == len(lines) {
			return fmt.Errorf("record %d is the last of its file", seq)
		}
		lines[i], lines[i+1] = lines[i+1], lines[i]
	case "cut":
		lines = lines[:i]
	default:
		return fmt.Errorf("nobody knows how to %s", args[1])
	}
	return os.WriteFile(file, []byte(strings.Join(lines, "")), 0o600)
}

// findRecord finds the file and the line of a record.
func findRecord(dir string, seq uint64) (file string, lines []string, i int, err error) {
	segments, err := audit.Segments(dir)
	if err != nil {
		return "", nil, 0, err
	}
	for _, s := range segments {
		b, err := os.ReadFile(s.Path)
		if err != nil {
			return "", nil, 0, err
		}
		lines = slices.Collect(strings.Lines(string(b)))
		for i, line := range lines {
			if f, err := audit.ParseFrame([]byte(strings.TrimSpace(line))); err == nil && !f.Header && f.Seq == seq {
				return s.Path, lines, i, nil
			}
		}
	}
	return "", nil, 0, fmt.Errorf("%s holds no record %d", filepath.Base(dir), seq)
}
