package manifest

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
)

// gitRepo is what matters of a GitRepo (fleet.cattle.io/v1alpha1).
type gitRepo struct {
	Spec gitRepoSpec `json:"spec"`
}

type gitRepoSpec struct {
	Repo            string   `json:"repo,omitempty"`
	Branch          string   `json:"branch,omitempty"`
	Revision        string   `json:"revision,omitempty"`
	Paths           []string `json:"paths,omitempty"`
	TargetNamespace string   `json:"targetNamespace,omitempty"`
	KeepResources   bool     `json:"keepResources,omitempty"`
	ServiceAccount  string   `json:"serviceAccount,omitempty"`
	// Bundles are given by hand: a folder, and in it the file that stands in for its fleet.yaml.
	Bundles []struct {
		Base    string `json:"base"`
		Options string `json:"options,omitempty"`
	} `json:"bundles,omitempty"`
	Targets []fleetTarget `json:"targets,omitempty"`
}

// fleetTarget chooses clusters. In a fleet.yaml it also changes the options for them.
type fleetTarget struct {
	Name                 string         `json:"name,omitempty"`
	ClusterName          string         `json:"clusterName,omitempty"`
	ClusterSelector      map[string]any `json:"clusterSelector,omitempty"`
	ClusterGroup         string         `json:"clusterGroup,omitempty"`
	ClusterGroupSelector map[string]any `json:"clusterGroupSelector,omitempty"`
	DoNotDeploy          bool           `json:"doNotDeploy,omitempty"`
	fleetOptions
}

// gitRepoUnit is a GitRepo: it finds bundles, which are followed like objects that stand in a file, and applies nothing itself.
type gitRepoUnit struct {
	self    about
	spec    gitRepoSpec
	cluster v1alpha1.FleetCluster
}

func (r *renderer) meetGitRepo(o *Object, above *about) bool {
	a := r.agentWith(v1alpha1.PresetFleet, o.Owner.Agent)
	if a == nil {
		return false
	}
	var g gitRepo
	if !r.decodeSpec(o, &g) {
		return true
	}
	u := &gitRepoUnit{
		self: about{owner: agent.Owner{Agent: a.Name, Group: o.Group, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}, at: o.Source, depth: above.depth + 1},
		spec: g.Spec, cluster: FleetCluster(a),
	}
	if o.Source.Repository != "" && o.Namespace != u.cluster.Namespace {
		return true // found in Git, and for other clusters
	}
	u.self.spec = specText([]any{g.Spec, u.cluster})
	r.add(u)
	return true
}

// FleetCluster is what Fleet knows of this cluster: the local one, unless the configuration says otherwise (fleet, charts/fleet, and the bootstrap of
// its controller).
func FleetCluster(a *v1alpha1.Agent) v1alpha1.FleetCluster {
	var c v1alpha1.FleetCluster
	if a.Fleet != nil {
		c = *a.Fleet
	}
	c.Namespace = cmp.Or(c.Namespace, "fleet-local")
	if c.Namespace != "fleet-local" {
		return c
	}
	c.Name = cmp.Or(c.Name, "local")
	if c.Labels == nil {
		c.Labels = map[string]string{"name": "local"}
	}
	if c.Groups == nil {
		c.Groups = []v1alpha1.FleetGroup{{Name: "default"}}
	}
	return c
}

func (u *gitRepoUnit) about() *about                { return &u.self }
func (u *gitRepoUnit) waits(*renderer, bool) string { return "" }
func (u *gitRepoUnit) taken(*renderer) string       { return "" }

// dress: a GitRepo applies nothing by itself.
func (u *gitRepoUnit) dress(*renderer, *Object) bool { return false }

func (u *gitRepoUnit) read(r *renderer, b *Build) error {
	t := r.repositoryOf(u.spec.Repo)
	if t == nil {
		return r.unfollow(&u.self, b, "%s is not the URL or an alias of a trusted repository", u.spec.Repo)
	}
	t, why := r.follow(t, cmp.Or(u.spec.Revision, u.spec.Branch, "master"))
	if why != "" {
		return r.unfollow(&u.self, b, "%s", why)
	}
	b.Repository, b.Path = t.Name, "."
	if targets := u.targets(); !chooses(targets, u.cluster) {
		b.Elsewhere = true
		return nil
	}
	f := &bundleFinder{r: r, b: b, u: u}
	return f.find()
}

// targets are those of the GitRepo; without any, Fleet takes the cluster group default.
func (u *gitRepoUnit) targets() []fleetTarget {
	if len(u.spec.Targets) == 0 {
		return []fleetTarget{{Name: "default", ClusterGroup: "default"}}
	}
	return u.spec.Targets
}

// chooses tells whether the first of the targets that is the cluster is to be deployed to.
func chooses(targets []fleetTarget, c v1alpha1.FleetCluster) bool {
	i := slices.IndexFunc(targets, func(t fleetTarget) bool { return t.matches(c) })
	return i >= 0 && !targets[i].DoNotDeploy
}

// matches tells whether all that a target asks for is true of the cluster; one that asks for nothing matches none.
func (t *fleetTarget) matches(c v1alpha1.FleetCluster) bool {
	groups := c.Groups
	if len(groups) == 0 {
		groups = []v1alpha1.FleetGroup{{}}
	}
	return slices.ContainsFunc(groups, func(g v1alpha1.FleetGroup) bool {
		asked := false
		for _, criterion := range []struct{ asks, holds bool }{
			{t.ClusterName != "", t.ClusterName == c.Name},
			{t.ClusterGroup != "", t.ClusterGroup == g.Name},
			{t.ClusterGroupSelector != nil, selects(t.ClusterGroupSelector, g.Labels)},
			{t.ClusterSelector != nil, selects(t.ClusterSelector, c.Labels)},
		} {
			if criterion.asks && !criterion.holds {
				return false
			}
			asked = asked || criterion.asks
		}
		return asked
	})
}

// selects tells whether labels satisfy a LabelSelector. One with an operator that is not known selects nothing: Fleet would refuse it.
func selects(selector map[string]any, labels map[string]string) bool {
	values := make(map[string]any, len(labels))
	for k, v := range labels {
		values[k] = v
	}
	ok, err := matchesSelector(selector, values)
	return ok && err == nil
}

// fleetYAML is what matters of a fleet.yaml.
type fleetYAML struct {
	Name string `json:"name,omitempty"`
	fleetOptions
	Targets                 []fleetTarget `json:"targets,omitempty"`
	TargetCustomizations    []fleetTarget `json:"targetCustomizations,omitempty"`
	TargetCustomizationMode string        `json:"targetCustomizationMode,omitempty"`
	OverrideTargets         []fleetTarget `json:"overrideTargets,omitempty"`
	ImageScans              []any         `json:"imageScans,omitempty"`
}

// fleetOptions are how a bundle is deployed (BundleDeploymentOptions).
type fleetOptions struct {
	DefaultNamespace string `json:"defaultNamespace,omitempty"`
	TargetNamespace  string `json:"namespace,omitempty"`
	Kustomize        struct {
		Dir string `json:"dir,omitempty"`
	} `json:"kustomize"`
	Helm fleetHelm `json:"helm"`
	YAML struct {
		Overlays []string `json:"overlays,omitempty"`
	} `json:"yaml"`
	KeepResources        bool              `json:"keepResources,omitempty"`
	ServiceAccount       string            `json:"serviceAccount,omitempty"`
	DeleteCRDResources   bool              `json:"deleteCRDResources,omitempty"`
	NamespaceLabels      map[string]string `json:"namespaceLabels,omitempty"`
	NamespaceAnnotations map[string]string `json:"namespaceAnnotations,omitempty"`
	// DownstreamResources are Secrets and ConfigMaps beside the bundle that Fleet copies into the namespace of the release.
	DownstreamResources []any `json:"downstreamResources,omitempty"`
}

type fleetHelm struct {
	Chart             string            `json:"chart,omitempty"`
	Repo              string            `json:"repo,omitempty"`
	Version           string            `json:"version,omitempty"`
	ReleaseName       string            `json:"releaseName,omitempty"`
	Values            map[string]any    `json:"values,omitempty"`
	TemplateValues    map[string]string `json:"templateValues,omitempty"`
	ValuesFiles       []string          `json:"valuesFiles,omitempty"`
	ValuesFrom        []fleetValuesFrom `json:"valuesFrom,omitempty"`
	Atomic            bool              `json:"atomic,omitempty"`
	DisablePreProcess bool              `json:"disablePreProcess,omitempty"`
}

type fleetValuesFrom struct {
	ConfigMapKeyRef *fleetKeyRef `json:"configMapKeyRef,omitempty"`
	SecretKeyRef    *fleetKeyRef `json:"secretKeyRef,omitempty"`
}

type fleetKeyRef struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
	Key       string `json:"key,omitempty"`
}

// merge lays the options of a target over those of the bundle, as Fleet's controller does (internal/cmd/controller/options, Merge).
func (o fleetOptions) merge(over fleetOptions) fleetOptions {
	o.DefaultNamespace = cmp.Or(over.DefaultNamespace, o.DefaultNamespace)
	o.TargetNamespace = cmp.Or(over.TargetNamespace, o.TargetNamespace)
	o.Kustomize.Dir = cmp.Or(over.Kustomize.Dir, o.Kustomize.Dir)
	o.YAML.Overlays = slices.Concat(o.YAML.Overlays, over.YAML.Overlays)
	o.KeepResources = o.KeepResources || over.KeepResources
	o.ServiceAccount = cmp.Or(over.ServiceAccount, o.ServiceAccount)
	o.NamespaceLabels = withStrings(o.NamespaceLabels, over.NamespaceLabels)
	o.NamespaceAnnotations = withStrings(o.NamespaceAnnotations, over.NamespaceAnnotations)
	o.DownstreamResources = slices.Concat(o.DownstreamResources, over.DownstreamResources)
	h := &o.Helm
	h.Chart, h.Repo = cmp.Or(over.Helm.Chart, h.Chart), cmp.Or(over.Helm.Repo, h.Repo)
	h.Version, h.ReleaseName = cmp.Or(over.Helm.Version, h.Version), cmp.Or(over.Helm.ReleaseName, h.ReleaseName)
	h.Values = mergeValues(h.Values, over.Helm.Values)
	h.TemplateValues = withStrings(h.TemplateValues, over.Helm.TemplateValues)
	h.ValuesFrom = slices.DeleteFunc(slices.Clone(h.ValuesFrom), func(v fleetValuesFrom) bool {
		return slices.ContainsFunc(over.Helm.ValuesFrom, func(w fleetValuesFrom) bool { return specText(v) == specText(w) })
	})
	h.ValuesFrom = append(h.ValuesFrom, over.Helm.ValuesFrom...)
	h.Atomic = h.Atomic || over.Helm.Atomic
	h.DisablePreProcess = h.DisablePreProcess || over.Helm.DisablePreProcess
	return o
}

// withStrings is a map with the entries of another over its own.
func withStrings(base, over map[string]string) map[string]string {
	if len(over) == 0 {
		return base
	}
	out := maps.Clone(base)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, over)
	return out
}

// optionsFor are the bundle's options for the cluster; deployed says whether it is deployed there at all.
func (y *fleetYAML) optionsFor(c v1alpha1.FleetCluster) (o fleetOptions, deployed bool) {
	o = y.fleetOptions
	if y.OverrideTargets != nil && !chooses(y.OverrideTargets, c) {
		return o, false
	}
	targets := slices.Concat(y.Targets, y.TargetCustomizations)
	if slices.ContainsFunc(targets, func(t fleetTarget) bool { return t.DoNotDeploy && t.matches(c) }) {
		return o, false // wherever it stands (fleet, internal/cmd/controller/target/matcher)
	}
	for _, t := range targets {
		if !t.matches(c) {
			continue
		}
		o = o.merge(t.fleetOptions)
		if y.TargetCustomizationMode != "AllMatches" {
			break
		}
	}
	return o, true
}

// release is the name of the Helm release that the agent makes, and its namespace.
func (o *fleetOptions) release(bundle string) (name, namespace string) {
	namespace, name = FleetRelease(o.TargetNamespace, o.DefaultNamespace, o.Helm.ReleaseName, bundle)
	return name, namespace
}

// FleetRelease is the Helm release that fleet-agent makes of a bundle whose options name a namespace for all objects, one for those without, and a
// release; "" is not named.
func FleetRelease(targetNamespace, defaultNamespace, releaseName, bundle string) (namespace, name string) {
	return cmp.Or(targetNamespace, defaultNamespace, "default"), cmp.Or(releaseName, agent.FleetReleaseName(bundle))
}

// readFleetYAML reads the options of a bundle.
func (r *renderer) readFleetYAML(b *Build, f file) (*fleetYAML, error) {
	y := &fleetYAML{}
	docs, err := r.readFile(b, f, folderRules{})
	if err != nil || len(docs) == 0 {
		return y, err
	}
	at := Source{Repository: f.repository, Path: f.path}
	if len(docs) > 1 {
		r.problem(at, "the options of a bundle are one document, not %d", len(docs))
		return nil, errReported
	}
	text, err := json.Marshal(docs[0].content)
	if err == nil {
		err = json.Unmarshal(text, y)
	}
	if err != nil {
		r.problem(at, "%s", strings.TrimPrefix(err.Error(), "json: "))
		return nil, errReported
	}
	return y, nil
}

// fleetBundle is a bundle that a GitRepo or HelmOp makes.
type fleetBundle struct {
	Name string
	Of   string // name of the GitRepo or HelmOp
	Dir  file   // of a HelmOp, the file in which it stands
	// ChartAlone: it is a HelmOp's, and has no folder.
	ChartAlone bool
	Options    fleetOptions // for this cluster, with all values but those of other objects
	Scope      string       // of the agent
	// ShapedBy are the files that the options come from.
	ShapedBy []git.Path
	// Apart are files of the folder that are options and no resources: the fleet.yaml and values files, also those for other clusters.
	Apart []git.Path
	// Remote: a chart of it, here or for other clusters, comes from a repository or registry.
	Remote bool
	// Unfollowed says why the bundle cannot be followed; "" if it can.
	Unfollowed string
}
