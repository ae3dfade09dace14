package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// deployment is a review of the usual size: 8 to 12 KB of JSON.
func deployment(containers int) string {
	var b strings.Builder
	b.WriteString(`
apiVersion: apps/v1
kind: Deployment
metadata:
  name: cart
  namespace: shop
  labels: {app: cart, team: shop, "app.kubernetes.io/managed-by": Helm}
  annotations: {owner: shop@example.com}
spec:
  replicas: 3
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart, team: shop}}
    spec:
      serviceAccountName: cart
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
`)
	for i := range containers {
		fmt.Fprintf(&b, `
      - name: c%d
        image: registry.example.com/shop/cart-%d@sha256:%s
        ports: [{name: http, containerPort: 8080, protocol: TCP}]
        resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {cpu: 500m, memory: 256Mi}}
        livenessProbe: {httpGet: {path: /healthz, port: http, scheme: HTTP}, initialDelaySeconds: 3, periodSeconds: 10}
        readinessProbe: {httpGet: {path: /readyz, port: http, scheme: HTTP}, initialDelaySeconds: 3, periodSeconds: 10}
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
        volumeMounts: [{name: data, mountPath: /data}, {name: tmp, mountPath: /tmp}]
        env:
`, i, i, strings.Repeat("ab", 32))
		for j := range 12 {
			fmt.Fprintf(&b, "        - {name: SETTING_%d, value: \"value-%d\"}\n", j, j)
		}
	}
	b.WriteString("      volumes: [{name: data, emptyDir: {}}, {name: tmp, emptyDir: {}}]\n")
	return b.String()
}

// kinds of policy that people use, after the shapes of the public libraries.
var shapes = []string{`
deny contains {"id": "latest", "msg": msg} if {
	some c in input.object.spec.template.spec.containers
	endswith(c.image, ":latest")
	msg := sprintf("container %s uses latest", [c.name])
}
`, `
deny contains {"id": "registry", "msg": msg} if {
	some c in input.object.spec.template.spec.containers
	not allowed(c.image)
	msg := sprintf("container %s comes from a foreign registry", [c.name])
}

registries := ["registry.example.com/", "quay.io/example/", "ghcr.io/example/"]

allowed(image) if {
	some r in registries
	startswith(image, r)
}
`, `
deny contains {"id": "labels", "msg": msg} if {
	some key in {"app", "team"}
	not input.object.metadata.labels[key]
	msg := sprintf("label %s is missing", [key])
}
`, `
deny contains {"id": "limits", "msg": msg} if {
	some c in input.object.spec.template.spec.containers
	some r in ["cpu", "memory"]
	not c.resources.limits[r]
	msg := sprintf("container %s has no limit of %s", [c.name, r])
}
`, `
deny contains {"id": "four-eyes", "msg": "two people must sign changes to payment"} if {
	startswith(input.git.path, "apps/payment/")
	count(input.git.signers) < 2
}

warn contains {"id": "ticket", "msg": "no ticket"} if not input.git.trailers.ticket
`}

func policies(n int) []string {
	var files []string
	for i := range n {
		files = append(files, fmt.Sprintf("p%d.rego", i), fmt.Sprintf("package commitgate.p%d\n%s", i, shapes[i%len(shapes)]))
	}
	return files
}

func BenchmarkDecide(b *testing.B) {
	in := create(b, deployment(6))
	for _, n := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("%d policies", n), func(b *testing.B) {
			s := mustLoad(b, tree(policies(n)...))
			b.ReportAllocs()
			var times []time.Duration
			for b.Loop() {
				began := time.Now()
				r, err := s.Decide(context.Background(), in)
				times = append(times, time.Since(began))
				if err != nil || !r.Allowed() {
					b.Fatal(r, err)
				}
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// BenchmarkInput is what one decision pays before the first rule: the conversion of the review.
func BenchmarkInput(b *testing.B) {
	in := create(b, deployment(6))
	b.ReportAllocs()
	for b.Loop() {
		req, err := newRequest(in)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := req.ownDocument(); err != nil {
			b.Fatal(err)
		}
	}
}
