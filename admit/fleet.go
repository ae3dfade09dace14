package admit

import (
	"reflect"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
)

// bundleOfGitRepo holds for the Bundle that Fleet makes of a folder of a GitRepo: its files are those of a bundle, as verified commits have them.
func (j *judgement) bundleOfGitRepo() bool {
	if !j.copyOfGitRepo() {
		return false
	}
	resources := spec(j.r.Object)["resources"]
	if j.r.Operation == Delete || resources == nil || reflect.DeepEqual(resources, spec(j.r.Old)["resources"]) {
		return true
	}
	files, err := agent.FleetBundleResources(spec(j.r.Object))
	return err == nil && j.fromBundles(files)
}

// contentOfBundle holds for a Content, in which Fleet keeps the files of a bundle for its agents.
func (j *judgement) contentOfBundle() bool {
	if j.r.Operation == Delete || j.r.Operation == Update && !slices.ContainsFunc(j.changed, func(path string) bool {
		return !strings.HasPrefix(path, "metadata.") && !strings.HasPrefix(path, "status")
	}) {
		return true
	}
	content, _ := j.r.Object["content"].(string)
	files, err := agent.FleetContentResources(content)
	return err == nil && j.fromBundles(files)
}

// fromBundles tells whether files are those of bundles, by a revision inside the accepted window; where GitRepos are for other clusters, they may be
// theirs.
func (j *judgement) fromBundles(files []agent.FleetResource) bool {
	for s := range j.snapshots() {
		if s.Rendered == nil {
			continue
		}
		if from, unknown := s.Rendered.FromBundles(j.id.agent.Name, files); from || unknown {
			return true
		}
		if slices.ContainsFunc(s.OfKind(agent.FleetGroup, "GitRepo"), func(e *snapshot.Entry) bool { return !s.Rendered.Follows(e.Key) }) {
			return true
		}
	}
	return false
}

// copyOfGitRepo holds for the Bundle that Fleet makes of a folder of a GitRepo, and its BundleDeployment: Git declares the GitRepo, and where it is for
// this cluster, it makes a bundle of that name. What is deleted is a copy that Fleet makes anew if it should be there.
func (j *judgement) copyOfGitRepo() bool {
	for _, object := range []map[string]any{j.r.Object, j.r.Old} {
		if object == nil {
			continue
		}
		repo, bundle := j.fleetSource(object)
		if repo.Name == "" || j.r.Operation != Delete && !j.makesBundle(repo, bundle) {
			return false
		}
	}
	return true
}

// fleetSource is the GitRepo or HelmOp that a Bundle or BundleDeployment is of, and the name of the bundle.
func (j *judgement) fleetSource(object map[string]any) (repo manifest.Key, bundle string) {
	labels := labelsOf(object)
	repo = manifest.Key{Group: agent.FleetGroup, Kind: "GitRepo", Namespace: j.key.Namespace}
	if repo.Name, _ = labels["fleet.cattle.io/repo-name"].(string); repo.Name == "" {
		repo.Kind = "HelmOp"
		repo.Name, _ = labels["fleet.cattle.io/fleet-helm-name"].(string)
	}
	if namespace, ok := labels["fleet.cattle.io/bundle-namespace"].(string); ok {
		repo.Namespace = namespace
	}
	return repo, j.key.Name // a deployment is named as its bundle
}

// makesBundle tells whether a GitRepo makes a bundle, by a revision inside the accepted window. One that is for other clusters is not followed: what it
// makes is theirs.
func (j *judgement) makesBundle(repo manifest.Key, bundle string) bool {
	for s := range j.snapshots() {
		if s.Rendered != nil && (s.Rendered.MakesBundle(repo, bundle) || !s.Rendered.Follows(repo) && s.Lookup(repo) != nil) {
			return true
		}
	}
	return false
}

// deploymentOfBundle holds for the BundleDeployment of a bundle that says of its release what Git says: in the namespace in which Fleet keeps this
// cluster, it is one that is rendered. What the request leaves as it was may be of an older commit: Fleet rolls out in steps.
func (j *judgement) deploymentOfBundle() bool {
	if !j.copyOfGitRepo() {
		return false
	}
	if j.r.Operation == Delete || !j.ofThisCluster() {
		return true
	}
	for _, field := range []string{"options", "stagedOptions"} {
		options, _ := spec(j.r.Object)[field].(map[string]any)
		old, _ := spec(j.r.Old)[field].(map[string]any)
		namespace, name := fleetRelease(options, j.key.Name)
		if was, before := fleetRelease(old, j.key.Name); old != nil && namespace == was && name == before {
			continue
		}
		if options != nil && !j.releaseDeclared(namespace, name) {
			return false
		}
	}
	return true
}

// ofThisCluster tells whether an object lives in the namespace that Fleet has made for this cluster: cluster-NAMESPACE-NAME-DIGEST, cut where it is long.
func (j *judgement) ofThisCluster() bool {
	c := manifest.FleetCluster(j.id.agent)
	prefix := "cluster-" + c.Namespace + "-" + c.Name
	return strings.HasPrefix(j.key.Namespace, prefix[:min(len(prefix), 50)])
}

// fleetRelease is the release that a deployment's options name.
func fleetRelease(options map[string]any, bundle string) (namespace, name string) {
	text := func(m map[string]any, k string) string { s, _ := m[k].(string); return s }
	helm, _ := options["helm"].(map[string]any)
	return manifest.FleetRelease(text(options, "namespace"), text(options, "defaultNamespace"), text(helm, "releaseName"), bundle)
}

// fleetValues holds for the Secrets in which Fleet keeps the values of bundles and deployments, and passes on what agents fetch them with: their types
// serve nothing else.
func (j *judgement) fleetValues() bool {
	for _, object := range []map[string]any{j.r.Object, j.r.Old} {
		kind, _ := object["type"].(string)
		if object != nil && !slices.Contains([]string{
			"fleet.cattle.io/bundle-values/v1alpha1", "fleet.cattle.io/bundle-deployment/v1alpha1",
			"fleet.cattle.io/bundle-helmops-access/v1alpha1", "fleet.cattle.io/bundle-oci-storage/v1alpha1",
		}, kind) {
			return false
		}
	}
	return true
}

// fleetCredential holds for what an agent keeps in its own namespace to ask its controller with: it makes the one when it registers, and deletes the
// other, with which it did. What it is told there is judged when it applies it.
func (j *judgement) fleetCredential() bool {
	namespace, _, ok := j.r.User.serviceAccount()
	return ok && namespace == j.key.Namespace && (j.key.Name == "fleet-agent" || j.key.Name == "fleet-agent-bootstrap" && j.r.Operation == Delete)
}
