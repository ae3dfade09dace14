package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/commitgate/commitgate/audit/attest"
)

// signatureName is a DSSE envelope with an in-toto statement about the manifest.
const signatureName = "manifest.dsse.json"

// statement is an in-toto statement (v1): who signs it made this archive to this question.
type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"` // the manifest, which lists all other files
	PredicateType string    `json:"predicateType"`
	Predicate     predicate `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// predicate repeats what the manifest says, for tools that read statements only.
type predicate struct {
	Asked Question `json:"asked"`
	Count uint64   `json:"count"`
	Logs  []Log    `json:"logs"`
}

// predicateType is that of a statement about an archive: its format, as a URL.
const predicateType = "https://" + Format

func newStatement(m Manifest, manifest []byte) statement {
	sum := sha256.Sum256(manifest)
	return statement{
		Type: attest.StatementType, PredicateType: predicateType,
		Subject:   []subject{{manifestName, map[string]string{"sha256": hex.EncodeToString(sum[:])}}},
		Predicate: predicate{m.Asked, m.Count, m.Logs},
	}
}

// sign writes the signature over the manifest. It is the last file of the archive.
func (a *archive) sign(manifest []byte, signers []note.Signer) error {
	if len(signers) == 0 {
		return nil
	}
	envelope, err := attest.SignWithLog(newStatement(a.m, manifest), signers...)
	if err != nil {
		return fmt.Errorf("sign the manifest: %w", err)
	}
	e, err := a.create(signatureName)
	if err != nil {
		return err
	}
	_, err = e.Write(append(envelope, '\n'))
	return err
}

// signature checks who signed the manifest. That nobody did is no problem of the records, which checkpoints prove; it is one of what they do not
// prove: which question was asked, and what is attached.
func (v *verifier) signature() {
	if v.files[signatureName] == nil {
		v.Notes = append(v.Notes, "the manifest is not signed: who made the archive, and added what is not of the log, is not known")
		return
	}
	manifest, err := v.small(manifestName)
	if err != nil {
		v.problem(0, manifestName, err.Error())
		return
	}
	envelope, err := v.small(signatureName)
	if err != nil {
		v.problem(0, signatureName, err.Error())
		return
	}
	text, signedBy, err := attest.OpenWithLog(envelope, v.keys)
	if err != nil && !(errors.Is(err, attest.ErrNotSigned) && len(v.keys) == 0) {
		v.problem(0, signatureName, err.Error())
		return
	}
	var s statement
	sum := sha256.Sum256(manifest)
	switch err := json.Unmarshal(text, &s); {
	case err != nil:
		v.problem(0, signatureName, "not a statement: "+err.Error())
	case s.Type != attest.StatementType, s.PredicateType != predicateType:
		v.problem(0, signatureName, fmt.Sprintf("a statement of another kind: %q", s.PredicateType))
	case len(s.Subject) != 1, !strings.EqualFold(s.Subject[0].Digest["sha256"], hex.EncodeToString(sum[:])):
		v.problem(0, signatureName, "it was signed for another manifest")
	default:
		v.SignedBy = signedBy
	}
}
