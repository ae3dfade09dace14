package admit

import (
	"strings"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/snapshot"
)

// The ends of the names of Argo CD's service accounts. What stands before them is the name of the installation.
const (
	applicationController    = "application-controller"
	applicationSetController = "applicationset-controller"
)

// applicationSetUsers are the users of an agent's applicationset-controller: those that the configuration lists, and otherwise those beside its
// application-controllers.
func applicationSetUsers(a *v1alpha1.Agent) []string {
	if a.Preset != v1alpha1.PresetArgoCD {
		return nil
	}
	var listed, beside []string
	for _, u := range a.Users {
		if installation, ok := strings.CutSuffix(u, applicationSetController); ok {
			listed = append(listed, u)
		} else if installation, ok = strings.CutSuffix(u, applicationController); ok && strings.HasPrefix(u, "system:serviceaccount:") {
			beside = append(beside, installation+applicationSetController)
		}
	}
	if listed != nil {
		return listed
	}
	return beside
}

// applicationSets judges Argo CD's applicationset-controller. It makes the Applications that ApplicationSets generate, as they are
// rendered from Git, and keeps the status of the sets. It is nobody else: what the rest of the agent may is not its own.
func (j *judgement) applicationSets() *Decision {
	if !j.id.sets || j.r.Operation == Connect {
		return nil
	}
	switch j.r.resource() {
	case "argoproj.io/applicationsets", "argoproj.io/applicationsets/status":
		if j.r.Operation == Update && (j.r.Subresource == "status" || changing("status", "metadata.finalizers", "metadata.annotations[argocd.argoproj.io/application-set-refresh]")(j)) {
			d := allow(v1alpha1.ReasonBookkeeping)
			d.Rule = string(v1alpha1.PresetArgoCD) + " " + j.r.resource()
			return d
		}
	case "argoproj.io/applications":
		if d := j.applicationOfSet(); d != nil {
			return d
		}
	}
	if d := j.notGuarded(); d != nil {
		return d
	}
	return j.ahead(deny(v1alpha1.ReasonNotDeclared, "%s may not %s: it makes the Applications of ApplicationSets that Git declares%s, and nothing else.\n"+
		"Next: declare it in Git, signed; generators that ask a cluster or a forge are not followed.", j.r.User.Name, j.what(), j.heads()))
}

// applicationOfSet judges a write of an Application; nil if no ApplicationSet that Git declares has to do with it.
func (j *judgement) applicationOfSet() *Decision {
	candidates := j.candidates()
	if j.r.Operation == Delete {
		if owner, ok := live.ControllerOf(j.r.Old); len(candidates) == 0 && !(ok && isApplicationSet(owner)) {
			return nil
		}
		if current := j.Truth.Current.Lookup(j.key); current != nil {
			return j.agentDeletes(candidates) // refuses: it is still declared
		}
		return allow(v1alpha1.ReasonPruned)
	}
	var best *Decision
	for _, e := range candidates {
		if e.Owner.Kind != "ApplicationSet" || !ownedBySet(j.r.Object, e) {
			continue
		}
		d := j.faithful(e, below([]string{"metadata.ownerReferences"})...)
		if d.Outcome == Allow {
			return d
		}
		if best == nil { // the current revision's
			best = d
		}
	}
	if best == nil {
		return nil
	}
	return j.ahead(best)
}

func isApplicationSet(o live.Owner) bool {
	return o.Group == "argoproj.io" && o.Kind == "ApplicationSet"
}

// ownedBySet tells whether an Application belongs to the ApplicationSet that declares it, and to nobody else: an owner more is one whose end is the
// Application's.
func ownedBySet(application map[string]any, e *snapshot.Entry) bool {
	owners := live.OwnersOf(application)
	return len(owners) == 1 && owners[0].Controller && isApplicationSet(owners[0]) && owners[0].Name == e.Owner.Name && owners[0].Namespace == e.Owner.Namespace
}
