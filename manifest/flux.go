package manifest

import (
	"fmt"
	"maps"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/git"
)

// sourceKey names a source of Flux: GitRepository, HelmRepository and so on.
type sourceKey struct{ kind, namespace, name string }

func (k sourceKey) String() string { return k.kind + " " + k.namespace + "/" + k.name }

// source is what a GitRepository gives; why says why it is not followed.
type source struct {
	repository *v1alpha1.TrustedRepository
	why        string
	ignore     string     // gitignore patterns
	url        string     // of a HelmRepository or OCIRepository
	digest     string     // of an OCIRepository, if it says so
	chart      *fluxChart // of a HelmChart
	at         Source
}

// gitRepository is what matters of a GitRepository (source.toolkit.fluxcd.io/v1).
type gitRepository struct {
	Spec struct {
		URL string `json:"url"`
		Ref *struct {
			Branch, Tag, Semver, Name, Commit string
		} `json:"ref"`
		Ignore  *string          `json:"ignore"`
		Include []map[string]any `json:"include"`
	} `json:"spec"`
}

// meetFluxSource notes a source. Only Git can be verified; the other kinds are known, so that who uses them can be told.
func (r *renderer) meetFluxSource(o *Object) bool {
	if r.agentWith(v1alpha1.PresetFlux, o.Owner.Agent) == nil {
		return false
	}
	s := &source{at: o.Source}
	switch o.Kind {
	case "GitRepository":
		var g gitRepository
		if !r.decodeSpec(o, &g) {
			return true
		}
		s.repository, s.why = r.gitSource(g)
		if g.Spec.Ignore != nil {
			s.ignore = *g.Spec.Ignore
		}
	case "HelmRepository", "OCIRepository":
		var far struct {
			Spec struct {
				URL string `json:"url"`
				Ref struct {
					Digest string `json:"digest"`
				} `json:"ref"`
			} `json:"spec"`
		}
		if !r.decodeSpec(o, &far) {
			return true
		}
		s.url, s.digest, s.why = far.Spec.URL, far.Spec.Ref.Digest, "it comes from the network, not from a verified commit"
	case "HelmChart":
		var c struct {
			Spec fluxChart `json:"spec"`
		}
		if !r.decodeSpec(o, &c) {
			return true
		}
		s.chart = &c.Spec
	case "Bucket", "ExternalArtifact":
		s.why = "it comes from the network, not from a verified commit"
	default:
		return false
	}
	r.sources[sourceKey{o.Kind, o.Namespace, o.Name}] = s
	return true
}

func (r *renderer) gitSource(g gitRepository) (*v1alpha1.TrustedRepository, string) {
	t := r.repositoryOf(g.Spec.URL)
	if t == nil {
		return nil, fmt.Sprintf("%s is not the URL or an alias of a trusted repository", g.Spec.URL)
	}
	revision := "master" // Flux's default
	if ref := g.Spec.Ref; ref != nil {
		switch { // in Flux's order
		case ref.Commit != "":
			revision = ref.Commit
		case ref.Name != "":
			revision = ref.Name
		case ref.Semver != "":
			revision = "tags of " + ref.Semver
		case ref.Tag != "":
			revision = "refs/tags/" + ref.Tag
		case ref.Branch != "":
			revision = ref.Branch
		}
	}
	t, why := r.follow(t, revision)
	if why != "" {
		return nil, why
	}
	if len(g.Spec.Include) > 0 {
		return nil, "spec.include puts several repositories together, which is not followed"
	}
	return t, ""
}

// fluxKustomization is what matters of a Kustomization (kustomize.toolkit.fluxcd.io/v1).
type fluxKustomization struct {
	Spec fluxKustomizationSpec `json:"spec"`
}

type fluxKustomizationSpec struct {
	Path      string `json:"path,omitempty"`
	SourceRef struct {
		Kind      string `json:"kind"`
		Name      string `json:"name"`
		Namespace string `json:"namespace,omitempty"`
	} `json:"sourceRef"`
	Prune                   bool             `json:"prune,omitempty"`
	Force                   bool             `json:"force,omitempty"`
	KubeConfig              map[string]any   `json:"kubeConfig,omitempty"`
	ServiceAccountName      string           `json:"serviceAccountName,omitempty"`
	TargetNamespace         string           `json:"targetNamespace,omitempty"`
	NamePrefix              string           `json:"namePrefix,omitempty"`
	NameSuffix              string           `json:"nameSuffix,omitempty"`
	CommonMetadata          *commonMetadata  `json:"commonMetadata,omitempty"`
	Patches                 []map[string]any `json:"patches,omitempty"`
	Images                  []map[string]any `json:"images,omitempty"`
	Components              []string         `json:"components,omitempty"`
	IgnoreMissingComponents bool             `json:"ignoreMissingComponents,omitempty"`
	PostBuild               *fluxPostBuild   `json:"postBuild,omitempty"`
	BuildMetadata           []string         `json:"buildMetadata,omitempty"`
	Decryption              *struct {
		Provider string `json:"provider"`
	} `json:"decryption,omitempty"`
}

type commonMetadata struct {
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type fluxPostBuild struct {
	Substitute     map[string]string `json:"substitute,omitempty"`
	SubstituteFrom []fluxValues      `json:"substituteFrom,omitempty"`
}

type fluxValues struct {
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	Optional bool   `json:"optional,omitempty"`
}

// transforms tells whether the Kustomization changes what kustomize would build of its path.
func (s *fluxKustomizationSpec) transforms() bool {
	return s.TargetNamespace != "" || s.NamePrefix != "" || s.NameSuffix != "" || len(s.Patches)+len(s.Images)+len(s.Components)+len(s.BuildMetadata) > 0
}

func (s *fluxKustomizationSpec) shapes() bool {
	return s.transforms() || s.CommonMetadata != nil || s.PostBuild != nil
}

// kustomizationUnit is a Flux Kustomization.
type kustomizationUnit struct {
	self about
	spec fluxKustomizationSpec
	from sourceKey
}

func (r *renderer) meetFluxKustomization(o *Object, above *about) bool {
	a := r.agentWith(v1alpha1.PresetFlux, o.Owner.Agent)
	if a == nil {
		return false
	}
	if r.addAgain(o, above) {
		return true
	}
	var k fluxKustomization
	if !r.decodeSpec(o, &k) {
		return true
	}
	if k.Spec.KubeConfig != nil && o.Source.Repository != "" {
		return true // found in Git, and for another cluster
	}
	u := &kustomizationUnit{
		self: about{owner: agent.Owner{Agent: a.Name, Group: o.Group, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}, at: o.Source, depth: above.depth + 1},
		spec: k.Spec,
		from: sourceKey{k.Spec.SourceRef.Kind, k.Spec.SourceRef.Namespace, k.Spec.SourceRef.Name},
	}
	if u.from.namespace == "" {
		u.from.namespace = o.Namespace
	}
	u.self.spec = specText(k.Spec)
	r.addOf(o, u)
	return true
}

func (u *kustomizationUnit) about() *about { return &u.self }

func (u *kustomizationUnit) waits(r *renderer, last bool) string {
	if r.sources[u.from] == nil {
		return fmt.Sprintf("%s wants %s, which is declared nowhere", u.self.name(), u.from)
	}
	return u.waitsForValues(r, last)
}

func (u *kustomizationUnit) read(r *renderer, b *Build) error {
	s := r.sources[u.from]
	if s.repository == nil {
		return r.unfollow(&u.self, b, "%s: %s", u.from, s.why)
	}
	p, err := git.ParsePath(u.spec.Path)
	if err != nil {
		r.problem(u.self.at, "%s: spec.path: %v", u.self.name(), err)
		return errReported
	}
	at := file{s.repository.Name, p}
	b.Repository, b.Path, b.shaped, b.decrypts = at.repository, at.path, u.spec.shapes(), u.spec.decrypts()
	id, err := r.fileID(at)
	if err != nil {
		return err
	}
	if id == "" {
		r.problem(u.self.at, "%s: spec.path: no folder %s in repository %s", u.self.name(), p, at.repository)
		return errReported
	}
	vars, err := u.variables(r)
	if err != nil {
		return err
	}
	has, err := r.hasKustomization(at)
	switch {
	case err != nil:
		return err
	case has || u.spec.transforms():
		err = r.kustomizeFlux(b, at, &u.spec, s.ignore, vars)
	default:
		b.inputs[at] = id
		err = r.readFolder(b, at, r.fluxRules(b, at.repository, s.ignore))
	}
	if err != nil {
		return err
	}
	if err := r.substitute(u, b, vars); err != nil || !b.decrypts {
		return err
	}
	return r.unseal(b, vars)
}

// decrypts tells whether the Kustomization decrypts what SOPS encrypted.
func (s *fluxKustomizationSpec) decrypts() bool {
	return s.Decryption != nil && s.Decryption.Provider == decryptsWith
}

// dress: what kustomize-controller does to each object before it applies it on the server's side.
func (u *kustomizationUnit) dress(r *renderer, o *Object) bool {
	if o.annotation("config.kubernetes.io/local-config") == "true" {
		return false
	}
	dressFlux(o)
	encrypted := o.takeOpaque()
	if encrypted != nil && !u.spec.decrypts() {
		r.problem(o.Source, "%s is encrypted with SOPS, and %s has no spec.decryption", o.Key, u.self.name())
		return false
	}
	o.Opaque = append(encrypted, o.Opaque...)
	if !u.spec.Prune {
		o.Apply.NoPrune = true
	}
	if u.spec.Force {
		o.Apply.Recreate = true
	}
	o.Adds = agent.FluxLabels(agent.FluxKustomizeGroup, u.self.owner.Namespace, u.self.owner.Name)
	if m := u.spec.CommonMetadata; m != nil {
		o.editMetadata(func(metadata map[string]any) {
			mergeStrings(metadata, "labels", m.Labels)
			mergeStrings(metadata, "annotations", m.Annotations)
		})
	}
	return r.place(o, "", fmt.Sprintf(", and %s sets no targetNamespace", u.self.name()))
}

// dressFlux: status and creationTimestamp are not sent, and an object may say itself how it is handled (docs of kustomize-controller).
func dressFlux(o *Object) {
	if o.Content.Has("status") && o.Kind != "CustomResourceDefinition" {
		content := o.Content.Map()
		delete(content, "status")
		o.Content = compact.Of(content)
	}
	if o.Content.Has("metadata", "creationTimestamp") && o.Content.At("metadata", "creationTimestamp") == nil {
		o.editMetadata(func(metadata map[string]any) { delete(metadata, "creationTimestamp") })
	}
	says := func(key, value string) bool { return o.annotation(key) == value || o.label(key) == value }
	if says(agent.FluxKustomizeGroup+"/force", "enabled") {
		o.Apply.Recreate = true
	}
	if says(agent.FluxKustomizeGroup+"/prune", "disabled") || says(agent.FluxKustomizeGroup+"/reconcile", "disabled") {
		o.Apply.NoPrune = true
	}
}

// mergeStrings sets labels or annotations, over those that are there, in a copy.
func mergeStrings(metadata map[string]any, field string, values map[string]string) {
	if len(values) == 0 {
		return
	}
	merged := maps.Clone(childMap(metadata, field))
	if merged == nil {
		merged = map[string]any{}
	}
	for k, v := range values {
		merged[k] = v
	}
	metadata[field] = merged
}
