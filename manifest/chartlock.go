package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/git"
)

// chartLockFile stands at the root of a repository and records the digests of the charts that its agents' objects take from elsewhere. It has no
// extension of YAML, so that no agent takes it for a manifest.
const chartLockFile git.Path = "charts.lock"

// maxPackedChart bounds a packed chart, in bytes. Helm itself takes no more than 100 MiB unpacked.
const maxPackedChart = 32 << 20

// chartName is what an agent's object says of a chart that is not in Git.
type chartName struct{ Repository, Name, Version string }

func (c chartName) String() string {
	text := "chart " + c.Name
	if c.Version != "" {
		text += " " + c.Version
	}
	return text + " of " + c.Repository
}

// ociChart is the chart that a URL of a registry names with its last segment.
func ociChart(url, version string) chartName {
	return chartName{Repository: path.Dir(strings.TrimSuffix(strings.TrimPrefix(url, "oci://"), "/")), Name: path.Base(url), Version: version}.normal()
}

// normal writes the repository in one way: with or without oci:// and a slash at the end it is the same.
func (c chartName) normal() chartName {
	c.Repository = strings.TrimSuffix(strings.TrimPrefix(c.Repository, "oci://"), "/")
	return c
}

// chartLock is the content of a chartLockFile.
type chartLock struct {
	Charts []struct {
		Repository string `json:"repository"`
		Name       string `json:"name"`
		Version    string `json:"version"`
		Digest     string `json:"digest"` // of the packed chart
	} `json:"charts"`
}

// packedChart is a packed chart whose bytes hash to what Git says.
type packedChart struct {
	at     file // where in Git its digest stands
	digest string
	data   []byte
}

// packed finds a chart by the digest that the repository records for it; why says why it is not there.
func (r *renderer) packed(b *Build, repository string, c chartName) (p packedChart, why string, err error) {
	p.at, b.remote = file{repository, chartLockFile}, true
	if repository == "" {
		return p, fmt.Sprintf("%s comes from the network, and what names it stands in no repository with a %s", c, chartLockFile), nil
	}
	id, err := r.input(b, p.at)
	if err != nil {
		return p, "", err
	}
	if id == "" {
		return p, fmt.Sprintf("%s comes from the network, and repository %s has no %s with its digest", c, repository, chartLockFile), nil
	}
	lock, err := r.chartLock(b, p.at)
	if err != nil {
		return p, "", err
	}
	for _, l := range lock.Charts {
		if (chartName{l.Repository, l.Name, l.Version}).normal() == c.normal() {
			p.digest = l.Digest
		}
	}
	if p.digest == "" {
		return p, fmt.Sprintf("%s comes from the network, and %s of repository %s does not record its digest (a version must be exact)", c, chartLockFile, repository), nil
	}
	p.data, why = r.cached(b, c.String(), p.digest, ".tgz")
	return p, why, nil
}

func (r *renderer) chartLock(b *Build, at file) (*chartLock, error) {
	docs, err := r.readFile(b, at, folderRules{})
	if err != nil {
		return nil, err
	}
	where := Source{Repository: at.repository, Path: at.path}
	lock := &chartLock{}
	for _, doc := range docs {
		where.Line = doc.line
		if err := mergeInto(lock, doc.content.Map()); err != nil {
			r.problem(where, "%v", err)
			return nil, errReported
		}
	}
	seen := map[chartName]bool{}
	for i, l := range lock.Charts {
		c := chartName{l.Repository, l.Name, l.Version}
		switch {
		case !digestPattern().MatchString(l.Digest):
			r.problem(where, "charts[%d]: %s: digest %q is not sha256: with 64 hexadecimal digits", i, c, l.Digest)
			return nil, errReported
		case seen[c.normal()]:
			r.problem(where, "charts[%d]: %s stands twice", i, c)
			return nil, errReported
		}
		seen[c.normal()] = true
	}
	return lock, nil
}

func digestPattern() *regexp.Regexp { return regexp.MustCompile(`^sha256:[0-9a-f]{64}$`) }

// cached reads what somebody has put into the gate's folder of charts, and compares it with its digest. why names digest and file.
func (r *renderer) cached(b *Build, what, digest, extension string) (data []byte, why string) {
	if !digestPattern().MatchString(digest) {
		return nil, fmt.Sprintf("%s: digest %q is not sha256: with 64 hexadecimal digits", what, digest)
	}
	name := strings.TrimPrefix(digest, "sha256:") + extension
	if r.in.Charts == nil {
		b.lacking = true
		return nil, fmt.Sprintf("%s has digest %s, and the gate has no folder of charts (spec.charts) with %s", what, digest, name)
	}
	at := path.Join(r.in.Gate.Charts, name)
	info, err := fs.Stat(r.in.Charts, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		b.lacking = true
		return nil, fmt.Sprintf("%s has digest %s, and there is no file %s: put it there", what, digest, at)
	case err == nil && info.Size() > maxPackedChart:
		b.lacking = true
		return nil, fmt.Sprintf("%s: file %s is larger than %d bytes", what, at, maxPackedChart)
	case err == nil:
		data, err = fs.ReadFile(r.in.Charts, name)
	}
	if err != nil {
		b.lacking = true
		return nil, fmt.Sprintf("%s has digest %s: %v", what, digest, err)
	}
	if sum := sha256.Sum256(data); "sha256:"+hex.EncodeToString(sum[:]) != digest {
		b.lacking = true
		return nil, fmt.Sprintf("%s has digest %s, and file %s hashes to sha256:%x: it is another one, or damaged", what, digest, at, sum)
	}
	return data, ""
}

// ociLayer is a part of an OCI artifact, in its manifest (OCI image specification, manifest.md).
type ociLayer struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
}

// The media type of a chart in an OCI artifact (helm, pkg/registry/constants.go).
const chartLayer = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"

// packedArtifact finds the chart of an OCI artifact whose digest an object in Git names: its manifest names the chart by a digest in turn.
func (r *renderer) packedArtifact(b *Build, at file, what, digest string) (p packedChart, why string) {
	p.at = at
	text, why := r.cached(b, what, digest, ".json")
	if why != "" {
		return p, why
	}
	var manifest struct {
		Layers []ociLayer `json:"layers"`
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		return p, fmt.Sprintf("%s: the manifest with digest %s is none: %v", what, digest, err)
	}
	i := slices.IndexFunc(manifest.Layers, func(l ociLayer) bool { return l.MediaType == chartLayer })
	if i < 0 {
		return p, fmt.Sprintf("%s: the artifact with digest %s holds no chart", what, digest)
	}
	p.digest = manifest.Layers[i].Digest
	p.data, why = r.cached(b, what, p.digest, ".tgz")
	return p, why
}

// file is the name under which a rendering is given the chart.
func (p *packedChart) file() git.Path {
	return git.Path(strings.TrimPrefix(p.digest, "sha256:") + ".tgz")
}

// helmPacked renders a packed chart, and adds what it makes to the build: declared where its digest stands.
func (r *renderer) helmPacked(b *Build, p packedChart, o helmOptions) error {
	o = r.tell(o)
	tree := overlay{emptyFolder{}, map[string][]byte{string(p.file()): p.data}}
	at := file{p.at.repository, p.at.path + "/" + p.file()} // one file may lock several charts of a build
	return r.renderFolder(b, folderJob{at: at, with: digestHidden(b, o), render: func(_ fs.FS, made *rendered) ([]git.Path, *answer, error) {
		_, keep, err := r.renderChart(b, tree, p.file(), o, made, func(err error) error {
			return r.refuseHere(Source{Repository: p.at.repository, Path: p.at.path}, "chart "+p.digest+": ", err)
		})
		inputs := []git.Path{p.at.path}
		for _, doc := range made.docs {
			doc.path, doc.line, doc.inputs = p.at.path, 0, inputs
		}
		if keep != nil {
			keep.Inputs = inputs
			for i := range keep.Docs {
				keep.Docs[i].Path, keep.Docs[i].Line = p.at.path, 0
			}
		}
		return inputs, keep, err
	}})
}

// lockedDependencies finds the charts that a chart in the tree depends on and does not hold, as its Chart.lock names them. A repository without a
// chartLockFile has none: what is missing is then named as missing in the chart.
func (r *renderer) lockedDependencies(b *Build, at file) (found map[string]packedChart, why string, err error) {
	lock := file{at.repository, join(at.path, "Chart.lock")}
	for _, f := range []file{{at.repository, chartLockFile}, lock} {
		if id, err := r.fileID(f); err != nil || id == "" {
			return nil, "", err
		}
	}
	docs, err := r.readFile(b, lock, folderRules{})
	if err != nil || len(docs) == 0 {
		return nil, "", err
	}
	var chart struct {
		Dependencies []struct {
			Name       string `json:"name"`
			Repository string `json:"repository"`
			Version    string `json:"version"`
		} `json:"dependencies"`
	}
	if err := mergeInto(&chart, docs[0].content.Map()); err != nil {
		r.problem(Source{Repository: lock.repository, Path: lock.path}, "%v", err)
		return nil, "", errReported
	}
	found = map[string]packedChart{}
	for _, d := range chart.Dependencies {
		if d.Repository == "" || strings.HasPrefix(d.Repository, "file://") {
			continue
		}
		held := false
		for _, name := range []string{d.Name, d.Name + "-" + d.Version + ".tgz"} {
			id, err := r.fileID(file{at.repository, join(at.path, "charts/"+name)})
			if err != nil {
				return nil, "", err
			}
			held = held || id != ""
		}
		if held {
			continue
		}
		p, why, err := r.packed(b, at.repository, chartName{d.Repository, d.Name, d.Version})
		if err != nil || why != "" {
			return nil, why, err
		}
		found[d.Name] = p
	}
	return found, "", nil
}
