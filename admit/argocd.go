package admit

import (
	"strings"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
)

// argoCDNotes are the annotations that components of Argo CD beside its controllers leave on Argo CD's own objects, by resource; nil for others. They ask for
// a look, or tell what was told: nothing that is applied depends on them.
func argoCDNotes(component string) map[string][]string {
	switch component {
	case "server": // when the Git host calls, or somebody at the UI asks
		return map[string][]string{
			"argoproj.io/applications":    {"metadata.annotations[argocd.argoproj.io/refresh]", "metadata.annotations[argocd.argoproj.io/hydrate]"},
			"argoproj.io/applicationsets": {"metadata.annotations[argocd.argoproj.io/application-set-refresh]"},
		}
	case "notifications-controller":
		return map[string][]string{"argoproj.io/applications": {"metadata.annotations[notified.notifications.argoproj.io]"}}
	}
	return nil
}

// besideArgoCD are the users of the components beside an agent's application-controllers, with the names of the components.
func besideArgoCD(a *v1alpha1.Agent) map[string]string {
	users := map[string]string{}
	for _, u := range a.Users {
		installation, ok := strings.CutSuffix(u, agent.ApplicationController)
		if a.Preset != v1alpha1.PresetArgoCD || !ok || !strings.HasPrefix(u, "system:serviceaccount:") {
			continue
		}
		for _, component := range []string{"server", "notifications-controller"} {
			users[installation+component] = component
		}
	}
	return users
}

// noted lets a component of Argo CD leave its notes. Whatever else it asks for is somebody's at the UI, and judged as such.
func (j *judgement) noted() *Decision {
	notes := argoCDNotes(j.components[j.r.User.Name])[j.r.resource()]
	if len(notes) == 0 || j.id.agent != nil || !proven(j.r.User) || j.r.Subresource != "" || !changing(notes...)(j) {
		return nil
	}
	d := j.keptByArgoCD()
	d.Role = RoleController
	return d
}
