package manifest

import (
	"cmp"

	"github.com/commitgate/commitgate/agent"
)

// argoTracking is how an Argo CD marks the objects of its applications.
type argoTracking struct {
	method                 agent.ArgoCDTracking
	labelKey, installation string
}

// tracking reads Argo CD's settings, if its argocd-cm is declared in Git; else they are the defaults. Until everything is read, they are
// most likely those of the set before.
func (r *renderer) tracking(agentName string) argoTracking {
	if before, ok := r.trackingBefore[agentName]; ok && !r.settled {
		return before
	}
	t := argoTracking{method: agent.TrackByAnnotation, labelKey: "app.kubernetes.io/instance"}
	for i := range r.in.Gate.Agents {
		if a := &r.in.Gate.Agents[i]; a.Name == agentName {
			if o := r.value(Key{Kind: "ConfigMap", Namespace: argoNamespace(a), Name: "argocd-cm"}); o != nil {
				data := o.Content.Child("data")
				t.method = agent.ArgoCDTracking(cmp.Or(text(data, "application.resourceTrackingMethod"), string(t.method)))
				t.labelKey = cmp.Or(text(data, "application.instanceLabelKey"), t.labelKey)
				t.installation = text(data, "installationID")
			}
		}
	}
	return t
}

// TrackingLabel is the label by which the Argo CD of an agent knows its objects, where it goes by labels.
func (s *Set) TrackingLabel(agentName string) string { return s.tracking[agentName].labelKey }
