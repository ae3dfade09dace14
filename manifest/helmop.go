package manifest

import (
	"cmp"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
)

// helmOp is what matters of a HelmOp (fleet.cattle.io/v1alpha1): a bundle of a chart alone.
type helmOp struct {
	Spec helmOpSpec `json:"spec"`
}

type helmOpSpec struct {
	fleetOptions
	Targets []fleetTarget `json:"targets,omitempty"`
}

// helmOpUnit is a HelmOp: it makes one bundle, of its own name, from a chart that comes from a repository or registry.
type helmOpUnit struct {
	self    about
	spec    helmOpSpec
	cluster v1alpha1.FleetCluster
}

// meetFleet takes note of Fleet's objects that make bundles.
func (r *renderer) meetFleet(o *Object, above *about) bool {
	switch o.Kind {
	case "GitRepo":
		return r.meetGitRepo(o, above)
	case "HelmOp":
		return r.meetHelmOp(o, above)
	case "Bundle", "BundleNamespaceMapping":
		if a := r.agentWith(v1alpha1.PresetFleet, o.Owner.Agent); a == nil {
			return false
		}
		why := "files in a Bundle are copies: put them into a folder, and let a GitRepo name it"
		if o.Kind == "BundleNamespaceMapping" {
			why = "bundles of another namespace are not looked for: declare their GitRepos in the namespace of the cluster"
		}
		r.unfollows = append(r.unfollows, Problem{o.Source.Repository, o.Source.Path, o.Source.Line, o.Key.String() + " is not followed: " + why})
		return true
	}
	return false
}

func (r *renderer) meetHelmOp(o *Object, above *about) bool {
	a := r.agentWith(v1alpha1.PresetFleet, o.Owner.Agent)
	if a == nil {
		return false
	}
	var h helmOp
	if !r.decodeSpec(o, &h) {
		return true
	}
	u := &helmOpUnit{
		self: about{owner: agent.Owner{Agent: a.Name, Group: o.Group, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}, at: o.Source, depth: above.depth + 1},
		spec: h.Spec, cluster: FleetCluster(a),
	}
	if o.Source.Repository != "" && o.Namespace != u.cluster.Namespace {
		return true // found in Git, and for other clusters
	}
	u.self.spec = specText([]any{h.Spec, u.cluster})
	r.add(u)
	return true
}

func (u *helmOpUnit) about() *about                { return &u.self }
func (u *helmOpUnit) waits(*renderer, bool) string { return "" }
func (u *helmOpUnit) taken(*renderer) string       { return "" }

// dress: a HelmOp applies nothing by itself.
func (u *helmOpUnit) dress(*renderer, *Object) bool { return false }

// read makes the bundle of the HelmOp (fleet, internal/cmd/controller/helmops). Values files are no part of it: there is no folder that they could be in.
func (u *helmOpUnit) read(r *renderer, b *Build) error {
	b.Repository, b.Path = u.self.at.Repository, cmp.Or(u.self.at.Path, ".")
	b.Bundles = []string{u.self.owner.Name}
	targets := u.spec.Targets
	if len(targets) == 0 {
		targets = []fleetTarget{{Name: "default", ClusterGroup: "default"}}
	}
	if !chooses(targets, u.cluster) {
		b.Elsewhere = true
		return nil
	}
	found := &fleetBundle{Name: u.self.owner.Name, Of: u.self.owner.Name, Dir: file{b.Repository, b.Path}, ChartAlone: true, Remote: true, Scope: u.cluster.Scope}
	y := &fleetYAML{fleetOptions: u.spec.fleetOptions, Targets: targets}
	found.Options, _ = y.optionsFor(u.cluster)
	return r.finishBundle(b, found, u.cluster)
}
