package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// packedRedis packs a chart and puts it into a folder of charts, with a manifest of an OCI artifact that holds it. The digests are those of the chart and of
// the manifest.
func packedRedis(t *testing.T, folder string) (chart, manifest string) {
	t.Helper()
	files := packed(t, txtar.Parse([]byte(`
-- redis.tgz/Chart.yaml --
apiVersion: v2
name: redis
version: 1.2.3
-- redis.tgz/values.yaml --
replicas: 1
-- redis.tgz/values-prod.yaml --
replicas: 7
-- redis.tgz/templates/redis.yaml --
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-redis
  labels: {chart: "{{ .Chart.Version | replace "+" "_" }}", at: "{{ .Capabilities.KubeVersion.Version }}", monitored: "{{ .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" }}"}
spec: {replicas: {{ .Values.replicas }}}
`)).Files)
	put := func(data []byte, extension string) string {
		sum := sha256.Sum256(data)
		digest := hex.EncodeToString(sum[:])
		check(t, os.WriteFile(filepath.Join(folder, digest+extension), data, 0o600))
		return digest
	}
	chart = put(files[0].Data, ".tgz")
	manifest = put([]byte(fmt.Sprintf(`{"schemaVersion": 2, "layers": [
		{"mediaType": "application/vnd.cncf.helm.chart.provenance.v1.prov", "digest": "sha256:%064d"},
		{"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "digest": "sha256:%s"}]}`, 0, chart)), ".json")
	return chart, manifest
}

func withCharts(in Input, folder string) Input {
	if in.Gate.Charts = folder; folder != "" {
		in.Charts = os.DirFS(folder)
	}
	return in
}

// What each agent says of a chart that is not in Git, in a repository of two agents, and the lock file that records what it is.
const farCharts = `
-- charts.lock --
charts:
- {repository: "https://charts.example.com/", name: redis, version: 1.2.3, digest: "sha256:CHART"}
- {repository: "oci://registry.example.com/charts", name: redis, version: 1.2.3, digest: "sha256:CHART"}
-- flux/all.yaml --
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {name: charts, namespace: flux-system}
spec: {url: "https://charts.example.com"}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
metadata: {name: redis, namespace: flux-system}
spec: {url: "oci://registry.example.com/charts/redis", ref: {digest: "sha256:MANIFEST"}}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmChart
metadata: {name: redis, namespace: flux-system}
spec: {chart: redis, version: 1.2.3, sourceRef: {kind: HelmRepository, name: charts}}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: http, namespace: flux-system}
spec: {chart: {spec: {chart: redis, version: 1.2.3, sourceRef: {kind: HelmRepository, name: charts}}}, values: {replicas: 2}}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: oci, namespace: flux-system}
spec: {chartRef: {kind: OCIRepository, name: redis}}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: ref, namespace: flux-system}
spec: {chartRef: {kind: HelmChart, name: redis}}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: files, namespace: flux-system}
spec: {chart: {spec: {chart: redis, version: 1.2.3, sourceRef: {kind: HelmRepository, name: charts}, valuesFiles: [values.yaml, ./values-prod.yaml, missing.yaml], ignoreMissingValuesFiles: true}}}
-- argo/all.yaml --
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: argo, namespace: argocd}
spec:
  sources:
  - {repoURL: registry.example.com/charts, chart: redis, targetRevision: 1.2.3, helm: {valueFiles: [$git/values/redis.yaml]}}
  - {repoURL: "https://git.example.com/org/infra", targetRevision: main, ref: git}
  destination: {server: "https://kubernetes.default.svc", namespace: far}
-- values/redis.yaml --
replicas: 3
-- chart/Chart.yaml --
apiVersion: v2
name: above
version: 1.0.0
dependencies: [{name: redis, version: 1.x, repository: "https://charts.example.com"}]
-- chart/Chart.lock --
dependencies: [{name: redis, version: 1.2.3, repository: "https://charts.example.com"}]
digest: sha256:0
-- chart/values.yaml --
redis: {replicas: 4}
`

const farRoots = `  - {repository: infra, path: flux, agent: flux}
  - {repository: infra, path: argo, agent: argocd}
  - {repository: infra, path: chart, agent: ci, release: {name: ci, namespace: far}}
`

func TestChartsFromElsewhereAreTakenByTheDigestThatGitRecords(t *testing.T) {
	in := gate(t, farRoots)
	in = withCharts(in, t.TempDir())
	in.Gate.Kubernetes.Version, in.Gate.Kubernetes.APIVersions = "v1.33.2", []string{"monitoring.coreos.com/v1"}
	chart, manifest := packedRedis(t, in.Gate.Charts)
	repository := newRepo(t)
	set, err := render(t.Context(), in, map[string]revision{"infra": repository.commit(strings.NewReplacer("CHART", chart, "MANIFEST", manifest).Replace(farCharts))})
	check(t, err)
	if len(set.Unfollowed) > 0 {
		t.Errorf("unfollowed: %v", Problems(set.Unfollowed))
	}
	for name, want := range map[string]string{
		"flux-system/http-redis":  "{chart: 1.2.3, at: v1.33.2, monitored: 'true'}\n  replicas: 2",
		"flux-system/ref-redis":   "{chart: 1.2.3, at: v1.33.2, monitored: 'true'}\n  replicas: 1",
		"flux-system/files-redis": "{chart: 1.2.3_1, at: v1.33.2, monitored: 'true'}\n  replicas: 7",
		"flux-system/oci-redis":   "{chart: 1.2.3_" + manifest[:12] + ", at: v1.33.2, monitored: 'true'}\n  replicas: 1",
		"far/argo-redis":          "{chart: 1.2.3, at: v1.33.2, monitored: 'true'}\n  replicas: 3",
		"far/ci-redis":            "{chart: 1.2.3, at: v1.33.2, monitored: 'true'}\n  replicas: 4",
	} {
		o := objectOf(t, set, "Deployment "+name)
		labels := o.Content.Child("metadata", "labels")
		have := fmt.Sprintf("{chart: %v, at: %v, monitored: '%v'}\n  replicas: %v", labels["chart"], labels["at"], labels["monitored"], o.Content.At("spec", "replicas"))
		if have != want {
			t.Errorf("%s: %s\nwant %s", name, have, want)
		}
		wantAt := map[string]string{"flux-system/oci-redis": "infra:flux/all.yaml", "far/ci-redis": "infra:chart/Chart.yaml"}[name]
		if wantAt == "" {
			wantAt = "infra:charts.lock"
		}
		if o.Source.place() != wantAt {
			t.Errorf("%s is declared in %s, want %s", name, o.Source.place(), wantAt)
		}
	}
	if o := objectOf(t, set, "Deployment flux-system/files-redis"); !slices.Equal(o.Opaque, []string{"metadata.labels.chart"}) {
		t.Errorf("the number of the HelmChart's generation is taken for known: opaque %q", o.Opaque)
	}
	// What nobody touches is taken over.
	in.Previous = set
	next, err := render(t.Context(), in, map[string]revision{"infra": repository.commit("-- README.md --\nread me\n")})
	check(t, err)
	for _, o := range next.Objects {
		if !pointers(set)[o] {
			t.Errorf("%s was rendered anew", o.Key)
		}
	}
}

func objectOf(t *testing.T, s *Set, key string) *Object {
	t.Helper()
	for _, o := range s.Objects {
		if o.Key.String() == key {
			return o
		}
	}
	t.Fatalf("no %s in\n%s", key, lines(s))
	return nil
}

// Nothing else stands between a registry and the cluster than these digests.
func TestAChartThatIsNotWhatGitRecordsIsNotFollowed(t *testing.T) {
	folder := t.TempDir()
	chart, manifest := packedRedis(t, folder)
	const none = "0000000000000000000000000000000000000000000000000000000000000000"
	forged := "1111111111111111111111111111111111111111111111111111111111111111"
	check(t, os.WriteFile(filepath.Join(folder, forged+".tgz"), []byte("a chart of somebody else"), 0o600))
	tests := map[string]struct {
		edit  []string
		cache string
		want  string // in what is not followed
		wrong string // or in the problems
	}{
		"no file in the folder": {
			edit: []string{"CHART", none, "MANIFEST", none}, cache: folder,
			want: "chart redis 1.2.3 of https://charts.example.com has digest sha256:" + none + ", and there is no file " + folder + "/" + none + ".tgz: put it there",
		},
		"another file in its place": {
			edit: []string{"CHART", forged, "MANIFEST", none}, cache: folder,
			want: "has digest sha256:" + forged + ", and file " + folder + "/" + forged + ".tgz hashes to sha256:",
		},
		"a manifest of another artifact": {
			edit: []string{"CHART", chart, "MANIFEST", chart}, cache: folder,
			want: "there is no file " + folder + "/" + chart + ".json",
		},
		"no folder": {
			edit: []string{"CHART", chart, "MANIFEST", manifest},
			want: "has digest sha256:" + chart + ", and the gate has no folder of charts (spec.charts) with " + chart + ".tgz",
		},
		"a version that is a range": {
			edit: []string{"CHART", chart, "MANIFEST", manifest, "chart: redis, version: 1.2.3, sourceRef", "chart: redis, version: 1.x, sourceRef"}, cache: folder,
			want: "chart redis 1.x of https://charts.example.com comes from the network, and charts.lock of repository infra does not record its digest (a version must be exact)",
		},
		"an artifact by its tag": {
			edit: []string{"CHART", chart, `{digest: "sha256:MANIFEST"}`, "{tag: 1.2.3}"}, cache: folder,
			want: "OCIRepository flux-system/redis: oci://registry.example.com/charts/redis comes from the network, and spec.ref.digest does not say in Git what it is",
		},
		"no lock file": {
			edit: []string{"-- charts.lock --", "-- other.lock --", "MANIFEST", manifest, "-- chart/", "-- vendored/", "  - {repository: infra, path: chart", "  # "}, cache: folder,
			want: "chart redis 1.2.3 of https://charts.example.com comes from the network, and repository infra has no charts.lock with its digest",
		},
		"a lock file with two digests of one chart": {
			edit: []string{"CHART", chart, "MANIFEST", manifest, `- {repository: "oci://registry.example.com/charts"`, `- {repository: "https://charts.example.com"`}, cache: folder,
			wrong: "infra:charts.lock:1: charts[1]: chart redis 1.2.3 of https://charts.example.com stands twice",
		},
		"a lock file with a digest that is none": {
			edit: []string{"CHART", "../../etc/passwd", "MANIFEST", manifest}, cache: folder,
			wrong: `infra:charts.lock:1: charts[0]: chart redis 1.2.3 of https://charts.example.com/: digest "sha256:../../etc/passwd" is not sha256: with 64 hexadecimal digits`,
		},
	}
	_, err := render(t.Context(), withCharts(gate(t, argoRoot("source: {repoURL: 'https://charts.example.com', chart: redis, targetRevision: 1.2.3}")), folder),
		map[string]revision{"infra": newRepo(t).commit("-- charts.lock --\ncharts: []\n")})
	if want := "chart redis 1.2.3 of https://charts.example.com comes from the network, and what names it stands in no repository with a charts.lock"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("of an Application in the configuration: %v\nwant %s", err, want)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			replacer := strings.NewReplacer(test.edit...)
			in := gate(t, replacer.Replace(farRoots))
			in = withCharts(in, test.cache)
			set, err := render(t.Context(), in, map[string]revision{"infra": newRepo(t).commit(replacer.Replace(farCharts))})
			if test.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), test.wrong) {
					t.Errorf("error\n%v\nwant\n%s", err, test.wrong)
				}
				return
			}
			check(t, err)
			if have := Problems(set.Unfollowed).Error(); !strings.Contains(have, test.want) {
				t.Errorf("unfollowed\n%s\nwant\n%s", have, test.want)
			}
		})
	}
}

// A gate that was configured before its charts were there finds them with the next push.
func TestAChartThatComesLaterIsFollowedWithTheNextPush(t *testing.T) {
	folder := t.TempDir()
	chart, manifest := packedRedis(t, folder)
	in := gate(t, farRoots)
	in = withCharts(in, filepath.Join(folder, "later"))
	repository := newRepo(t)
	set, err := render(t.Context(), in, map[string]revision{"infra": repository.commit(strings.NewReplacer("CHART", chart, "MANIFEST", manifest).Replace(farCharts))})
	check(t, err)
	if len(set.Unfollowed) != 6 {
		t.Errorf("unfollowed\n%v\nwant all six releases", Problems(set.Unfollowed))
	}
	check(t, os.Mkdir(in.Gate.Charts, 0o700))
	for _, name := range []string{chart + ".tgz", manifest + ".json"} {
		check(t, os.Link(filepath.Join(folder, name), filepath.Join(in.Gate.Charts, name)))
	}
	in.Previous = set
	set, err = render(t.Context(), in, map[string]revision{"infra": repository.commit("-- README.md --\nread me\n")})
	check(t, err)
	if len(set.Unfollowed) > 0 {
		t.Errorf("unfollowed: %v", Problems(set.Unfollowed))
	}
}

func TestFleetTakesALockedChartToo(t *testing.T) {
	in := fleetGate(t, "")
	in = withCharts(in, t.TempDir())
	chart, _ := packedRedis(t, in.Gate.Charts)
	set, err := render(t.Context(), in, map[string]revision{"infra": newRepo(t).commit(strings.ReplaceAll(fleetRoot+`
-- charts.lock --
charts:
- {repository: "https://charts.example.com", name: redis, version: 1.2.3, digest: "sha256:CHART"}
- {repository: registry.example.com/charts, name: redis, version: 1.2.3, digest: "sha256:CHART"}
-- apps/http/fleet.yaml --
helm: {releaseName: http, repo: "https://charts.example.com", chart: redis, version: 1.2.3, values: {replicas: 5}}
-- apps/oci/fleet.yaml --
helm: {releaseName: oci, chart: "oci://registry.example.com/charts/redis", version: 1.2.3}
`, "CHART", chart))})
	check(t, err)
	for name, want := range map[string]string{"http": "replicas: 5", "oci": "replicas: 1"} {
		if have := described(t, set, "Deployment default/"+name+"-redis"); !strings.Contains(have, want) || !strings.Contains(have, "objectset.rio.cattle.io/id: default-shop-apps-"+name) {
			t.Errorf("%s\n%s", name, have)
		}
	}
}
