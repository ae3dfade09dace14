package admit

import (
	"strings"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
)

// companion is a program of an agent's installation beside those that apply.
type companion struct {
	component string
	agent     *v1alpha1.Agent
}

// argoCDNotes are the annotations that components of Argo CD beside its controllers leave on Argo CD's own objects, by resource; nil for others. They ask for
// a look, or tell what was told: nothing that is applied depends on them.
func argoCDNotes(component string) map[string][]string {
	switch component {
	case agent.ArgoCDServer: // when the Git host calls, or somebody at the UI asks
		return map[string][]string{
			"argoproj.io/applications":    {"metadata.annotations[argocd.argoproj.io/refresh]", "metadata.annotations[argocd.argoproj.io/hydrate]"},
			"argoproj.io/applicationsets": {"metadata.annotations[argocd.argoproj.io/application-set-refresh]"},
		}
	case agent.ArgoCDNotificationsController:
		return map[string][]string{"argoproj.io/applications": {"metadata.annotations[notified.notifications.argoproj.io]"}}
	}
	return nil
}

// noted lets the programs beside those that apply keep status, and leave notes, on the agent's own kinds. Whatever else they ask for is somebody's at
// the UI, or a thief's, and judged as such.
func (j *judgement) noted() *Decision {
	c, ok := j.companions[j.r.User.Name]
	if !ok || j.id.agent != nil || !proven(j.r.User) || j.r.Operation != Update {
		return nil
	}
	d := j.notedBy(c.component)
	if d == nil {
		return nil
	}
	if wrong := wrongPod(j.r.User, c.agent, true); wrong != nil {
		return wrong
	}
	return d
}

func (j *judgement) notedBy(component string) *Decision {
	if notes := argoCDNotes(component)[j.r.resource()]; len(notes) > 0 && j.r.Subresource == "" && changing(notes...)(j) {
		d := j.keptByArgoCD()
		d.Role = RoleController
		return d
	}
	if agent.IsFluxCompanion(component) && strings.HasSuffix(j.r.Resource.Group, ".toolkit.fluxcd.io") &&
		(j.r.Subresource == "status" || j.r.Subresource == "" && changing("metadata.finalizers", "metadata.annotations[reconcile.fluxcd.io/requestedAt]")(j)) {
		d := allow(v1alpha1.ReasonBookkeeping)
		d.Role, d.Rule = RoleController, "Flux "+component
		return d
	}
	return nil
}
