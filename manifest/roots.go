package manifest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/git"
)

// roots queues what the configuration names.
func (r *renderer) roots() {
	for i, root := range r.in.Gate.Roots {
		a := r.rootAgent(root)
		switch {
		case a == nil && root.Path != "":
			r.problem(Source{}, "roots[%d]: name the agent that applies it", i)
		case root.Path != "":
			r.pathRoot(i, root, a)
		default:
			r.objectRoot(i, root)
		}
	}
}

// rootAgent is the agent of a root, nil if it names none and there are several.
func (r *renderer) rootAgent(root v1alpha1.Root) *v1alpha1.Agent {
	if root.Agent == "" && len(r.in.Gate.Agents) == 1 {
		return &r.in.Gate.Agents[0]
	}
	i := slices.IndexFunc(r.in.Gate.Agents, func(a v1alpha1.Agent) bool { return a.Name == root.Agent })
	if i < 0 {
		return nil
	}
	return &r.in.Gate.Agents[i]
}

// agentWith is the agent that has the ways of a preset: the preferred one if it has them, else the first.
func (r *renderer) agentWith(preset v1alpha1.Preset, prefer string) *v1alpha1.Agent {
	var found *v1alpha1.Agent
	for i := range r.in.Gate.Agents {
		if a := &r.in.Gate.Agents[i]; a.Preset == preset && (found == nil || a.Name == prefer) {
			found = a
		}
	}
	return found
}

func (r *renderer) pathRoot(i int, root v1alpha1.Root, a *v1alpha1.Agent) {
	p, err := git.ParsePath(root.Path)
	if err != nil {
		r.problem(Source{}, "roots[%d]: %v", i, err)
		return
	}
	at := file{root.Repository, p}
	if root.Release != nil {
		r.releaseRoot(at, a, root.Release)
		return
	}
	r.add(&pathUnit{
		agent: a,
		self:  about{owner: agent.Owner{Agent: a.Name}, root: at, spec: string(a.Preset)},
	})
}

// objectRoot queues the agents' objects that a bootstrap tool made outside Git. Values that they take may stand beside them.
func (r *renderer) objectRoot(i int, root v1alpha1.Root) {
	for j, raw := range root.Objects {
		var decoded map[string]any
		if err := json.Unmarshal(raw.Raw, &decoded); err != nil {
			r.problem(Source{}, "roots[%d].objects[%d]: %v", i, j, err)
			continue
		}
		content := compact.Of(decoded)
		_, version := kindOf(content)
		o := &Object{
			Key:     identity(content),
			Version: version, Content: content, Owner: agent.Owner{Agent: root.Agent},
		}
		if !r.meet(o, &about{}) {
			r.problem(Source{}, "roots[%d].objects[%d]: %s is no agent's object of an agent that is configured: declare it in Git", i, j, o.Key)
		}
	}
}

// discover follows the agents' objects, and remembers the definitions and values, among the objects of a build. Values are many, and most are what they were:
// only those that are not are noted.
func (r *renderer) discover(b *Build) {
	r.unfollows = append(r.unfollows, b.unfollows...)
	above := r.known[b.id].about()
	r.noteValues(b)
	for _, o := range b.Objects {
		if o.Group != "" {
			r.meet(o, above)
		}
	}
	for _, found := range b.bundles {
		r.meetBundle(found, above)
	}
}

// meet takes note of an object that means something to the rendering of others; false: it means nothing.
func (r *renderer) meet(o *Object, above *about) bool {
	switch o.Group {
	case "":
		if o.Kind == "ConfigMap" || o.Kind == "Secret" {
			r.fresh[o.Key] = o
			return true
		}
	case "apiextensions.k8s.io":
		if gk, s := crdScope(o.Content); s != scopeUnknown {
			r.scopes[gk], r.defined[gk] = s, s
			r.noteVersions(o)
			return true
		}
	case agent.FluxSourceGroup:
		return r.meetFluxSource(o)
	case agent.FluxKustomizeGroup:
		return o.Kind == "Kustomization" && r.meetFluxKustomization(o, above)
	case agent.FluxHelmGroup:
		return o.Kind == "HelmRelease" && r.meetHelmRelease(o, above)
	case configSyncGroup:
		return r.meetSync(o, above)
	case agent.FleetGroup:
		return r.meetFleet(o, above)
	case argoGroup:
		return o.Kind == "Application" && r.meetApplication(o, above) || o.Kind == "ApplicationSet" && r.meetApplicationSet(o, above)
	}
	return false
}

// pathUnit is the path of a root: a file, or a folder read as its agent would.
type pathUnit struct {
	self  about
	agent *v1alpha1.Agent
}

func (u *pathUnit) about() *about                { return &u.self }
func (u *pathUnit) waits(*renderer, bool) string { return "" }
func (u *pathUnit) taken(*renderer) string       { return "" }
func (u *pathUnit) read(r *renderer, b *Build) error {
	if u.agent.Preset == v1alpha1.PresetFleet {
		return r.readFleetRoot(b, u.self.root)
	}
	b.decrypts = u.agent.Preset == v1alpha1.PresetFlux
	if err := r.readPath(b, u.self.root, u.agent.Preset); err != nil || !b.decrypts {
		return err
	}
	return r.unseal(b, nil)
}

// dress: an agent that is only known by its ways adds nothing that could be known.
func (u *pathUnit) dress(r *renderer, o *Object) bool {
	fallback := ""
	switch u.agent.Preset {
	case v1alpha1.PresetPipeline:
		o.Apply.LastApplied = true
		fallback = "default"
	case v1alpha1.PresetFlux:
		dressFlux(o)
		o.Opaque = append(o.takeOpaque(), o.Opaque...)
	}
	return r.place(o, fallback, ": write it, or make the agent's own object the root")
}

// readPath reads a file, a kustomization, or a folder with all folders below.
func (r *renderer) readPath(b *Build, at file, preset v1alpha1.Preset) error {
	b.Repository, b.Path = at.repository, at.path
	id, err := r.input(b, at)
	if err != nil {
		return err
	}
	if id == "" {
		r.problem(Source{Repository: at.repository}, "no file or folder %s: a root of the configuration names it", at.path)
		return errReported
	}
	rules := folderRules{recurse: true, kustomize: true, extensions: []string{".yaml", ".yml", ".json"}}
	switch preset {
	case v1alpha1.PresetFlux:
		rules = r.fluxRules(b, at.repository, "")
	case v1alpha1.PresetArgoCD:
		rules.lenient, rules.followsLinks = true, true
	default:
		rules.followsLinks = true
	}
	chart, err := r.usesChart(at)
	if err == nil && chart {
		r.problem(Source{Repository: at.repository, Path: at.path}, "a chart, of which release and values are not known: %s", map[bool]string{true: "say them in the root's release", false: "make the agent's own object the root"}[preset == v1alpha1.PresetPipeline])
		return errReported
	}
	has, err := r.hasKustomization(at)
	switch {
	case err != nil:
		return err
	case has:
		return r.kustomize(b, at)
	}
	return r.readFolder(b, at, rules)
}

// decodeSpec reads the fields of an agent's object that matter here. What it does not know it leaves alone: the agent's own
// CRD judges that.
func (r *renderer) decodeSpec(o *Object, into any) bool {
	err := json.Unmarshal([]byte(o.Content.JSON()), into)
	if err != nil {
		r.problem(o.Source, "%s: %v", o.Key, strings.TrimPrefix(err.Error(), "json: "))
	}
	return err == nil
}

// specText is the canonical text of a spec, by which a change of it is noticed.
func specText(spec any) string {
	data, err := json.Marshal(spec)
	if err != nil {
		return fmt.Sprintf("%#v", spec) // of values that were decoded from JSON: not reached
	}
	return string(data)
}
