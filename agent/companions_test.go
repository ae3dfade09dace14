package agent

import (
	"slices"
	"testing"
)

func TestCompanionsStandBesideTheProgramsThatApply(t *testing.T) {
	for name, test := range map[string]struct{ users, want []string }{
		"Flux, by the one that applies": {
			users: []string{"system:serviceaccount:flux-system:kustomize-controller"},
			want: []string{
				"system:serviceaccount:flux-system:helm-controller", "system:serviceaccount:flux-system:image-automation-controller", "system:serviceaccount:flux-system:image-reflector-controller",
				"system:serviceaccount:flux-system:notification-controller", "system:serviceaccount:flux-system:source-controller", "system:serviceaccount:flux-system:source-watcher",
			},
		},
		"Argo CD, whatever the installation is called": {
			users: []string{"system:serviceaccount:cd:prod-argocd-application-controller"},
			want:  []string{"system:serviceaccount:cd:prod-argocd-applicationset-controller"},
		},
		"all are listed":                    {users: []string{"system:serviceaccount:argocd:argocd-application-controller", "system:serviceaccount:argocd:argocd-applicationset-controller"}},
		"source-controller applies nothing": {users: []string{"system:serviceaccount:flux-system:source-controller"}},
		"a person who is called so":         {users: []string{"kustomize-controller", "application-controller"}},
		"a runner":                          {users: []string{"system:serviceaccount:ci:runner"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Companions(test.users); !slices.Equal(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
