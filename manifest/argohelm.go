package manifest

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/strvals"

	"github.com/commitgate/commitgate/git"
)

// argoHelm are the options that Argo CD gives to helm.
type argoHelm struct {
	ReleaseName             string            `json:"releaseName,omitempty"`
	ValueFiles              []string          `json:"valueFiles,omitempty"`
	IgnoreMissingValueFiles bool              `json:"ignoreMissingValueFiles,omitempty"`
	Values                  string            `json:"values,omitempty"`
	ValuesObject            map[string]any    `json:"valuesObject,omitempty"`
	Parameters              []argoParameter   `json:"parameters,omitempty"`
	FileParameters          []argoFileSetting `json:"fileParameters,omitempty"`
	SkipCRDs                bool              `json:"skipCrds,omitempty"`
	SkipTests               bool              `json:"skipTests,omitempty"`
	Namespace               string            `json:"namespace,omitempty"`
	KubeVersion             string            `json:"kubeVersion,omitempty"`
	APIVersions             []string          `json:"apiVersions,omitempty"`
}

type argoParameter struct {
	Name        string `json:"name"`
	Value       string `json:"value"`
	ForceString bool   `json:"forceString,omitempty"`
}

type argoFileSetting struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

// usesChart tells whether a folder is rendered by Helm.
func (r *renderer) usesChart(at file) (bool, error) {
	id, err := r.fileID(file{at.repository, join(at.path, "Chart.yaml")})
	return id != "", err
}

// helm renders a chart as Argo CD does: `helm template` with the options.
func (u *applicationUnit) helm(r *renderer, b *Build, at file, h *argoHelm) error {
	if h == nil {
		h = &argoHelm{}
	}
	o := u.helmOptions(h)
	var err error
	if o.Values, err = u.helmValues(r, b, at, h); err != nil {
		return err
	}
	return r.helm(b, at, o)
}

func (u *applicationUnit) helmOptions(h *argoHelm) helmOptions {
	return helmOptions{
		Release: cmp.Or(h.ReleaseName, u.self.owner.Name), Namespace: cmp.Or(h.Namespace, u.spec.Destination.Namespace),
		CRDs: !h.SkipCRDs, KubeVersion: h.KubeVersion, APIVersions: h.APIVersions,
	}
}

// readPacked renders a chart that comes from a repository or registry, if Git records its digest and its bytes are here.
func (u *applicationUnit) readPacked(r *renderer, b *Build, s argoSource) error {
	p, why, err := r.packed(b, u.self.at.Repository, chartName{s.RepoURL, s.Chart, s.TargetRevision})
	if err != nil {
		return err
	}
	h := s.Helm
	if h == nil {
		h = &argoHelm{}
	}
	files := slices.Clone(h.ValueFiles)
	for _, f := range h.FileParameters {
		files = append(files, f.Path)
	}
	if slices.ContainsFunc(files, func(name string) bool { return !strings.HasPrefix(name, "$") }) {
		why = cmp.Or(why, "values files of a chart that is not in Git")
	}
	if why != "" {
		return r.unfollow(&u.self, b, "%s", why)
	}
	b.Repository, b.Path, b.shaped = p.at.repository, p.at.path, true
	o := u.helmOptions(h)
	if o.Values, err = u.helmValues(r, b, p.at, h); err != nil {
		return err
	}
	return r.helmPacked(b, p, o)
}

// helmValues are those of the files in their order, over them those of the application, over them its parameters.
func (u *applicationUnit) helmValues(r *renderer, b *Build, at file, h *argoHelm) (map[string]any, error) {
	merged := map[string]any{}
	for _, name := range h.ValueFiles {
		f, why := u.valueFile(r, at, name)
		if why != "" {
			r.problem(u.self.at, "%s: valueFiles: %s: %s", u.self.name(), name, why)
			return nil, errReported
		}
		values, found, err := r.valuesFile(b, f)
		switch {
		case err != nil:
			return nil, err
		case !found && !h.IgnoreMissingValueFiles:
			r.problem(u.self.at, "%s: valueFiles: no file %s in repository %s", u.self.name(), f.path, f.repository)
			return nil, errReported
		}
		merged = mergeValues(merged, values)
	}
	values := h.ValuesObject
	if values == nil && h.Values != "" {
		var err error
		if values, err = common.ReadValues([]byte(h.Values)); err != nil {
			r.problem(u.self.at, "%s: helm.values is not YAML: %v", u.self.name(), err)
			return nil, errReported
		}
	}
	merged = deepCopy(mergeValues(merged, values))
	for _, p := range h.Parameters {
		set := strvals.ParseInto
		if p.ForceString {
			set = strvals.ParseIntoString
		}
		if err := set(p.Name+"="+escapeCommas(u.environment(r, at.repository, p.Value)), merged); err != nil {
			r.problem(u.self.at, "%s: helm parameter %s: %v", u.self.name(), p.Name, err)
			return nil, errReported
		}
	}
	for _, p := range h.FileParameters {
		f, why := u.valueFile(r, at, p.Path)
		if why != "" {
			r.problem(u.self.at, "%s: fileParameters: %s: %s", u.self.name(), p.Path, why)
			return nil, errReported
		}
		id, err := r.input(b, f)
		if err != nil {
			return nil, err
		}
		if id == "" {
			r.problem(u.self.at, "%s: fileParameters: no file %s in repository %s", u.self.name(), f.path, f.repository)
			return nil, errReported
		}
		data, err := r.readBytes(f)
		if err != nil {
			return nil, err
		}
		read := func([]rune) (any, error) { return string(data), nil }
		if err := strvals.ParseIntoFile(p.Name+"="+p.Path, merged, read); err != nil {
			r.problem(u.self.at, "%s: helm parameter %s: %v", u.self.name(), p.Name, err)
			return nil, errReported
		}
	}
	return merged, nil
}

// escapeCommas: a value goes through --set, in which a comma would begin another one; braces make a list, as with Argo CD.
func escapeCommas(value string) string {
	if strings.HasPrefix(value, "{") && strings.HasSuffix(value, "}") {
		return value
	}
	return strings.ReplaceAll(strings.ReplaceAll(value, `\,`, ","), ",", `\,`)
}

// valueFile finds a file that a source names: below its folder, from the root of the repository (/…), or in the repository of another source of
// the application ($ref/…). why says why it is not there.
func (u *applicationUnit) valueFile(r *renderer, at file, name string) (f file, why string) {
	if strings.Contains(name, "://") {
		return f, "it comes from the network, not from a verified commit"
	}
	if ref, below, ok := strings.Cut(name, "/"); ok && strings.HasPrefix(ref, "$") {
		for _, s := range u.spec.allSources() {
			if s.Ref == "" || "$"+s.Ref != ref {
				continue
			}
			t, why := r.argoRepository(s)
			if t == nil {
				return f, why
			}
			p, err := git.ParsePath(below)
			if err != nil {
				return f, err.Error()
			}
			return file{t.Name, p}, ""
		}
		return f, fmt.Sprintf("no source of the application has ref: %s", ref[1:])
	}
	p := name
	if !strings.HasPrefix(name, "/") {
		p = path.Join(string(at.path), name)
	}
	parsed, err := git.ParsePath(p)
	if err != nil {
		return f, err.Error()
	}
	return file{at.repository, parsed}, ""
}
