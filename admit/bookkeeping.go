package admit

import (
	"slices"
	"strings"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/snapshot"
)

// keeping is one line of the table of what a sync agent writes for itself: never a blanket.
type keeping struct {
	preset v1alpha1.Preset
	ops    string // C U D
	what   string // as in the table of controllers
	must   func(*judgement) bool
}

func bookkeepingTable() []keeping {
	finalizers := changing("metadata.finalizers")
	return []keeping{
		{v1alpha1.PresetFlux, "U", "kustomize.toolkit.fluxcd.io/*/status", nil},
		{v1alpha1.PresetFlux, "U", "source.toolkit.fluxcd.io/*/status", nil},
		{v1alpha1.PresetFlux, "U", "helm.toolkit.fluxcd.io/*/status", nil},
		{v1alpha1.PresetFlux, "U", "notification.toolkit.fluxcd.io/*/status", nil},
		{v1alpha1.PresetFlux, "U", "image.toolkit.fluxcd.io/*/status", nil},
		{v1alpha1.PresetFlux, "U", "kustomize.toolkit.fluxcd.io/*", finalizers},
		{v1alpha1.PresetFlux, "U", "source.toolkit.fluxcd.io/*", finalizers},
		{v1alpha1.PresetFlux, "U", "helm.toolkit.fluxcd.io/*", finalizers},
		{v1alpha1.PresetFlux, "U", "notification.toolkit.fluxcd.io/*", finalizers},
		{v1alpha1.PresetFlux, "U", "image.toolkit.fluxcd.io/*", finalizers},
		{v1alpha1.PresetFlux, "CUD", "source.toolkit.fluxcd.io/helmcharts", (*judgement).chartOfRelease},
		{v1alpha1.PresetFlux, "CUD", "secrets", (*judgement).releaseOfAgent},

		// status of an Application is no subresource: it comes with a write of the whole object.
		{v1alpha1.PresetArgoCD, "U", "argoproj.io/applications", changingNormal("status", "operation", "metadata.finalizers",
			"metadata.annotations[argocd.argoproj.io/refresh]", "metadata.annotations[argocd.argoproj.io/hydrate]")},
		{v1alpha1.PresetArgoCD, "U", "argoproj.io/applications/status", nil},
		{v1alpha1.PresetArgoCD, "U", "argoproj.io/appprojects", changingNormal("status", "metadata.finalizers")},
		{v1alpha1.PresetArgoCD, "U", "argoproj.io/applicationsets", changingNormal("status", "metadata.finalizers")},
		{v1alpha1.PresetArgoCD, "U", "argoproj.io/applicationsets/status", nil},
		{v1alpha1.PresetArgoCD, "U", "*/*", (*judgement).hookFinalizerRemoved},
		{v1alpha1.PresetArgoCD, "CU", "configmaps", (*judgement).shardsOfArgoCD},

		{v1alpha1.PresetFleet, "U", "fleet.cattle.io/*/status", nil},
		{v1alpha1.PresetFleet, "U", "fleet.cattle.io/*", finalizers},
		{v1alpha1.PresetFleet, "CUD", "secrets", (*judgement).releaseOfAgent},
		{v1alpha1.PresetFleet, "CUD", "secrets", (*judgement).fleetCredential},
		// Copies of what Git says, on their way to the agent. What it applies of them is judged like anything else.
		{v1alpha1.PresetFleet, "CUD", "fleet.cattle.io/bundles", (*judgement).bundleOfGitRepo},
		{v1alpha1.PresetFleet, "CUD", "fleet.cattle.io/bundledeployments", (*judgement).deploymentOfBundle},
		{v1alpha1.PresetFleet, "CUD", "fleet.cattle.io/contents", (*judgement).contentOfBundle},
		{v1alpha1.PresetFleet, "CUD", "secrets", (*judgement).fleetValues},

		{v1alpha1.PresetConfigSync, "U", "configsync.gke.io/*/status", nil},
		{v1alpha1.PresetConfigSync, "U", "*/*", (*judgement).marksTakenOff},
		{v1alpha1.PresetConfigSync, "U", "configsync.gke.io/*", finalizers},
		{v1alpha1.PresetConfigSync, "CUD", "kpt.dev/resourcegroups", nil},
		{v1alpha1.PresetConfigSync, "U", "kpt.dev/resourcegroups/status", nil},

		{v1alpha1.PresetPipeline, "CUD", "secrets", (*judgement).releaseOfAgent},
	}
}

// bookkeeping lets the sync agent write what it keeps for itself.
func (j *judgement) bookkeeping() *Decision {
	if j.id.agent == nil || j.r.Operation == Connect {
		return nil
	}
	op := string(j.r.Operation[:1])
	resource := j.r.resource()
	if j.r.Resource.Group == "" {
		resource = "/" + resource
	}
	for _, k := range j.keeping {
		if k.preset == j.id.agent.Preset && strings.Contains(k.ops, op) && matchesResource(k.what, resource) && (k.must == nil || k.must(j)) {
			d := allow(v1alpha1.ReasonBookkeeping)
			d.Rule = string(k.preset) + " " + k.what
			return d
		}
	}
	return nil
}

// changing holds for an UPDATE that changes nothing but these fields.
func changing(fields ...string) func(*judgement) bool {
	allowed := below(fields)
	return func(j *judgement) bool { return j.changesOnly(allowed) }
}

// changingNormal holds for an UPDATE that changes nothing but these fields in what its object says to the agent that reads it: Argo CD's controllers
// write an Application as they have read it, without what says nothing.
func changingNormal(fields ...string) func(*judgement) bool {
	allowed := below(fields)
	return func(j *judgement) bool {
		normal := agent.Normal(j.key.Group, j.key.Kind)
		if normal == nil || j.r.Operation != Update {
			return false
		}
		changed := j.types().Differences(normal(j.r.Old), normal(j.r.Object))
		return !slices.ContainsFunc(changed, func(path string) bool {
			return !slices.ContainsFunc(allowed, func(p account.Pattern) bool { return p.Match(path) })
		})
	}
}

// takeover lets Flux take away from an object that Git gives to it the marks of what applied it before: kubectl's, and those of Flux before it applied
// on the server's side; and changes nothing else. The object may hold anything at that moment: the apply that brings it to what Git says comes
// after that, and never if that is refused (fluxcd/pkg ssa, cleanupMetadata).
func (j *judgement) takeover() *Decision {
	annotations := []string{"kubectl.kubernetes.io/last-applied-configuration", "kustomize.toolkit.fluxcd.io/checksum", "fluxcd.io/sync-checksum"}
	marks := []account.Pattern{"metadata.labels[fluxcd.io/sync-gc-mark]"}
	for _, key := range annotations {
		marks = append(marks, account.Pattern("metadata.annotations["+key+"]"))
	}
	if j.id.agent.Preset != v1alpha1.PresetFlux || !j.changesOnly(marks) || j.marked("fluxcd.io/sync-gc-mark", labelsOf) ||
		slices.ContainsFunc(annotations, func(key string) bool { return j.marked(key, annotationsOf) }) ||
		!slices.ContainsFunc(j.candidates(), func(e *snapshot.Entry) bool { return e.Owner.Agent == j.id.agent.Name }) {
		return nil
	}
	d := allow(v1alpha1.ReasonBookkeeping)
	d.Rule = string(v1alpha1.PresetFlux) + " " + j.r.resource()
	return d
}

// marked tells whether an update leaves a label or annotation with another value, or takes one away that Git declares.
func (j *judgement) marked(key string, of func(map[string]any) map[string]any) bool {
	was, is := of(j.r.Old)[key], of(j.r.Object)[key]
	declared := func(e *snapshot.Entry) bool {
		return of(map[string]any{"metadata": e.Content.At("metadata")})[key] != nil
	}
	return is != nil && is != was || is == nil && was != nil && slices.ContainsFunc(j.candidates(), declared)
}

// hookFinalizerRemoved holds when Argo CD lets go of a hook that it made.
func (j *judgement) hookFinalizerRemoved() bool {
	return j.changesOnly([]account.Pattern{"metadata.finalizers", "metadata.finalizers**"}) &&
		slices.Contains(metadataList(j.r.Old, "finalizers"), any("argocd.argoproj.io/hook-finalizer")) && !addsFinalizer(j.r.Old, j.r.Object)
}

// shardsOfArgoCD holds for the ConfigMap in which application-controllers share out the clusters that they look after (controller/sharding).
func (j *judgement) shardsOfArgoCD() bool {
	namespace, _, _ := j.r.User.serviceAccount()
	data, _ := j.r.Object["data"].(map[string]any)
	return j.key.Name == "argocd-app-controller-shard-cm" && j.key.Namespace == namespace && len(data) == 1 && data["shardControllerMapping"] != nil &&
		j.r.Object["binaryData"] == nil && j.Truth.Current.Lookup(j.key) == nil
}

// marksTakenOff holds where Config Sync lets go of an object that Git declares no more (deletion: detach), or says not to manage (managed: disabled):
// it takes its labels and annotations off, and changes nothing else.
func (j *judgement) marksTakenOff() bool {
	if !j.changesOnly([]account.Pattern{"metadata.labels", "metadata.labels**", "metadata.annotations", "metadata.annotations**"}) || j.Truth.Current.Lookup(j.key) != nil {
		return false
	}
	onlyLost := func(before, now map[string]any) bool {
		for k, v := range now {
			if before[k] != v {
				return false
			}
		}
		for k := range before {
			if _, kept := now[k]; !kept && !agent.ConfigSyncMark(k) {
				return false
			}
		}
		return true
	}
	return onlyLost(labelsOf(j.r.Old), labelsOf(j.r.Object)) && onlyLost(annotationsOf(j.r.Old), annotationsOf(j.r.Object))
}

func addsFinalizer(old, object map[string]any) bool {
	before := metadataList(old, "finalizers")
	return slices.ContainsFunc(metadataList(object, "finalizers"), func(f any) bool { return !slices.Contains(before, f) })
}

// madeByOthers tells whether an object was made by a controller from what Git declares: it bears the labels of a template or of its owner, an
// agent's mark among them, and no agent ever prunes it. A claim of a StatefulSet is somebody's data.
func (j *judgement) madeByOthers() bool {
	if owner, ok := live.ControllerOf(j.r.Old); ok {
		if _, end := j.chain([]live.Owner{owner}); end == chainDeclared {
			return true
		}
	}
	if j.key.Group != "" || j.key.Kind != "PersistentVolumeClaim" {
		return false
	}
	set, _ := j.setOfClaim()
	return set != nil
}

// trackedByAgent tells whether a live object bears the mark of this agent: under the gate nobody else can set it.
func (j *judgement) trackedByAgent() bool {
	labels, annotations := labelsOf(j.r.Old), annotationsOf(j.r.Old)
	switch j.id.agent.Preset {
	case v1alpha1.PresetFlux:
		return labels["kustomize.toolkit.fluxcd.io/name"] != nil || labels["helm.toolkit.fluxcd.io/name"] != nil
	case v1alpha1.PresetArgoCD:
		return j.trackedByArgoCD(labels, annotations)
	case v1alpha1.PresetFleet:
		return annotations["objectset.rio.cattle.io/id"] != nil || annotations["meta.helm.sh/release-name"] != nil
	case v1alpha1.PresetConfigSync:
		return annotations["configmanagement.gke.io/managed"] == "enabled"
	case v1alpha1.PresetPipeline:
		return annotations["meta.helm.sh/release-name"] != nil || annotations["kubectl.kubernetes.io/last-applied-configuration"] != nil
	}
	return false
}

// trackedByArgoCD tells whether a live object bears the mark of an application that is its own: marks are copied to what controllers make. The
// mark of what has no namespace names one nevertheless, that of the application's destination; that of a generated name is there before the name.
func (j *judgement) trackedByArgoCD(labels, annotations map[string]any) bool {
	if annotations["argocd.argoproj.io/hook"] != nil || labels["app.kubernetes.io/instance"] != nil {
		return true
	}
	for s := range j.snapshots() {
		if s.Rendered != nil && labels[s.Rendered.TrackingLabel(j.id.agent.Name)] != nil {
			return true
		}
	}
	id, _ := annotations["argocd.argoproj.io/tracking-id"].(string)
	_, id, _ = strings.Cut(id, ":")
	kind, place, _ := strings.Cut(id, ":")
	namespace, name, ok := strings.Cut(place, "/")
	return ok && kind == j.key.Group+"/"+j.key.Kind && name == j.key.Name && (namespace == j.key.Namespace || j.key.Namespace == "")
}
