package manifest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

func TestObjectsAreWhatConfigSyncMakesOfThem(t *testing.T) {
	c, err := v1alpha1.Parse("gate.yaml", []byte(`apiVersion: commitgate.dev/v1alpha1
kind: TrustedRepository
metadata: {name: infra}
spec: {url: "https://git.example.com/org/infra", branch: main, anchor: {commit: "0000000000000000000000000000000000000001"}}
---
apiVersion: commitgate.dev/v1alpha1
kind: Gate
metadata: {name: test}
spec:
  cluster: eu
  agents: [{name: acm, preset: ConfigSync, users: ["system:serviceaccount:config-management-system:root-reconciler"]}]
  roots:
  - objects:
    - apiVersion: configsync.gke.io/v1beta1
      kind: RootSync
      metadata: {name: root-sync, namespace: config-management-system}
      spec: {sourceFormat: unstructured, git: {repo: "https://git.example.com/org/infra", branch: main, dir: cluster}}
`))
	check(t, err)
	repository := newRepo(t)
	revision1 := repository.commit(`
-- cluster/team.yaml --
apiVersion: configsync.gke.io/v1beta1
kind: RepoSync
metadata: {name: repo-sync, namespace: shop}
spec: {git: {repo: "https://git.example.com/org/infra", branch: main, dir: shop}}
-- cluster/role.yaml --
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
-- cluster/default.yaml --
apiVersion: v1
kind: Namespace
metadata: {name: default}
-- cluster/tuned.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: tuned, namespace: shop, annotations: {client.lifecycle.config.k8s.io/mutation: ignore}}
data: {a: b}
-- cluster/far.yaml --
apiVersion: configsync.gke.io/v1beta1
kind: RootSync
metadata: {name: far, namespace: config-management-system}
spec: {sourceType: oci, oci: {image: registry.example/far}}
-- cluster/chosen.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: chosen, namespace: shop, annotations: {configsync.gke.io/cluster-name-selector: eu}}
-- shop/cart.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
`)
	in := Input{Gate: c.Gate.Spec, Repositories: c.Repositories}
	set, err := render(t.Context(), in, map[string]revision{"infra": revision1})
	check(t, err)
	same(t, described(t, set, "Deployment shop/cart"), strings.ReplaceAll(`
content: {apiVersion: apps/v1, kind: Deployment, metadata: {name: cart, namespace: shop}}
labels:
  app.kubernetes.io/managed-by: configmanagement.gke.io
  applyset.kubernetes.io/part-of: applyset-Q0LBGrvSh4kw9zKeo27MjkygAMefFsS373jTE9LHp6A-v1
  configsync.gke.io/declared-version: v1
annotations:
  configmanagement.gke.io/cluster-name: eu
  configmanagement.gke.io/managed: enabled
  configmanagement.gke.io/source-path: shop/cart.yaml
  configmanagement.gke.io/token: COMMIT
  configsync.gke.io/git-context: '{"repo":"https://git.example.com/org/infra","branch":"main","rev":"HEAD"}'
  configsync.gke.io/manager: shop
  configsync.gke.io/resource-id: apps_deployment_shop_cart
  config.k8s.io/owning-inventory: shop_repo-sync`, "COMMIT", string(revision1.commit)))
	role := described(t, set, "ClusterRole.rbac.authorization.k8s.io reader")
	for _, mark := range []string{"configsync.gke.io/manager: :root\n", "configsync.gke.io/resource-id: rbac.authorization.k8s.io_clusterrole_reader\n", "owning-inventory: config-management-system_root-sync\n"} {
		if !strings.Contains(role, mark) {
			t.Errorf("no %q in\n%s", mark, role)
		}
	}
	described(t, set, "Namespace shop")
	if ns := described(t, set, "Namespace default"); !strings.Contains(ns, "client.lifecycle.config.k8s.io/deletion: detach") {
		t.Errorf("a namespace that is never deleted:\n%s", ns)
	}
	for _, o := range set.Objects {
		if want := "[metadata.labels** metadata.annotations** data**]"; o.Name == "tuned" && fmt.Sprint(o.Apply.Ignored) != want {
			t.Errorf("of an object that may be changed by others, %v is ignored, want %s", o.Apply.Ignored, want)
		}
	}
	unfollowed := `infra:cluster/chosen.yaml:1: ConfigMap chosen is not followed: the annotation configsync.gke.io/cluster-name-selector chooses clusters or namespaces
infra:cluster/far.yaml:1: RootSync.configsync.gke.io config-management-system/far is not followed: its source is not Git`
	if have := Problems(set.Unfollowed).Error(); have != unfollowed {
		t.Errorf("unfollowed\n%s\nwant\n%s", have, unfollowed)
	}
	// The next commit stands on every object.
	in.Previous = set
	revision2 := repository.commit("-- README.md --\nread me\n")
	set, err = render(t.Context(), in, map[string]revision{"infra": revision2})
	check(t, err)
	if now := described(t, set, "Deployment shop/cart"); !strings.Contains(now, "token: "+string(revision2.commit)) {
		t.Errorf("not of the new commit:\n%s", now)
	}
	if have := Problems(set.Unfollowed).Error(); have != unfollowed {
		t.Errorf("after another commit unfollowed\n%s\nwant\n%s", have, unfollowed)
	}
}
