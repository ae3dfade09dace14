package admit

import (
	"slices"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
	"github.com/commitgate/commitgate/snapshot"
)

// isConfiguration tells whether a request is about what a gate goes by: a Gate or a TrustedRepository, or a subresource of one.
func (j *judgement) isConfiguration() bool {
	return j.r.Resource.Group == "commitgate.dev" && (j.r.Resource.Resource == "gates" || j.r.Resource.Resource == "trustedrepositories")
}

// guardConfiguration refuses, in every scope and whoever is exempt, changes of the gate's own configuration that are not from Git, but for a grant: who
// writes it decides what is believed. What the agent applies is judged by content like anything else; and because a commit that changes the
// configuration could give its author what the rules of the repository do not, it takes two people, as a change of the signer list does.
func (j *judgement) guardConfiguration() *Decision {
	if !j.isConfiguration() {
		return nil
	}
	if j.id.agent != nil && j.r.Subresource == "" {
		e := j.entry()
		if e == nil || j.r.Operation == Delete || j.vouched(e) {
			return nil
		}
		d := deny(v1alpha1.ReasonConfigurationGuarded, "%s may not %s: the commit that last changed %s is signed by one person, and the gate's configuration takes two.\n"+
			"Next: change it in a commit that another signer merges or signs, too.", j.r.User.Name, j.what(), place(e))
		d.Entry, d.Ahead = e, true
		return d
	}
	if d := j.granted(); d != nil {
		return d
	}
	if d := j.equalToGit(); d != nil && j.vouched(d.Entry) {
		return d
	}
	return deny(v1alpha1.ReasonConfigurationGuarded, "%s may not %s: the gate goes by it.\nNext: change it in Git, signed by two, and let the agent apply it; or have a grant signed.", j.r.User.Name, j.what())
}

// vouched tells whether enough people stand for a declared piece of configuration: two, or the anchor, or the only signer that its repository has.
func (j *judgement) vouched(e *snapshot.Entry) bool {
	if e.Changed != nil && j.anchors[e.Source.Repository] == e.Changed.ID {
		return true
	}
	var people []signing.Principal
	for _, s := range e.Signatures {
		if !slices.Contains(people, s.Principal) {
			people = append(people, s.Principal)
		}
	}
	return len(people) > 1 || len(people) == 1 && j.alone[e.Source.Repository]
}

// standing is what the configuration says of who may change a repository, as far as guardConfiguration asks.
func (g *Gate) standing(r *v1alpha1.TrustedRepository) {
	g.anchors[r.Name] = git.ID(r.Spec.Anchor.Commit)
	people := 0
	for _, s := range r.Spec.Signers {
		if !s.Forge {
			people++
		}
	}
	g.alone[r.Name] = people == 1 && r.Spec.AllowedSigners == "" && r.Spec.SignerList == ""
}
