package admit

import (
	"cmp"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
	"github.com/commitgate/commitgate/snapshot"
)

const ownGate = `
apiVersion: commitgate.dev/v1alpha1
kind: Gate
metadata: {name: test}
spec:
  mode: Enforce
  roots: [{repository: shop, path: apps, agent: flux}]
  agents: [{name: flux, preset: Flux, users: [u]}]
`

const onlyKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGM26XPjUc00+v9OzBk95sY7rCEqh5pSLLdGIJyF8KOS"

// Whoever writes the gate's configuration decides what is believed: nobody does so alone, in any scope, exempt or not; and one signer must not give
// themselves by a commit what the rules of the repository do not.
func TestConfigurationIsGuarded(t *testing.T) {
	exempt := strings.Replace(declaredScope(), "  agents:\n", "  exemptions: [{name: ops, users: [carol], reason: everything}]\n  agents:\n", 1)
	for name, test := range map[string]struct {
		signers string // of the commit that last changed the Gate
		anchor  bool   // that commit is the trust anchor
		alone   bool   // the repository has one signer
		declare string // another Gate than is applied
		user    User
		want    Outcome
		reason  v1alpha1.Reason
	}{
		"the agent, signed by two":                      {signers: "alice bob", user: flux, want: Allow, reason: v1alpha1.ReasonFromGit},
		"the agent, signed by one":                      {signers: "alice", user: flux, want: Deny, reason: v1alpha1.ReasonConfigurationGuarded},
		"the agent, signed by one with two keys":        {signers: "alice alice", user: flux, want: Deny, reason: v1alpha1.ReasonConfigurationGuarded},
		"the agent, signed by the only signer there is": {signers: "alice", alone: true, user: flux, want: Allow, reason: v1alpha1.ReasonFromGit},
		"the agent, as the anchor has it":               {anchor: true, user: flux, want: Allow, reason: v1alpha1.ReasonFromGit},
		"the agent, what Git does not say":              {signers: "alice bob", declare: "mode: Audit", user: flux, want: Deny, reason: v1alpha1.ReasonFieldsDiffer},
		"the agent, what is nowhere in Git":             {declare: "none", user: flux, want: Deny, reason: v1alpha1.ReasonNotDeclared},
		"somebody who is exempt from everything":        {declare: "none", user: carol, want: Deny, reason: v1alpha1.ReasonConfigurationGuarded},
		"somebody with what Git says, signed by two":    {signers: "alice bob", user: carol, want: Allow, reason: v1alpha1.ReasonFromGit},
		"somebody with what Git says, signed by one":    {signers: "alice", user: carol, want: Deny, reason: v1alpha1.ReasonConfigurationGuarded},
	} {
		t.Run(name, func(t *testing.T) {
			config := exempt
			if test.alone {
				config = strings.Replace(config, "staleAfter: 1h}", "staleAfter: 1h, signers: [{principal: alice, ssh: [\""+onlyKey+"\"]}]}", 1)
			}
			w := newWorld(t, config)
			w.loose = true // the kind's schema does not matter here
			if test.declare != "none" {
				w.Truth = &snapshot.Truth{Current: w.snapshot("c1", testTime, strings.Replace(ownGate, "mode: Enforce", cmp.Or(test.declare, "mode: Enforce"), 1))}
			}
			for e := range w.Truth.Current.All() {
				e.Signatures = nil
				for _, p := range strings.Fields(test.signers) {
					e.Signatures = append(e.Signatures, signing.Signature{Principal: signing.Principal(p)})
				}
				if test.anchor {
					e.Changed = &git.Commit{ID: "abcdef6789012345678901234567890123456789"}
				}
			}
			w.want(name, request(test.user, nil, applied(t, ownGate)), test.want, test.reason)
		})
	}
}
