package admit

import (
	"slices"
	"strings"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
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
		{v1alpha1.PresetFlux, "CUD", "secrets", (*judgement).helmRelease},

		// status of an Application is no subresource: it comes with a write of the whole object.
		{v1alpha1.PresetArgoCD, "U", "argoproj.io/applications", changingNormal("status", "operation", "metadata.finalizers",
			"metadata.annotations[argocd.argoproj.io/refresh]", "metadata.annotations[argocd.argoproj.io/hydrate]")},
		{v1alpha1.PresetArgoCD, "U", "argoproj.io/applications/status", nil},
		{v1alpha1.PresetArgoCD, "U", "argoproj.io/appprojects", changingNormal("status", "metadata.finalizers")},
		{v1alpha1.PresetArgoCD, "U", "argoproj.io/applicationsets", changingNormal("status", "metadata.finalizers")},
		{v1alpha1.PresetArgoCD, "U", "argoproj.io/applicationsets/status", nil},
		{v1alpha1.PresetArgoCD, "U", "*/*", (*judgement).hookFinalizerRemoved},

		{v1alpha1.PresetFleet, "U", "fleet.cattle.io/*/status", nil},
		{v1alpha1.PresetFleet, "U", "fleet.cattle.io/*", finalizers},
		{v1alpha1.PresetFleet, "CUD", "secrets", (*judgement).helmRelease},
		// Copies of what Git says, on their way to the agent. What it applies of them is judged like anything else.
		{v1alpha1.PresetFleet, "CUD", "fleet.cattle.io/bundles", (*judgement).copyOfGitRepo},
		{v1alpha1.PresetFleet, "CUD", "fleet.cattle.io/bundledeployments", (*judgement).copyOfGitRepo},
		{v1alpha1.PresetFleet, "CUD", "fleet.cattle.io/contents", nil},
		{v1alpha1.PresetFleet, "CUD", "secrets", (*judgement).fleetValues},

		{v1alpha1.PresetConfigSync, "U", "configsync.gke.io/*/status", nil},
		{v1alpha1.PresetConfigSync, "U", "configsync.gke.io/*", finalizers},
		{v1alpha1.PresetConfigSync, "CUD", "kpt.dev/resourcegroups", nil},
		{v1alpha1.PresetConfigSync, "U", "kpt.dev/resourcegroups/status", nil},

		{v1alpha1.PresetPipeline, "CUD", "secrets", (*judgement).releaseOfPipeline},
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
	for _, k := range bookkeepingTable() {
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

// helmRelease holds for the Secret in which Helm keeps a release: its type serves nothing else.
func (j *judgement) helmRelease() bool {
	for _, object := range []map[string]any{j.r.Object, j.r.Old} {
		if object == nil {
			continue
		}
		if object["type"] != "helm.sh/release.v1" || !strings.HasPrefix(j.key.Name, "sh.helm.release.v1.") || labelsOf(object)["owner"] != "helm" {
			return false
		}
	}
	return true
}

// releaseOfPipeline holds for the Secrets of the releases that the configuration declares for this pipeline. Their content is Helm's own and cannot be
// compared with anything. While the release is declared, its record is not marked as going, nor deleted while it is the one in force: what is
// deleted for an uninstall would be refused one by one, and leave Helm with a release that it takes for half gone.
func (j *judgement) releaseOfPipeline() bool {
	if !j.helmRelease() {
		return false
	}
	object := j.r.Object
	if object == nil {
		object = j.r.Old
	}
	labels := labelsOf(object)
	name, _ := labels["name"].(string)
	if rest, ok := strings.CutPrefix(j.key.Name, "sh.helm.release.v1."+name+".v"); !ok || name == "" || strings.Trim(rest, "0123456789") != "" {
		return false
	}
	release, declared := j.releaseDeclared(j.key.Namespace, name)
	switch j.r.Operation {
	case Create:
		return declared
	case Update:
		return !declared || release.Rollback || labels["status"] != "uninstalling" && labels["status"] != "uninstalled"
	}
	return !declared || release.Rollback || labels["status"] != "deployed"
}

// releaseDeclared finds a release of the agent among those that are rendered.
func (j *judgement) releaseDeclared(namespace, name string) (manifest.Release, bool) {
	for s := range j.snapshots() {
		if s.Rendered == nil {
			continue
		}
		for _, b := range s.Rendered.Builds {
			if b.Owner.Agent == j.id.agent.Name && b.Release.Namespace == namespace && b.Release.Name == name {
				return b.Release, true
			}
		}
	}
	return manifest.Release{}, false
}

// chartOfRelease holds for the HelmChart that helm-controller makes from a HelmRelease: NAMESPACE-NAME, of a declared release
// where releases are guarded.
func (j *judgement) chartOfRelease() bool {
	object := j.r.Object
	if object == nil {
		object = j.r.Old
	}
	labels := labelsOf(object)
	name, _ := labels["helm.toolkit.fluxcd.io/name"].(string)
	namespace, _ := labels["helm.toolkit.fluxcd.io/namespace"].(string)
	if name == "" || j.key.Name != namespace+"-"+name {
		return false
	}
	release := manifest.Key{Group: "helm.toolkit.fluxcd.io", Kind: "HelmRelease", Namespace: namespace, Name: name}
	return j.r.Operation == Delete || j.declared(release) != nil
}

// copyOfGitRepo holds for the Bundle that Fleet makes of a folder of a GitRepo, and its BundleDeployment: the GitRepo must be one that is rendered.
func (j *judgement) copyOfGitRepo() bool {
	for _, object := range []map[string]any{j.r.Object, j.r.Old} {
		if object == nil {
			continue
		}
		labels := labelsOf(object)
		k := manifest.Key{Group: agent.FleetGroup, Kind: "GitRepo", Namespace: j.key.Namespace}
		k.Name, _ = labels["fleet.cattle.io/repo-name"].(string)
		if namespace, ok := labels["fleet.cattle.io/bundle-namespace"].(string); ok {
			k.Namespace = namespace
		}
		if k.Name == "" || j.r.Operation != Delete && !j.rendered(k) {
			return false
		}
	}
	return true
}

// rendered tells whether an agent's object is followed, whether it stands in Git or in the configuration.
func (j *judgement) rendered(k manifest.Key) bool {
	for s := range j.snapshots() {
		if s.Rendered != nil && slices.ContainsFunc(s.Rendered.Builds, func(b *manifest.Build) bool { return b.OwnerKey() == k }) {
			return true
		}
	}
	return false
}

// fleetValues holds for the Secrets in which Fleet keeps the values of bundles and deployments: their types serve nothing else.
func (j *judgement) fleetValues() bool {
	for _, object := range []map[string]any{j.r.Object, j.r.Old} {
		if object != nil && object["type"] != "fleet.cattle.io/bundle-values/v1alpha1" && object["type"] != "fleet.cattle.io/bundle-deployment/v1alpha1" {
			return false
		}
	}
	return true
}

// hookFinalizerRemoved holds when Argo CD lets go of a hook that it made.
func (j *judgement) hookFinalizerRemoved() bool {
	return j.changesOnly([]account.Pattern{"metadata.finalizers", "metadata.finalizers**"}) &&
		slices.Contains(metadataList(j.r.Old, "finalizers"), any("argocd.argoproj.io/hook-finalizer")) && !addsFinalizer(j.r.Old, j.r.Object)
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
		id, _ := annotations["argocd.argoproj.io/tracking-id"].(string)
		own := j.key.Group + "/" + j.key.Kind + ":" + j.key.Namespace + "/" + j.key.Name
		return strings.HasSuffix(id, ":"+own) || annotations["argocd.argoproj.io/hook"] != nil || labels["app.kubernetes.io/instance"] != nil
	case v1alpha1.PresetFleet:
		return annotations["objectset.rio.cattle.io/id"] != nil || annotations["meta.helm.sh/release-name"] != nil
	case v1alpha1.PresetConfigSync:
		return annotations["configmanagement.gke.io/managed"] == "enabled"
	case v1alpha1.PresetPipeline:
		return annotations["meta.helm.sh/release-name"] != nil || annotations["kubectl.kubernetes.io/last-applied-configuration"] != nil
	}
	return false
}
