package manifest

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strings"

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
		Spec fluxChart `json:"spec"`
	} `json:"chart,omitempty"`
	ChartRef *struct {
		Kind      string `json:"kind"`
		Name      string `json:"name"`
		Namespace string `json:"namespace,omitempty"`
	} `json:"chartRef,omitempty"`
	KubeConfig       map[string]any   `json:"kubeConfig,omitempty"`
	ReleaseName      string           `json:"releaseName,omitempty"`
	ServiceAccount   string           `json:"serviceAccountName,omitempty"`
	TargetNamespace  string           `json:"targetNamespace,omitempty"`
	StorageNamespace string           `json:"storageNamespace,omitempty"`
	Values           map[string]any   `json:"values,omitempty"`
	ValuesFrom       []helmValuesFrom `json:"valuesFrom,omitempty"`
	CommonMetadata   *commonMetadata  `json:"commonMetadata,omitempty"`
	PostRenderers    []struct {
		Kustomize *struct {
			Patches []map[string]any `json:"patches,omitempty"`
			Images  []map[string]any `json:"images,omitempty"`
		} `json:"kustomize,omitempty"`
	} `json:"postRenderers,omitempty"`
	PostRenderStrategy string    `json:"postRenderStrategy,omitempty"`
	DriftDetection     helmDrift `json:"driftDetection"`
	Install            struct {
		CRDs            string          `json:"crds,omitempty"`
		CreateNamespace bool            `json:"createNamespace,omitempty"`
		DisableHooks    bool            `json:"disableHooks,omitempty"`
		Replace         bool            `json:"replace,omitempty"`
		Remediation     helmRemediation `json:"remediation"`
	} `json:"install"`
	Upgrade struct {
		CRDs          string          `json:"crds,omitempty"`
		Force         bool            `json:"force,omitempty"`
		CleanupOnFail bool            `json:"cleanupOnFail,omitempty"`
		Remediation   helmRemediation `json:"remediation"`
	} `json:"upgrade"`
	Test struct {
		Enable bool `json:"enable,omitempty"`
	} `json:"test"`
}

// helmRemediation is what helm-controller does about an install or upgrade that failed.
type helmRemediation struct {
	Retries              int   `json:"retries,omitempty"` // below 0: without end
	RemediateLastFailure *bool `json:"remediateLastFailure,omitempty"`
}

func (m helmRemediation) acts() bool {
	return m.Retries != 0 || m.RemediateLastFailure != nil && *m.RemediateLastFailure
}

// fluxChart says where a chart comes from: in a HelmRelease, and in a HelmChart.
type fluxChart struct {
	Chart     string `json:"chart"`
	Version   string `json:"version,omitempty"`
	SourceRef struct {
		Kind      string `json:"kind"`
		Name      string `json:"name"`
		Namespace string `json:"namespace,omitempty"`
	} `json:"sourceRef"`
	ValuesFiles              []string `json:"valuesFiles,omitempty"`
	IgnoreMissingValuesFiles bool     `json:"ignoreMissingValuesFiles,omitempty"`
	ReconcileStrategy        string   `json:"reconcileStrategy,omitempty"`
}

type helmValuesFrom struct {
	fluxValues
	ValuesKey  string `json:"valuesKey,omitempty"`
	TargetPath string `json:"targetPath,omitempty"`
	Literal    bool   `json:"literal,omitempty"`
}

// helmUnit is a Flux HelmRelease.
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
	if r.addAgain(o, above) {
		return true
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
	switch chart, ref := h.Spec.Chart, h.Spec.ChartRef; {
	case chart != nil:
		u.from = sourceKey{chart.Spec.SourceRef.Kind, cmp.Or(chart.Spec.SourceRef.Namespace, o.Namespace), chart.Spec.SourceRef.Name}
	case ref != nil:
		u.from = sourceKey{ref.Kind, cmp.Or(ref.Namespace, o.Namespace), ref.Name}
	default:
		r.problem(o.Source, "%s has neither spec.chart nor spec.chartRef", u.self.name())
		return true
	}
	u.release = releaseName(h.Spec, o)
	u.self.spec = specText(h.Spec)
	r.addOf(o, u)
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
	if s, from, _ := u.source(r); s == nil {
		return fmt.Sprintf("%s wants its chart from %s, which is declared nowhere", u.self.name(), from)
	}
	for _, from := range u.spec.ValuesFrom {
		if why := r.lacks(&u.self, from.fluxValues, "takes values", last); why != "" {
			return why
		}
	}
	return ""
}

// source finds where the chart comes from; nil if that is declared nowhere, which from names.
func (u *helmUnit) source(r *renderer) (s *source, from sourceKey, chart fluxChart) {
	s, from = r.sources[u.from], u.from
	if u.spec.Chart != nil {
		chart = u.spec.Chart.Spec
	}
	if s != nil && s.chart != nil {
		chart = *s.chart
		from = sourceKey{chart.SourceRef.Kind, from.namespace, chart.SourceRef.Name}
		s = r.sources[from]
	}
	return s, from, chart
}

func (u *helmUnit) taken(r *renderer) string {
	s, _, chart := u.source(r)
	digest := sha256.New()
	fmt.Fprintf(digest, "%q %s %q %q %s\n", s.why, s.ignore, s.url, s.digest, specText(chart))
	if s.repository != nil {
		fmt.Fprintf(digest, "%s\n", s.repository.Name)
	}
	for _, from := range u.spec.ValuesFrom {
		if o := r.value(u.self.valuesKey(from.fluxValues)); o != nil {
			digestEntries(digest, o)
		}
	}
	fmt.Fprintf(digest, "%q %q\n", r.in.Gate.Kubernetes, r.declaredVersions())
	return hex.EncodeToString(digest.Sum(nil))
}

func (u *helmUnit) read(r *renderer, b *Build) error {
	s, from, chart := u.source(r)
	b.Release = Release{
		Namespace: u.target, Name: u.release, Storage: cmp.Or(u.spec.StorageNamespace, u.self.owner.Namespace), Chart: path.Base(cmp.Or(chart.Chart, s.url)),
		Rollback: u.spec.remediates(),
	}
	if s.repository == nil {
		return u.readPacked(r, b, s, from, chart)
	}
	p, err := git.ParsePath(chart.Chart)
	if err != nil {
		r.problem(u.self.at, "%s: spec.chart.spec.chart: %v", u.self.name(), err)
		return errReported
	}
	at := file{s.repository.Name, p}
	b.Repository, b.Path, b.shaped = at.repository, at.path, true
	id, err := r.fileID(file{at.repository, join(p, "Chart.yaml")})
	if err != nil {
		return err
	}
	if id == "" {
		r.problem(u.self.at, "%s: spec.chart.spec.chart: no chart in folder %s of repository %s", u.self.name(), p, at.repository)
		return errReported
	}
	if b.Release.Chart, err = r.chartNameOf(at); err != nil {
		return err
	}
	o := helmOptions{Release: u.release, Namespace: u.target, CRDs: u.appliesCRDs()}
	// Source-controller writes the generation of the HelmChart, or the commit of the artifact, into the version.
	o.Numbered = len(chart.ValuesFiles) > 0 || chart.ReconcileStrategy == "Revision"
	followed, err := u.values(r, b, &o)
	if err != nil || !followed {
		return err
	}
	if o.ChartValues, err = u.chartValues(r, b, at, chart); err != nil {
		return err
	}
	if err := r.helm(b, at, o); err != nil {
		return err
	}
	return u.finish(r, b)
}

// readPacked renders a chart that comes from a repository or registry, if Git records its digest and its bytes are here.
func (u *helmUnit) readPacked(r *renderer, b *Build, s *source, from sourceKey, chart fluxChart) error {
	var p packedChart
	var why string
	var err error
	o := helmOptions{Release: u.release, Namespace: u.target, CRDs: u.appliesCRDs()}
	switch {
	case s.url != "" && from.kind == "HelmRepository":
		p, why, err = r.packed(b, u.self.at.Repository, chartName{s.url, chart.Chart, chart.Version})
		o.ValuesFiles, o.IgnoreMissing, o.Numbered = chart.ValuesFiles, chart.IgnoreMissingValuesFiles, len(chart.ValuesFiles) > 0
	case s.url != "" && s.digest != "" && s.at.Repository != "":
		p, why = r.packedArtifact(b, file{s.at.Repository, s.at.Path}, s.url, s.digest)
		o.Build = strings.TrimPrefix(s.digest, "sha256:")[:min(12, len(s.digest)-len("sha256:"))]
	case s.url != "":
		why = s.url + " comes from the network, and spec.ref.digest does not say in Git what it is"
	default:
		why = s.why
	}
	if err != nil {
		return err
	}
	if why != "" {
		return r.unfollow(&u.self, b, "%s: %s", from, why)
	}
	b.Repository, b.Path, b.shaped = p.at.repository, p.at.path, true
	followed, err := u.values(r, b, &o)
	if err != nil || !followed {
		return err
	}
	if err := r.helmPacked(b, p, o); err != nil {
		return err
	}
	return u.finish(r, b)
}

// finish adds what is not the chart's.
func (u *helmUnit) finish(r *renderer, b *Build) error {
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
func (u *helmUnit) chartValues(r *renderer, b *Build, at file, c fluxChart) (map[string]any, error) {
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

// values are those of the ConfigMaps and Secrets in their order, and over them those of the release itself. False: it is not followed.
func (u *helmUnit) values(r *renderer, b *Build, o *helmOptions) (bool, error) {
	var refs []valuesRef
	for _, from := range u.spec.ValuesFrom {
		refs = append(refs, valuesRef{u.self.valuesKey(from.fluxValues), cmp.Or(from.ValuesKey, "values.yaml"), from.TargetPath, from.Literal, from.Optional})
	}
	return r.giveValues(&u.self, b, u.self.at, &releaseValues{own: u.spec.Values}, refs, o)
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
	o.Apply.Recreate = u.spec.Upgrade.Force || u.spec.remediates()
	o.Apply.NoPrune = o.annotation("helm.sh/resource-policy") == "keep" || o.crd
	if o.Apply.Hook && o.written == nil {
		return r.place(o, u.target, "")
	}
	if o.Apply.Hook && u.spec.PostRenderStrategy == "" {
		o.Otherwise = u.asWritten(r, o)
	}
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
	if !r.place(o, u.target, "") {
		return false
	}
	if !o.Apply.Hook && !o.crd {
		o.Apply.Ignored = u.spec.DriftDetection.of(o)
	}
	return true
}

// asWritten is a hook that no post-renderer has seen, not even the one that sets labels.
func (u *helmUnit) asWritten(r *renderer, o *Object) *Object {
	other := *o
	other.Content, other.Opaque, other.Sealed, other.written = o.written.content, o.written.opaque, o.written.sealed, nil
	if !r.place(&other, u.target, "") {
		return nil
	}
	return &other
}

// remediates tells whether helm-controller may undo what failed: uninstall what an install has made, roll back an upgrade, or clean up after it.
func (s *helmReleaseSpec) remediates() bool {
	return s.Install.Remediation.acts() || s.Upgrade.Remediation.acts() || s.Upgrade.CleanupOnFail
}
