package manifest

import (
	"strings"
	"testing"
)

// A HelmOp is a bundle of a chart that is not in Git: Git records what its bytes are.
func TestHelmOpsAreFollowedByDigest(t *testing.T) {
	folder := t.TempDir()
	chart, _ := packedRedis(t, folder)
	const helmOps = `
-- fleet/redis.yaml --
apiVersion: fleet.cattle.io/v1alpha1
kind: HelmOp
metadata: {name: redis, namespace: fleet-local}
spec:
  namespace: cache
  helm: {repo: "https://charts.example.com", chart: redis, version: 1.2.3, releaseName: cache, values: {replicas: 2}}
  targets: [{clusterName: far, helm: {values: {replicas: 9}}}, {clusterName: local, helm: {values: {replicas: 3}}}]
---
apiVersion: fleet.cattle.io/v1alpha1
kind: HelmOp
metadata: {name: latest, namespace: fleet-local}
spec: {helm: {repo: "https://charts.example.com", chart: redis}}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: HelmOp
metadata: {name: nowhere, namespace: fleet-local}
spec: {helm: {chart: "https://charts.example.com/redis-1.2.3.tgz"}}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: HelmOp
metadata: {name: far, namespace: fleet-local}
spec: {helm: {repo: "https://charts.example.com", chart: redis, version: 1.2.3}, targets: [{clusterName: far}]}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: HelmOp
metadata: {name: theirs, namespace: fleet-default}
spec: {helm: {repo: "https://charts.example.com", chart: redis, version: 1.2.3}}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: Bundle
metadata: {name: by-hand, namespace: fleet-local}
spec: {resources: []}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: BundleNamespaceMapping
metadata: {name: teams, namespace: fleet-local}
bundleSelector: {}
namespaceSelector: {}
-- charts.lock --
charts:
- {repository: "https://charts.example.com/", name: redis, version: 1.2.3, digest: "sha256:CHART"}
`
	in := withCharts(fleetGate(t, ""), folder)
	set, err := render(t.Context(), in, map[string]revision{"infra": newRepo(t).commit(strings.ReplaceAll(helmOps, "CHART", chart))})
	check(t, err)
	if have, want := "\n"+lines(set), `
Namespace cache	infra:fleet/redis.yaml:1	fleet/redis
Namespace default	infra:fleet/redis.yaml:9	fleet/latest
Deployment cache/cache-redis	infra:charts.lock:0	fleet/redis
Bundle.fleet.cattle.io fleet-local/by-hand	infra:fleet/redis.yaml:29
BundleNamespaceMapping.fleet.cattle.io fleet-local/teams	infra:fleet/redis.yaml:34
HelmOp.fleet.cattle.io fleet-default/theirs	infra:fleet/redis.yaml:24
HelmOp.fleet.cattle.io fleet-local/far	infra:fleet/redis.yaml:19
HelmOp.fleet.cattle.io fleet-local/latest	infra:fleet/redis.yaml:9
HelmOp.fleet.cattle.io fleet-local/nowhere	infra:fleet/redis.yaml:14
HelmOp.fleet.cattle.io fleet-local/redis	infra:fleet/redis.yaml:1
`; !strings.HasPrefix(have, want) {
		t.Errorf("have%s\nwant%s", have, want)
	}
	redis := described(t, set, "Deployment cache/cache-redis")
	for _, want := range []string{"replicas: 3", "fleet.cattle.io/managed-by-kind: helmop", "fleet.cattle.io/managed-by-name: redis", "meta.helm.sh/release-name: cache", "objectset.rio.cattle.io/id: default-redis"} {
		if !strings.Contains(redis, want) {
			t.Errorf("no %q in\n%s", want, redis)
		}
	}
	for _, want := range []string{
		"infra:fleet/redis.yaml:9: HelmOp.fleet.cattle.io fleet-local/latest (bundle latest) is not followed: chart redis of https://charts.example.com comes from the network, and charts.lock of repository infra does not record its digest (a version must be exact)",
		"infra:fleet/redis.yaml:14: HelmOp.fleet.cattle.io fleet-local/nowhere (bundle nowhere) is not followed: chart https://charts.example.com/redis-1.2.3.tgz is neither in the bundle's folder nor in a repository or registry",
		"infra:fleet/redis.yaml:29: Bundle.fleet.cattle.io fleet-local/by-hand is not followed: files in a Bundle are copies",
		"infra:fleet/redis.yaml:34: BundleNamespaceMapping.fleet.cattle.io fleet-local/teams is not followed: bundles of another namespace are not looked for",
	} {
		if have := Problems(set.Unfollowed).Error(); !strings.Contains(have, want) {
			t.Errorf("unfollowed\n%s\nwant\n%s", have, want)
		}
	}
	redisOp, far := Key{"fleet.cattle.io", "HelmOp", "fleet-local", "redis"}, Key{"fleet.cattle.io", "HelmOp", "fleet-local", "far"}
	if !set.MakesBundle(redisOp, "redis") || set.MakesBundle(redisOp, "mine") || !set.MakesBundle(far, "far") {
		t.Error("a HelmOp makes the bundle of its name, and no other")
	}
}

// Commits that Fleet makes for new images are signed by nobody.
func TestImageScansAreNotFollowed(t *testing.T) {
	set, err := render(t.Context(), fleetGate(t, ""), map[string]revision{"infra": newRepo(t).commit(fleetRoot + `
-- apps/fleet.yaml --
imageScans: [{image: registry.example.com/cart, tagName: cart, policy: {semver: {range: "*"}}}]
-- apps/cart.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: cart}
`)})
	check(t, err)
	if have := Problems(set.Unfollowed).Error(); !strings.Contains(have, "infra:apps/fleet.yaml: GitRepo.fleet.cattle.io fleet-local/shop (bundle shop-apps) is not followed: imageScans has Fleet make commits that nobody signs") {
		t.Errorf("unfollowed: %s", have)
	}
}
