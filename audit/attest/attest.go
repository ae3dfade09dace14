// Package attest turns what the log says about revisions into in-toto statements with a SLSA verification summary, signed as DSSE
// envelopes: the form in which other tools take the answer "this commit of the protected branch was verified, and how".
//
// It says what a record says and no more: levels of SLSA are claims about a forge that a gate cannot check, so the levels it names are its own.
package attest

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/dsse"
	"github.com/sigstore/sigstore/pkg/signature/kms"

	"github.com/commitgate/commitgate/audit"
)

// The types of what is signed.
const (
	PayloadType   = "application/vnd.in-toto+json"
	StatementType = "https://in-toto.io/Statement/v1"
	PredicateType = "https://slsa.dev/verification_summary/v1"
)

// The levels of a verification summary. Those with ORG_SOURCE_ are ours, as the SLSA source track asks of them.
const (
	LevelSigned    = "ORG_SOURCE_COMMITGATE_SIGNED"     // trusted signers of its parent vouch for it, and for all before it from the anchor on
	LevelTwoPeople = "ORG_SOURCE_COMMITGATE_TWO_PEOPLE" // two different people signed
	LevelFailed    = "FAILED"
)

// ErrNoRevision is returned for a record that is not about a revision.
var ErrNoRevision = errors.New("the record is not about a revision")

// Statement is an in-toto statement (v1) about one commit.
type Statement struct {
	Type          string    `json:"_type"`
	Subject       []Subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     Summary   `json:"predicate"`
}

// Subject is the commit.
type Subject struct {
	URI         string            `json:"uri"`
	Digest      map[string]string `json:"digest"` // gitCommit, gitTree
	Annotations map[string]any    `json:"annotations"`
}

// Summary is a SLSA verification summary (v1).
type Summary struct {
	Verifier           Verifier  `json:"verifier"`
	TimeVerified       time.Time `json:"timeVerified"`
	ResourceURI        string    `json:"resourceUri"`
	Policy             Policy    `json:"policy"`
	VerificationResult string    `json:"verificationResult"` // PASSED or FAILED
	VerifiedLevels     []string  `json:"verifiedLevels"`
}

// Verifier is the gate whose record it is.
type Verifier struct {
	ID string `json:"id"`
}

// Policy is by what it was judged: the list of signers and rules as of the verified parent.
type Policy struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest,omitempty"`
}

// New makes the statement of a record that says that a revision was published or refused. url is that of its repository.
func New(r *audit.Record, url string) (Statement, error) {
	o := r.Origin
	if o == nil || o.Revision == "" || r.Writer == nil || r.Type != audit.TypePublished && r.Type != audit.TypeRefused {
		return Statement{}, ErrNoRevision
	}
	uri := "git+" + strings.TrimPrefix(url, "git+")
	digest := map[string]string{"gitCommit": string(o.Revision)}
	if o.Tree != "" {
		digest["gitTree"] = string(o.Tree)
	}
	s := Statement{
		Type: StatementType, PredicateType: PredicateType,
		Subject: []Subject{{URI: uri, Digest: digest, Annotations: map[string]any{
			"sourceRefs": []string{"refs/heads/" + strings.TrimPrefix(o.Branch, "refs/heads/")},
			"record":     r.ID,
			"commitgate": r.Writer.Version,
		}}},
		Predicate: Summary{
			Verifier:     Verifier{ID: "https://" + r.Writer.Log},
			TimeVerified: r.Time, ResourceURI: uri, Policy: Policy{URI: uri},
		},
	}
	if r.Event != nil && r.Event.Details["from"] != "" { // judged by the signers of the revision before
		s.Predicate.Policy.Digest = map[string]string{"gitCommit": r.Event.Details["from"]}
	}
	s.Predicate.VerificationResult, s.Predicate.VerifiedLevels = result(r)
	return s, nil
}

func result(r *audit.Record) (string, []string) {
	if r.Type == audit.TypeRefused {
		return "FAILED", []string{LevelFailed}
	}
	people := map[string]bool{}
	for _, s := range r.Origin.Signers {
		people[s.Principal] = true
	}
	levels := []string{LevelSigned}
	if len(people) >= 2 {
		levels = append(levels, LevelTwoPeople)
	}
	return "PASSED", levels
}

// LoadSigner takes the key of statements: an unencrypted private key in a PEM file, or one of a KMS. It is not the key of the log.
func LoadSigner(ctx context.Context, ref string) (signature.Signer, error) {
	if strings.Contains(ref, "://") {
		return kms.Get(ctx, ref, crypto.SHA256)
	}
	return signature.LoadSignerFromPEMFile(ref, crypto.SHA256, func(bool) ([]byte, error) { return nil, nil })
}

// Sign makes the DSSE envelope of a statement.
func Sign(s Statement, signer signature.Signer) ([]byte, error) {
	payload, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	envelope, err := dsse.WrapSigner(signer, PayloadType).SignMessage(bytes.NewReader(payload))
	if err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	return envelope, nil
}
