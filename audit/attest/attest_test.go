package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	vsa "github.com/in-toto/attestation/go/predicates/vsa/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/dsse"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/commitgate/commitgate/audit"
)

func published(signers ...string) *audit.Record {
	r := &audit.Record{
		Type: audit.TypePublished, ID: "01JREC", Time: time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC),
		Writer: &audit.Writer{Log: "gate.example/prod/gate-0", Version: "v1.2.3"},
		Origin: &audit.Origin{Repository: "shop", Branch: "main", Revision: "3f2c1d9b7a5e4f60812a9c3d5b7e1f2a4c6d8e0b", Tree: "1111d9b7a5e4f60812a9c3d5b7e1f2a4c6d8e0bb"},
		Event:  &audit.Event{Details: map[string]string{"from": "0000d9b7a5e4f60812a9c3d5b7e1f2a4c6d8e0bb"}},
	}
	for _, s := range signers {
		r.Origin.Signers = append(r.Origin.Signers, audit.Signer{Principal: s})
	}
	return r
}

func TestTheSummarySaysWhatTheRecordSays(t *testing.T) {
	refused := published()
	refused.Type = audit.TypeRefused
	for name, c := range map[string]struct {
		record *audit.Record
		result string
		levels []string
	}{
		"one signer":            {published("ada"), "PASSED", []string{LevelSigned}},
		"two people":            {published("ada", "bob"), "PASSED", []string{LevelSigned, LevelTwoPeople}},
		"two keys, one person":  {published("ada", "ada"), "PASSED", []string{LevelSigned}},
		"a revision is refused": {refused, "FAILED", []string{LevelFailed}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := New(c.record, "https://git.example/shop.git")
			if err != nil {
				t.Fatal(err)
			}
			if s.Predicate.VerificationResult != c.result || !slices.Equal(s.Predicate.VerifiedLevels, c.levels) {
				t.Errorf("%s %v, want %s %v", s.Predicate.VerificationResult, s.Predicate.VerifiedLevels, c.result, c.levels)
			}
		})
	}
	if _, err := New(&audit.Record{Type: audit.TypeDecision}, "x"); err == nil {
		t.Error("a decision is no revision")
	}
}

// TestOthersReadIt: the libraries of in-toto and sigstore take what is signed, with both kinds of key.
func TestOthersReadIt(t *testing.T) {
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"Ed25519": edKey, "ECDSA": ecKey} {
		t.Run(name, func(t *testing.T) {
			der, err := x509.MarshalPKCS8PrivateKey(key)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "key.pem")
			if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
				t.Fatal(err)
			}
			signer, err := LoadSigner(t.Context(), file)
			if err != nil {
				t.Fatal(err)
			}
			statement, err := New(published("ada", "bob"), "https://git.example/shop.git")
			if err != nil {
				t.Fatal(err)
			}
			envelope, err := Sign(statement, signer)
			if err != nil {
				t.Fatal(err)
			}
			verifier, err := signature.LoadVerifier(key.Public(), crypto.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			if err := dsse.WrapVerifier(verifier).VerifySignature(bytes.NewReader(envelope), nil); err != nil {
				t.Errorf("sigstore does not verify it: %v", err)
			}
			forged := strings.Replace(string(envelope), `"payload":"ey`, `"payload":"ez`, 1)
			if err := dsse.WrapVerifier(verifier).VerifySignature(strings.NewReader(forged), nil); err == nil {
				t.Error("another payload verifies")
			}
			readStatement(t, envelope)
		})
	}
}

func readStatement(t *testing.T, envelope []byte) {
	t.Helper()
	var e struct{ Payload, PayloadType string }
	if err := json.Unmarshal(envelope, &e); err != nil || e.PayloadType != PayloadType {
		t.Fatalf("payload type %q, %v", e.PayloadType, err)
	}
	payload, err := base64.StdEncoding.DecodeString(e.Payload)
	if err != nil {
		t.Fatal(err)
	}
	var s intoto.Statement
	if err := protojson.Unmarshal(payload, &s); err != nil {
		t.Fatalf("in-toto does not read it: %v", err)
	}
	if err := s.Validate(); err != nil {
		t.Errorf("in-toto does not take it: %v", err)
	}
	predicate, err := protojson.Marshal(s.GetPredicate())
	if err != nil {
		t.Fatal(err)
	}
	var v vsa.VerificationSummary
	if err := protojson.Unmarshal(predicate, &v); err != nil {
		t.Fatalf("its predicate is no verification summary: %v", err)
	}
	if v.GetVerificationResult() != "PASSED" || v.GetResourceUri() != "git+https://git.example/shop.git" || v.GetPolicy().GetDigest()["gitCommit"][:4] != "0000" {
		t.Errorf("%v", &v)
	}
}
