package manifest

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/strvals"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
)

// helmRelease is what matters of a HelmRelease (helm.toolkit.fluxcd.io/v2).
type helmRelease struct {
	Spec helmReleaseSpec `json:"spec"`
}

type helmReleaseSpec struct {
	Chart *struct {
		Spec struct {
			Chart     string `json:"chart"`
			SourceRef struct {
				Kind      string `json:"kind"`
				Name      string `json:"name"`
				Namespace string `json:"namespace,omitempty"`
			} `json:"sourceRef"`
			ValuesFiles              []string `json:"valuesFiles,omitempty"`
			IgnoreMissingValuesFiles bool     `json:"ignoreMissingValuesFiles,omitempty"`
		} `json:"spec"`
	} `json:"chart,omitempty"`
	ChartRef *struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	} `json:"chartRef,omitempty"`
	KubeConfig      map[string]any   `json:"kubeConfig,omitempty"`
	ReleaseName     string           `json:"releaseName,omitempty"`
	TargetNamespace string           `json:"targetNamespace,omitempty"`
	Values          map[string]any   `json:"values,omitempty"`
	ValuesFrom      []helmValuesFrom `json:"valuesFrom,omitempty"`
	CommonMetadata  *commonMetadata  `json:"commonMetadata,omitempty"`
	PostRenderers   []struct {
		Kustomize *struct {
			Patches []map[string]any `json:"patches,omitempty"`
			Images  []map[string]any `json:"images,omitempty"`
		} `json:"kustomize,omitempty"`
	} `json:"postRenderers,omitempty"`
	Install struct {
		CRDs            string `json:"crds,omitempty"`
		CreateNamespace bool   `json:"createNamespace,omitempty"`
		DisableHooks    bool   `json:"disableHooks,omitempty"`
		Replace         bool   `json:"replace,omitempty"`
	} `json:"install"`
	Upgrade struct {
		CRDs  string `json:"crds,omitempty"`
		Force bool   `json:"force,omitempty"`
	} `json:"upgrade"`
	Test struct {
		Enable bool `json:"enable,omitempty"`
	} `json:"test"`
}

type helmValuesFrom struct {
	fluxValues
	ValuesKey  string `json:"valuesKey,omitempty"`
	TargetPath string `json:"targetPath,omitempty"`
}

// helmUnit is a Flux HelmRelease whose chart stands in Git.
type helmUnit struct {
	self    about
	spec    helmReleaseSpec
	from    sourceKey
	release string
	target  string // the release's namespace
}

func (r *renderer) meetHelmRelease(o *Object, above *about) bool {
	a := r.agentWith(v1alpha1.PresetFlux, o.Owner.Agent)
	if a == nil {
		return false
	}
	var h helmRelease
	if !r.decodeSpec(o, &h) {
		return true
	}
	if h.Spec.KubeConfig != nil && o.Source.Repository != "" {
		return true // found in Git, and for another cluster
	}
	u := &helmUnit{
		self: about{owner: agent.Owner{Agent: a.Name, Group: o.Group, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}, at: o.Source, depth: above.depth + 1},
		spec: h.Spec, target: cmp.Or(h.Spec.TargetNamespace, o.Namespace),
	}
	if h.Spec.Chart == nil {
		if h.Spec.ChartRef != nil {
			r.unfollowed(o.Source, "%s is not followed: its chart %s %s comes from the network, not from a verified commit", u.self.name(), h.Spec.ChartRef.Kind, h.Spec.ChartRef.Name)
		} else {
			r.problem(o.Source, "%s has neither spec.chart nor spec.chartRef", u.self.name())
		}
		return true
	}
	ref := h.Spec.Chart.Spec.SourceRef
	u.from = sourceKey{ref.Kind, cmp.Or(ref.Namespace, o.Namespace), ref.Name}
	u.release = releaseName(h.Spec, o)
	u.self.spec = specText(h.Spec)
	r.add(u)
	return true
}

// releaseName is the name of the release: what the object says, or its own with the target namespace before it, and cut as helm-controller
// cuts what is longer than Helm takes (internal/release/name.go).
func releaseName(spec helmReleaseSpec, o *Object) string {
	name := spec.ReleaseName
	if name == "" {
		name = o.Name
		if spec.TargetNamespace != "" {
			name = spec.TargetNamespace + "-" + name
		}
	}
	if len(name) > 53 {
		sum := sha256.Sum256([]byte(name))
		name = name[:40] + "-" + hex.EncodeToString(sum[:])[:12]
	}
	return name
}

func (u *helmUnit) about() *about         { return &u.self }
func (u *helmUnit) charts(*renderer) bool { return true }

func (u *helmUnit) waits(r *renderer, last bool) string {
	if r.sources[u.from] == nil {
		return fmt.Sprintf("%s wants its chart from %s, which is declared nowhere", u.self.name(), u.from)
	}
	for _, from := range u.spec.ValuesFrom {
		if why := r.lacks(&u.self, from.fluxValues, "takes values", last); why != "" {
			return why
		}
	}
	return ""
}

func (u *helmUnit) taken(r *renderer) string {
	s := r.sources[u.from]
	digest := sha256.New()
	fmt.Fprintf(digest, "%q %s\n", s.why, s.ignore)
	if s.repository != nil {
		fmt.Fprintf(digest, "%s\n", s.repository.Name)
	}
	for _, from := range u.spec.ValuesFrom {
		if o := r.values[u.self.valuesKey(from.fluxValues)]; o != nil {
			fmt.Fprintf(digest, "%s\n", specText([]any{o.Content["data"], o.Content["stringData"], o.Opaque}))
		}
	}
	fmt.Fprintf(digest, "%q %q\n", r.in.Kubernetes, r.declaredVersions())
	return hex.EncodeToString(digest.Sum(nil))
}

func (u *helmUnit) read(r *renderer, b *Build) error {
	s := r.sources[u.from]
	if s.repository == nil {
		return r.unfollow(&u.self, b, "%s: %s", u.from, s.why)
	}
	p, err := git.ParsePath(u.spec.Chart.Spec.Chart)
	if err != nil {
		r.problem(u.self.at, "%s: spec.chart.spec.chart: %v", u.self.name(), err)
		return errReported
	}
	at := file{s.repository.Name, p}
	b.Repository, b.Path, b.shaped = at.repository, at.path, true
	b.Release = Release{Namespace: u.target, Name: u.release}
	id, err := r.fileID(file{at.repository, join(p, "Chart.yaml")})
	if err != nil {
		return err
	}
	if id == "" {
		r.problem(u.self.at, "%s: spec.chart.spec.chart: no chart in folder %s of repository %s", u.self.name(), p, at.repository)
		return errReported
	}
	o := helmOptions{Release: u.release, Namespace: u.target, CRDs: u.appliesCRDs()}
	if o.Values, err = u.values(r); err != nil {
		return err
	}
	if o.ChartValues, err = u.chartValues(r, b, at); err != nil {
		return err
	}
	if err := r.helm(b, at, o); err != nil {
		return err
	}
	if u.spec.Install.CreateNamespace && u.spec.TargetNamespace != "" {
		b.documents = append(b.documents, namespaceOfRelease(u.target, u.self.at))
	}
	return u.postRender(r, b)
}

// appliesCRDs: by default helm-controller makes them with an install, and leaves them alone afterwards.
func (u *helmUnit) appliesCRDs() bool {
	return u.spec.Install.CRDs != "Skip" || u.spec.Upgrade.CRDs != "" && u.spec.Upgrade.CRDs != "Skip"
}

// chartValues are the values files that stand in for the chart's own, nil if none are named. Their paths begin at the root of the source.
func (u *helmUnit) chartValues(r *renderer, b *Build, at file) (map[string]any, error) {
	c := u.spec.Chart.Spec
	if len(c.ValuesFiles) == 0 {
		return nil, nil
	}
	merged := map[string]any{}
	for _, name := range c.ValuesFiles {
		p, err := git.ParsePath(name)
		if err != nil {
			r.problem(u.self.at, "%s: valuesFiles: %v", u.self.name(), err)
			return nil, errReported
		}
		values, found, err := r.valuesFile(b, file{at.repository, p})
		switch {
		case err != nil:
			return nil, err
		case !found && !c.IgnoreMissingValuesFiles:
			r.problem(u.self.at, "%s: valuesFiles: no file %s in repository %s", u.self.name(), p, at.repository)
			return nil, errReported
		}
		merged = mergeValues(merged, values)
	}
	return merged, nil
}

// values are those of the ConfigMaps and Secrets in their order, and over them those of the release itself.
func (u *helmUnit) values(r *renderer) (map[string]any, error) {
	merged := map[string]any{}
	for _, from := range u.spec.ValuesFrom {
		o := r.values[u.self.valuesKey(from.fluxValues)]
		if o == nil {
			continue // optional: see waits
		}
		if len(o.Opaque) > 0 {
			r.problem(u.self.at, "%s takes values from %s, which Git holds encrypted: what is applied could not be known", u.self.name(), o.Key)
			return nil, errReported
		}
		data, ok := valuesOf(o)[cmp.Or(from.ValuesKey, "values.yaml")]
		if !ok {
			if from.Optional {
				continue
			}
			r.problem(u.self.at, "%s takes values from %s, which has no key %s", u.self.name(), o.Key, cmp.Or(from.ValuesKey, "values.yaml"))
			return nil, errReported
		}
		if from.TargetPath != "" {
			if err := strvals.ParseInto(from.TargetPath+"="+data, merged); err != nil {
				r.problem(u.self.at, "%s: valuesFrom %s: %v", u.self.name(), o.Key, err)
				return nil, errReported
			}
			continue
		}
		values, err := common.ReadValues([]byte(data))
		if err != nil {
			r.problem(o.Source, "%s: the values are not YAML: %v", o.Key, err)
			return nil, errReported
		}
		merged = mergeValues(merged, values)
	}
	return mergeValues(merged, u.spec.Values), nil
}

// dress: what helm-controller and Helm do to each object of the release.
func (u *helmUnit) dress(r *renderer, o *Object) bool {
	hooks := helmHooks(o)
	switch {
	case o.implied:
		return true
	case len(hooks) > 0 && u.spec.Install.DisableHooks,
		onlyTests(hooks) && !u.spec.Test.Enable:
		return false
	}
	o.Apply.Hook = len(hooks) > 0
	o.Apply.Recreate = u.spec.Upgrade.Force
	o.Apply.NoPrune = o.annotation("helm.sh/resource-policy") == "keep" || o.crd
	o.Adds = agent.FluxLabels(agent.FluxHelmGroup, u.self.owner.Namespace, u.self.owner.Name)
	if !o.Apply.Hook && !o.crd {
		marks := agent.HelmMetadata(u.target, u.release)
		o.Adds.Annotations = marks.Annotations
		for k, v := range marks.Labels {
			o.Adds.Labels[k] = v
		}
	}
	if m := u.spec.CommonMetadata; m != nil && !o.crd {
		o.editMetadata(func(metadata map[string]any) {
			mergeStrings(metadata, "labels", m.Labels)
			mergeStrings(metadata, "annotations", m.Annotations)
		})
	}
	return r.place(o, u.target, "")
}
