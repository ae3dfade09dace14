package agent

import (
	"slices"
	"strings"
)

// fluxControllers are the names of the service accounts of Flux's controllers (fluxcd/flux2 manifests/bases). The first two apply.
func fluxControllers() []string {
	return []string{"kustomize-controller", "helm-controller", "source-controller", "notification-controller", "image-reflector-controller", "image-automation-controller", "source-watcher"}
}

// The ends of the names of Argo CD's service accounts. What stands before them is the name of the installation.
const (
	ApplicationController    = "application-controller"
	ApplicationSetController = "applicationset-controller"
)

// Companions are the users of the other programs of an installation whose applying programs are among users: of Flux the controllers in the same namespace,
// which keep the status of its own kinds and without which nothing is ever applied, of Argo CD the applicationset-controller. The names are
// sorted; those in users are left out.
func Companions(users []string) []string {
	var out []string
	for _, user := range users {
		name, ok := strings.CutPrefix(user, "system:serviceaccount:")
		if !ok {
			continue
		}
		namespace, account, _ := strings.Cut(name, ":")
		if slices.Contains(fluxControllers()[:2], account) {
			for _, controller := range fluxControllers() {
				out = append(out, "system:serviceaccount:"+namespace+":"+controller)
			}
		}
		if installation, ok := strings.CutSuffix(user, ApplicationController); ok {
			out = append(out, installation+ApplicationSetController)
		}
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(user string) bool { return slices.Contains(users, user) })
}
