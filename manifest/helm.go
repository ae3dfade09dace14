package manifest

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"slices"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/git"
)

// helm renders a chart, and adds what it makes to the build.
func (r *renderer) helm(b *Build, at file, o helmOptions) error {
	dependencies, why, err := r.lockedDependencies(b, at)
	if err != nil {
		return err
	}
	if why != "" {
		b.unfollows = append(b.unfollows, Problem{at.repository, join(at.path, "Chart.lock"), 0, "the chart is not followed: " + why})
		return nil
	}
	files := map[string][]byte{}
	o.Packed = map[string]git.Path{}
	for name, p := range dependencies {
		o.Packed[name] = p.file()
		files[string(p.file())] = p.data
	}
	o = r.tell(o)
	return r.renderFolder(b, folderJob{at: at, with: digestHidden(b, o), files: files, render: func(tree fs.FS, made *rendered) ([]git.Path, *answer, error) {
		return r.renderChart(b, tree, at.path, o, made, func(err error) error {
			return r.refuse(Source{Repository: at.repository, Path: at.path}, err)
		})
	}})
}

// chartNameOf is the name that a chart in the tree gives itself, "" if it has none that can be read: then it is not rendered either.
func (r *renderer) chartNameOf(at file) (string, error) {
	data, err := r.readBytes(file{at.repository, join(at.path, "Chart.yaml")})
	if err != nil {
		return "", err
	}
	var chart struct {
		Name string `json:"name"`
	}
	if yaml.Unmarshal(data, &chart) != nil {
		return "", nil
	}
	return chart.Name, nil
}

// tell tells a chart of the cluster.
func (r *renderer) tell(o helmOptions) helmOptions {
	o.KubeVersion = cmp.Or(o.KubeVersion, r.in.Gate.Kubernetes.Version)
	o.APIVersions = slices.Concat(r.in.Gate.Kubernetes.APIVersions, r.declaredVersions(), o.APIVersions)
	return o
}

func digestOptions(o helmOptions) string {
	text := specText([]any{o.Build, o.Packed, o.Release, o.Namespace, o.Values, o.ChartValues, o.ValuesFiles, o.IgnoreMissing, o.Numbered, o.KubeVersion, o.APIVersions, o.CRDs})
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// valuesFile reads a values file of the tree, noted as an input of the build.
func (r *renderer) valuesFile(b *Build, f file) (map[string]any, bool, error) {
	id, err := r.input(b, f)
	if err != nil || id == "" {
		return nil, false, err
	}
	data, err := r.readBytes(f)
	if err != nil {
		return nil, false, err
	}
	values, err := common.ReadValues(data)
	if err != nil {
		r.problem(Source{Repository: f.repository, Path: f.path}, "%v", err)
		return nil, false, errReported
	}
	return values, true, nil
}

// mergeValues lays values over others, map by map, as Helm merges values files.
func mergeValues(base, over map[string]any) map[string]any { return loader.MergeMaps(base, over) }

// declaredVersions are the API versions of the kinds that CRDs in Git define, as charts ask for them: group/version, and group/version/Kind.
func (r *renderer) declaredVersions() []string {
	var versions []string
	for v := range r.versions {
		versions = append(versions, v)
	}
	slices.Sort(versions)
	return versions
}

// crdVersions are the API versions that a CustomResourceDefinition serves.
func crdVersions(content compact.Object) []string {
	var versions []string
	spec := content.Child("spec")
	for _, v := range listOf(spec["versions"]) {
		version, _ := v.(map[string]any)
		gv := text(spec, "group") + "/" + text(version, "name")
		versions = append(versions, gv, gv+"/"+text(childMap(spec, "names"), "kind"))
	}
	return versions
}

// noteVersions notes the API versions that a CRD brings: charts ask for them.
func (r *renderer) noteVersions(o *Object) {
	for _, v := range crdVersions(o.Content) {
		r.versions[v] = true
	}
}
