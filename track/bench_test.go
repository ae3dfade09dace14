package track_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/worker"
)

const childMode = "render-worker"

// The benchmarks render in processes as the gate does: this program is their child too.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == childMode {
		os.Exit(worker.Main())
	}
	os.Exit(m.Run())
}

// overlays are n folders, each with a kustomization that makes ten objects.
func overlays(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		dir := fmt.Sprintf("apps/app%d/", i)
		files[dir+"kustomization.yaml"] = fmt.Sprintf("resources: [config.yaml, workload.yaml]\nnamespace: ns%d\nimages: [{name: registry.test/app, newTag: \"%d\"}]\n"+
			"labels: [{pairs: {team: t%d}}]\nconfigMapGenerator: [{name: generated, literals: [color=red]}]\n", i, i, i%7)
		var config strings.Builder
		for j := range 7 {
			fmt.Fprintf(&config, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: config%d}\ndata: {key: value, file: \"%s\"}\n", j, strings.Repeat("a line of a file. ", 20))
		}
		files[dir+"config.yaml"] = config.String()
		files[dir+"workload.yaml"] = "apiVersion: v1\nkind: Service\nmetadata: {name: app}\nspec: {selector: {app: a}, ports: [{port: 80, targetPort: http}]}\n---\n" + deployment("app", "1")
	}
	return files
}

func deployment(name, value string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, labels: {app: a, part-of: shop}}
spec:
  replicas: 3
  selector: {matchLabels: {app: a}}
  template:
    metadata: {labels: {app: a, part-of: shop}, annotations: {checksum: %[2]q}}
    spec:
      serviceAccountName: app
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: app
        image: registry.test/app:1
        args: [--listen=:8080, --log-level=info]
        env: [{name: MODE, value: production}, {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 5}
        resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {memory: 128Mi}}
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}
        volumeMounts: [{name: config, mountPath: /etc/app}]
      volumes: [{name: config, configMap: {name: config}}]
`, name, value)
}

// BenchmarkMemory is what the truth of n distinct objects takes, with 50 revisions kept, against the bytes of what is declared.
func BenchmarkMemory(b *testing.B) {
	for _, test := range []struct {
		n         int
		workloads int // of ten objects
	}{{10_000, 3}, {10_000, 10}, {100_000, 3}} {
		n := test.n
		b.Run(fmt.Sprintf("objects=%d/deployments=%d%%", n, 10*test.workloads), func(b *testing.B) {
			w := newWorld(b)
			declared := w.mixture(n, test.workloads)
			for b.Loop() {
				before := heap()
				tr := w.start(nil)
				w.once(tr)
				for i := range 50 {
					w.publish(w.alice, "change", map[string]string{"apps/cart.yaml": configMap("cart", fmt.Sprint(i))})
					w.once(tr)
				}
				if truth := tr.Truth(); truth.Current.Len() != n+1 || len(truth.Recent) != 50 {
					b.Fatalf("%d objects, %d revisions before", truth.Current.Len(), len(truth.Recent))
				}
				live := heap() - before
				b.ReportMetric(float64(live)/(1<<20), "MiB-live")
				b.ReportMetric(float64(resident())/(1<<20), "MiB-resident")
				b.ReportMetric(float64(live)/float64(declared), "live/declared")
				w.stop(tr)
			}
		})
	}
}

// mixture writes n objects, ten to a file, of which so many are Deployments and the others Services and ConfigMaps, and returns how many bytes they have.
func (w *world) mixture(n, deployments int) int {
	files, size := map[string]string{}, 0
	for i := 0; i < n; i += 10 {
		var file strings.Builder
		for j := range 10 {
			name := fmt.Sprintf("app-%d", i+j)
			switch {
			case j < deployments:
				file.WriteString("---\n" + strings.Replace(deployment(name, name), "metadata: {", "metadata: {namespace: shop, ", 1))
			case j%2 == 0:
				fmt.Fprintf(&file, "---\napiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: shop, labels: {app: %[1]s}}\nspec: {selector: {app: %[1]s}, ports: [{name: http, port: 80, targetPort: http}]}\n", name)
			default:
				fmt.Fprintf(&file, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: shop}\ndata: {level: info, file: \"%s%[1]s\"}\n", name, strings.Repeat("a line of a file. ", 20))
			}
		}
		files[fmt.Sprintf("apps/d%d/a%d.yaml", i/1000, i)] = file.String()
		size += file.Len()
	}
	w.publish(w.alice, "fill", files)
	return size
}

// heap is what is reachable, in bytes.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // finalizers, and what pools let go of
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// resident is what the process holds of the machine's memory after it gave back what it can, in bytes.
func resident() uint64 {
	debug.FreeOSMemory()
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64() - sample[1].Value.Uint64()
}

// fill writes n objects, ten to a folder.
func fill(b *testing.B, w *world, n int) {
	b.Helper()
	for i := range n {
		name := fmt.Sprintf("item-%d", i)
		file := filepath.Join(w.repo.Work(), "apps", fmt.Sprint(i/10), name+".yaml")
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(configMap(name, "1")), 0o600); err != nil {
			b.Fatal(err)
		}
	}
}
