package agent

import (
	"slices"
	"strings"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

// The ends of the names of Argo CD's service accounts. What stands before them is the name of the installation.
const (
	ApplicationController         = "application-controller"
	ApplicationSetController      = "applicationset-controller"
	ArgoCDServer                  = "server"
	ArgoCDNotificationsController = "notifications-controller"
)

// fluxCompanions are the service accounts of those of Flux's controllers that apply nothing (fluxcd/flux2, manifests/bases).
func fluxCompanions() []string {
	return []string{"source-controller", "notification-controller", "image-reflector-controller", "image-automation-controller", "source-watcher"}
}

// IsFluxCompanion tells whether a component is one of Flux's controllers that apply nothing.
func IsFluxCompanion(component string) bool { return slices.Contains(fluxCompanions(), component) }

// Companions are the users of the other programs of an agent's installation, with what they are: those beside the users that apply. They keep the status
// of the agent's own kinds, without which nothing is ever applied, and leave notes on them.
func Companions(preset v1alpha1.Preset, users []string) map[string]string {
	out := map[string]string{}
	for _, user := range users {
		if !strings.HasPrefix(user, "system:serviceaccount:") {
			continue
		}
		switch end := user[strings.LastIndex(user, ":")+1:]; {
		case preset == v1alpha1.PresetFlux && (end == "kustomize-controller" || end == "helm-controller"):
			for _, component := range fluxCompanions() {
				out[strings.TrimSuffix(user, end)+component] = component
			}
		case preset == v1alpha1.PresetArgoCD && strings.HasSuffix(end, ApplicationController):
			for _, component := range []string{ApplicationSetController, ArgoCDServer, ArgoCDNotificationsController} {
				out[strings.TrimSuffix(user, ApplicationController)+component] = component
			}
		}
	}
	for _, user := range users {
		delete(out, user)
	}
	return out
}
