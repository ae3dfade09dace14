package signing

import (
	"slices"

	"github.com/commitgate/commitgate/git"
)

// Approvers are the distinct principals behind some signatures but one: the author where the author signed, else whoever signed first. Whatever
// a commit says of its author, one person's signatures never make an approver. The order is that of the signatures.
func Approvers(author git.Person, signatures []Signature) []Principal {
	var distinct []Principal
	for _, s := range signatures {
		if s.Principal != "" && !slices.Contains(distinct, s.Principal) {
			distinct = append(distinct, s.Principal)
		}
	}
	if len(distinct) < 2 {
		return nil
	}
	own := max(slices.Index(distinct, Principal(author.Email)), 0)
	return slices.Delete(distinct, own, own+1)
}
