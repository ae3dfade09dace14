package signing

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// pgpKey is one key or subkey that may have made a signature, with what its self-signatures say of it. It is worked out once, when the
// signer list is read, and never changes.
type pgpKey struct {
	public      *packet.PublicKey
	fingerprint string // of this key or subkey, lower-case hexadecimal
	primary     string // of the primary key
	principal   Principal
	expires     time.Time // zero is never
	unfit       error     // why it must not sign at all; nil if it may
}

// publicBlocks takes ASCII-armoured public keys apart: one block or several, and nothing else.
func publicBlocks(armoured string) (blocks []string, err error) {
	const begin, end = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"
	for rest := strings.TrimSpace(armoured); rest != ""; {
		i := strings.Index(rest, end)
		if i < 0 || !strings.HasPrefix(rest, begin) {
			return blocks, errors.New("openpgp: not an ASCII-armoured public key block")
		}
		blocks = append(blocks, rest[:i+len(end)]+"\n")
		rest = strings.TrimSpace(rest[i+len(end):])
	}
	return blocks, nil
}

// readOpenPGP reads ASCII-armoured public keys, one block or several.
func readOpenPGP(principal Principal, armoured string) (keys []pgpKey, problems []error) {
	blocks, err := publicBlocks(armoured)
	if err != nil {
		problems = append(problems, err)
	}
	for _, block := range blocks {
		entities, err := openpgp.ReadArmoredKeyRing(strings.NewReader(block))
		if err != nil {
			problems = append(problems, fmt.Errorf("openpgp: %w", err))
			continue
		}
		for _, e := range entities {
			found := entityKeys(principal, e)
			keys = append(keys, found...)
			if err := noneFit(found); err != nil {
				problems = append(problems, fmt.Errorf("openpgp key %s cannot sign: %w", found[0].fingerprint, err))
			}
		}
	}
	return keys, problems
}

// noneFit explains why none of the keys of one entity may sign, for reasons that will not change: a revoked key is no mistake of the list.
func noneFit(keys []pgpKey) error {
	for _, k := range keys {
		var r *refusal
		if k.unfit == nil || errors.As(k.unfit, &r) && r.cause == CauseRevoked {
			return nil
		}
	}
	return keys[0].unfit
}

// entityKeys works out what the self-signatures of a key say. Revocations count whenever they were made and whatever their reason:
// the time of a signature is what its maker says, so that "before the revocation" can be claimed by anybody who has the key.
func entityKeys(principal Principal, e *openpgp.Entity) []pgpKey {
	primary := pgpKey{public: e.PrimaryKey, principal: principal, fingerprint: hex.EncodeToString(e.PrimaryKey.Fingerprint)}
	primary.primary = primary.fingerprint
	self, err := e.PrimarySelfSignature(time.Time{}, nil)
	switch {
	case err != nil:
		primary.unfit = refuse(CauseBadSignature, "it has no valid self-signature")
		return []pgpKey{primary}
	default:
		primary.expires = keyExpiry(e.PrimaryKey, self)
		if direct, err := e.LatestValidDirectSignature(time.Time{}, nil); err == nil && direct != nil {
			primary.expires = earlier(primary.expires, keyExpiry(e.PrimaryKey, direct))
		}
		primary.unfit = unfit(e.PrimaryKey, self)
	}
	revoked := false
	for _, r := range e.Revocations {
		revoked = revoked || e.PrimaryKey.VerifyRevocationSignature(r.Packet) == nil
	}
	if revoked {
		primary.unfit = refuse(CauseRevoked, "the OpenPGP key %s of %s is revoked", primary.fingerprint, principal)
	}
	keys := []pgpKey{primary}
	for i := range e.Subkeys {
		keys = append(keys, subkey(primary, revoked, e, &e.Subkeys[i]))
	}
	return keys
}

func subkey(primary pgpKey, primaryRevoked bool, e *openpgp.Entity, s *openpgp.Subkey) pgpKey {
	k := pgpKey{public: s.PublicKey, principal: primary.principal, primary: primary.fingerprint, fingerprint: hex.EncodeToString(s.PublicKey.Fingerprint)}
	binding, err := s.LatestValidBindingSignature(time.Time{}, nil)
	if err != nil {
		k.unfit = refuse(CauseBadSignature, "the subkey is not validly bound")
		return k
	}
	k.expires = earlier(primary.expires, keyExpiry(s.PublicKey, binding))
	k.unfit = unfit(s.PublicKey, binding)
	if k.unfit == nil && binding.EmbeddedSignature == nil {
		k.unfit = refuse(CauseBadSignature, "the subkey did not sign that it belongs to its primary key")
	}
	revoked := primaryRevoked
	for _, r := range s.Revocations {
		revoked = revoked || e.PrimaryKey.VerifySubkeyRevocationSignature(r.Packet, s.PublicKey) == nil
	}
	if revoked {
		k.unfit = refuse(CauseRevoked, "the OpenPGP key %s of %s is revoked", k.fingerprint, k.principal)
	}
	return k
}

// keyExpiry is when a key ends by one of its self-signatures: by the lifetime of the key, or of the self-signature itself.
func keyExpiry(k *packet.PublicKey, self *packet.Signature) (t time.Time) {
	if s := self.KeyLifetimeSecs; s != nil && *s != 0 {
		t = k.CreationTime.Add(time.Duration(*s) * time.Second)
	}
	if s := self.SigLifetimeSecs; s != nil && *s != 0 {
		t = earlier(t, self.CreationTime.Add(time.Duration(*s)*time.Second))
	}
	return t
}

// earlier is the earlier of two times of which zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// unfit tells why a key must not sign commits.
func unfit(k *packet.PublicKey, self *packet.Signature) error {
	switch k.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		if bits, err := k.BitLength(); err != nil || bits < minRSABits {
			return refuse(CauseWeak, "an RSA key of fewer than %d bits", minRSABits)
		}
	case packet.PubKeyAlgoECDSA, packet.PubKeyAlgoEdDSA, packet.PubKeyAlgoEd25519, packet.PubKeyAlgoEd448:
	default:
		return refuse(CauseWeak, "OpenPGP keys of algorithm %d are not accepted", k.PubKeyAlgo)
	}
	if !self.FlagsValid || !self.FlagSign {
		return refuse(CauseNotAllowed, "the key %x is not for signing", k.Fingerprint)
	}
	return nil
}

// verifyOpenPGP checks an OpenPGP signature over the payload by one of the keys of the list.
func (l *list) verifyOpenPGP(data, payload []byte, at time.Time) (Signature, error) {
	sig, err := readPGPSignature(data)
	if err != nil {
		return Signature{}, err
	}
	candidates := l.issuers(sig)
	if len(candidates) == 0 {
		return Signature{}, refuse(CauseUnknownKey, "the signer list does not hold the OpenPGP key %s", issuer(sig))
	}
	key, err := signedBy(candidates, sig, payload)
	if err != nil {
		return Signature{}, err
	}
	return key.judge(sig, l, at)
}

// signedBy finds the candidate whose key made the signature. A key id has 64 bits: two keys with the same one are no accident, and
// only the one that signed counts.
func signedBy(candidates []pgpKey, sig *packet.Signature, payload []byte) (*pgpKey, error) {
	for i := range candidates {
		hash, err := sig.PrepareVerify() // used up by each attempt
		if err != nil {
			return nil, refuse(CauseMalformed, "the OpenPGP signature: %v", err)
		}
		hash.Write(payload) // a hash never fails
		if candidates[i].public.VerifySignature(hash, sig) == nil {
			return &candidates[i], nil
		}
	}
	return nil, refuse(CauseBadSignature, "the OpenPGP signature by %s does not fit the commit", candidates[0].fingerprint)
}

// readPGPSignature reads the one signature packet that there must be.
func readPGPSignature(data []byte) (*packet.Signature, error) {
	r := packet.NewReader(bytes.NewReader(data))
	first, err := r.Next()
	if err != nil {
		return nil, refuse(CauseMalformed, "the OpenPGP signature: %v", err)
	}
	sig, ok := first.(*packet.Signature)
	if !ok {
		return nil, refuse(CauseMalformed, "the armour holds no OpenPGP signature")
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		return nil, refuse(CauseMalformed, "something follows the OpenPGP signature")
	}
	switch {
	case sig.SigType == packet.SigTypeText:
		return nil, refuse(CauseMalformed, "an OpenPGP text signature says nothing of line ends: sign in binary mode, as git does")
	case sig.SigType != packet.SigTypeBinary:
		return nil, refuse(CauseMalformed, "the OpenPGP signature is not one over a document")
	case !strongHash(sig.Hash):
		return nil, refuse(CauseWeak, "the OpenPGP signature is made over %s", sig.Hash)
	case sig.IssuerKeyId == nil && len(sig.IssuerFingerprint) == 0:
		return nil, refuse(CauseMalformed, "the OpenPGP signature does not say whose it is")
	}
	for _, n := range sig.Notations {
		if n.IsCritical {
			return nil, refuse(CauseMalformed, "the OpenPGP signature has a critical notation that is not known: %s", clip(n.Name))
		}
	}
	return sig, nil
}

func strongHash(h crypto.Hash) bool {
	switch h {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512:
		return true
	}
	return false
}

// issuers are the keys of the list that the signature may be by: of the fingerprint that it names, or else of the key id.
func (l *list) issuers(sig *packet.Signature) (keys []pgpKey) {
	if fp := sig.IssuerFingerprint; len(fp) > 0 {
		if k, ok := l.openpgp[hex.EncodeToString(fp)]; ok {
			keys = append(keys, k)
		}
		return keys
	}
	return l.byKeyID[*sig.IssuerKeyId]
}

func issuer(sig *packet.Signature) string {
	if fp := sig.IssuerFingerprint; len(fp) > 0 {
		return hex.EncodeToString(fp)
	}
	return fmt.Sprintf("with id %016x", *sig.IssuerKeyId)
}

// judge tells whether a key that made a signature may have made it.
func (k *pgpKey) judge(sig *packet.Signature, l *list, at time.Time) (Signature, error) {
	if k.unfit != nil {
		return Signature{}, k.unfit
	}
	for _, fp := range []string{k.fingerprint, k.primary} {
		if l.revoked.has(fp) {
			return Signature{}, refuse(CauseRevoked, "the OpenPGP key %s is revoked by the signer list", fp)
		}
	}
	if !k.expires.IsZero() && !at.Before(k.expires) {
		return Signature{}, refuse(CauseExpired, "the OpenPGP key %s of %s ended on %s", k.fingerprint, k.principal, k.expires.UTC().Format(time.DateOnly))
	}
	if sig.CreationTime.Before(k.public.CreationTime) {
		return Signature{}, refuse(CauseBadSignature, "the OpenPGP signature says that it is older than its key")
	}
	if s := sig.SigLifetimeSecs; s != nil && *s != 0 && !at.Before(sig.CreationTime.Add(time.Duration(*s)*time.Second)) {
		return Signature{}, refuse(CauseExpired, "the OpenPGP signature has ended")
	}
	return Signature{Principal: k.principal, Kind: KindOpenPGP, Key: k.fingerprint}, nil
}

// readPGPFile reads the public keys of a file, armoured or not.
func readPGPFile(data []byte) (all openpgp.EntityList, err error) {
	if !bytes.Contains(data, []byte("-----BEGIN PGP")) {
		return openpgp.ReadKeyRing(bytes.NewReader(data))
	}
	blocks, err := publicBlocks(string(data))
	if err != nil {
		return nil, err
	}
	for _, block := range blocks {
		entities, err := openpgp.ReadArmoredKeyRing(strings.NewReader(block))
		if err != nil {
			return nil, err
		}
		all = append(all, entities...)
	}
	return all, nil
}

// OpenPGPSigners reads a file of public keys, armoured or binary, as gpg --export writes it. Each key's principal is the e-mail address
// of its first user id, or else its fingerprint: a suggestion for a person to check, for anybody can make a key with any user id.
func OpenPGPSigners(data []byte) ([]OpenPGPKey, error) {
	entities, err := readPGPFile(data)
	if err != nil {
		return nil, fmt.Errorf("read OpenPGP keys: %w", err)
	}
	var out []OpenPGPKey
	for _, e := range entities {
		key := OpenPGPKey{Principal: Principal(hex.EncodeToString(e.PrimaryKey.Fingerprint)), Fingerprint: hex.EncodeToString(e.PrimaryKey.Fingerprint)}
		if _, id := e.PrimaryIdentity(time.Time{}, nil); id != nil && id.UserId != nil && id.UserId.Email != "" {
			key.Principal = Principal(id.UserId.Email)
		}
		var b strings.Builder
		w, err := armor.Encode(&b, "PGP PUBLIC KEY BLOCK", nil)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(e.Serialize(w), w.Close()); err != nil {
			return nil, err
		}
		key.Armoured = b.String() + "\n"
		found := entityKeys(key.Principal, e)
		for _, k := range found {
			key.Fingerprints = append(key.Fingerprints, k.fingerprint)
		}
		key.Unfit = noneFit(found)
		out = append(out, key)
	}
	return out, nil
}

// OpenPGPKey is a public key with the name that its user id suggests.
type OpenPGPKey struct {
	Principal   Principal
	Fingerprint string
	// Fingerprints are those of the key and its subkeys.
	Fingerprints []string
	Armoured     string
	Unfit        error // why no signature of this key would be accepted; nil if one might
}
