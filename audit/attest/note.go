package attest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"golang.org/x/mod/sumdb/note"
)

// ErrNotSigned is returned for an envelope that none of the keys signed.
var ErrNotSigned = errors.New("none of the keys signed it")

// SignWithLog makes the DSSE envelope of an in-toto statement, signed with keys of logs. What is signed begins with DSSEv1, and so is never
// taken for a checkpoint, which the same keys sign.
func SignWithLog(statement any, signers ...note.Signer) ([]byte, error) {
	payload, err := json.Marshal(statement)
	if err != nil {
		return nil, err
	}
	e := dsse.Envelope{PayloadType: PayloadType, Payload: base64.StdEncoding.EncodeToString(payload)}
	for _, s := range signers {
		sig, err := s.Sign(dsse.PAE(PayloadType, payload))
		if err != nil {
			return nil, fmt.Errorf("sign with %s: %w", s.Name(), err)
		}
		e.Signatures = append(e.Signatures, dsse.Signature{KeyID: keyID(s.Name(), s.KeyHash()), Sig: base64.StdEncoding.EncodeToString(sig)})
	}
	return json.MarshalIndent(e, "", "  ")
}

// keyID names a key as signed notes do: name and hash.
func keyID(name string, hash uint32) string { return fmt.Sprintf("%s+%08x", name, hash) }

// OpenWithLog returns the statement of a DSSE envelope and the names of those of the keys that signed it. ErrNotSigned is returned if there is none.
func OpenWithLog(envelope []byte, verifiers []note.Verifier) (statement []byte, signedBy []string, err error) {
	var e dsse.Envelope
	if err := json.Unmarshal(envelope, &e); err != nil {
		return nil, nil, fmt.Errorf("not a DSSE envelope: %w", err)
	}
	if e.PayloadType != PayloadType {
		return nil, nil, fmt.Errorf("payload type %q: want %q", e.PayloadType, PayloadType)
	}
	if statement, err = base64.StdEncoding.DecodeString(e.Payload); err != nil {
		return nil, nil, fmt.Errorf("not a DSSE envelope: %w", err)
	}
	for _, v := range verifiers {
		for _, s := range e.Signatures {
			sig, err := base64.StdEncoding.DecodeString(s.Sig)
			if err == nil && s.KeyID == keyID(v.Name(), v.KeyHash()) && v.Verify(dsse.PAE(PayloadType, statement), sig) {
				signedBy = append(signedBy, v.Name())
				break
			}
		}
	}
	if signedBy == nil {
		return statement, nil, ErrNotSigned
	}
	return statement, signedBy, nil
}
