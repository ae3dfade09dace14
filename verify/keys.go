package verify

import (
	"fmt"
	"slices"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/signing"
)

// OpenPGPSigners makes signers of a file of public keys, as gpg --export writes it: one for each e-mail address. unfit are the keys that are left out
// because no signature of theirs would be accepted.
func OpenPGPSigners(data []byte) (signers []v1alpha1.Signer, unfit []error, err error) {
	keys, err := signing.OpenPGPSigners(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	for _, k := range keys {
		if k.Unfit != nil {
			unfit = append(unfit, fmt.Errorf("OpenPGP key %s of %s: %w", k.Fingerprint, k.Principal, k.Unfit))
			continue
		}
		i := slices.IndexFunc(signers, func(s v1alpha1.Signer) bool { return s.Principal == string(k.Principal) })
		if i < 0 {
			i = len(signers)
			signers = append(signers, v1alpha1.Signer{Principal: string(k.Principal)})
		}
		signers[i].OpenPGP += k.Armoured
	}
	return signers, unfit, nil
}
