package agent

import (
	"maps"
	"slices"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

func TestCompanionsStandBesideTheProgramsThatApply(t *testing.T) {
	flux := []string{
		"system:serviceaccount:flux-system:image-automation-controller", "system:serviceaccount:flux-system:image-reflector-controller", "system:serviceaccount:flux-system:notification-controller",
		"system:serviceaccount:flux-system:source-controller", "system:serviceaccount:flux-system:source-watcher",
	}
	for name, test := range map[string]struct {
		preset      v1alpha1.Preset
		users, want []string
	}{
		"Flux, by the one that applies":      {v1alpha1.PresetFlux, []string{"system:serviceaccount:flux-system:kustomize-controller"}, flux},
		"Flux, by both that apply":           {v1alpha1.PresetFlux, []string{"system:serviceaccount:flux-system:kustomize-controller", "system:serviceaccount:flux-system:helm-controller"}, flux},
		"what is listed is an agent as such": {v1alpha1.PresetFlux, append([]string{"system:serviceaccount:flux-system:kustomize-controller"}, flux...), nil},
		"Argo CD, whatever the installation is called": {v1alpha1.PresetArgoCD, []string{"system:serviceaccount:cd:prod-argocd-application-controller"}, []string{
			"system:serviceaccount:cd:prod-argocd-applicationset-controller", "system:serviceaccount:cd:prod-argocd-notifications-controller", "system:serviceaccount:cd:prod-argocd-server",
		}},
		"source-controller applies nothing": {v1alpha1.PresetFlux, []string{"system:serviceaccount:flux-system:source-controller"}, nil},
		"a person who is called so":         {v1alpha1.PresetFlux, []string{"kustomize-controller"}, nil},
		"a runner that is called so":        {v1alpha1.PresetPipeline, []string{"system:serviceaccount:ci:kustomize-controller", "system:serviceaccount:ci:application-controller"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := slices.Sorted(maps.Keys(Companions(test.preset, test.users))); !slices.Equal(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
