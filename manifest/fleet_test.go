package manifest

import (
	"slices"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
)

// fleetGate is a gate in front of a cluster that Fleet manages; fleet is what the agent's configuration says of the cluster.
func fleetGate(t *testing.T, fleet string) Input {
	t.Helper()
	c, err := v1alpha1.Parse("gate.yaml", []byte(`apiVersion: commitgate.dev/v1alpha1
kind: TrustedRepository
metadata: {name: infra}
spec: {url: "https://git.example.com/org/infra", branch: main, anchor: {commit: "0000000000000000000000000000000000000001"}}
---
apiVersion: commitgate.dev/v1alpha1
kind: Gate
metadata: {name: test}
spec:
  agents: [{name: fleet, preset: Fleet, users: ["system:serviceaccount:cattle-fleet-system:fleet-agent"], fleet: {`+fleet+`}}]
  roots: [{repository: infra, path: fleet}]
`))
	check(t, err)
	return Input{Gate: c.Gate.Spec, Repositories: c.Repositories, Engine: InProcess{}}
}

// A root with one GitRepo, which names everything below apps.
const fleetRoot = `
-- fleet/shop.yaml --
apiVersion: fleet.cattle.io/v1alpha1
kind: GitRepo
metadata: {name: shop, namespace: fleet-local}
spec: {repo: "https://git.example.com/org/infra", branch: main, paths: [apps]}
`

const fleetChart = `
-- apps/CHART/Chart.yaml --
apiVersion: v2
name: web
version: 1.0.0
-- apps/CHART/values.yaml --
replicas: 1
tier: none
-- apps/CHART/templates/deployment.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name }}", labels: {tier: "{{ .Values.tier }}"}}
spec: {replicas: {{ .Values.replicas }}}
`

func TestBundlesAreFoundAndReadAsFleetDoes(t *testing.T) {
	tests := map[string]struct {
		cluster string // of the agent's configuration
		files   string
		want    string
		wrong   string
	}{
		"manifests outside of folders with a fleet.yaml are one bundle, each such folder is another": {
			files: fleetRoot + `
-- apps/settings.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
-- apps/deep/er.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: deeper, namespace: elsewhere}
-- apps/values-for-nothing.yaml --
a: 1
-- apps/.hidden.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: hidden}
-- apps/README.md --
read me
-- apps/cart/fleet.yaml --
defaultNamespace: shop
-- apps/cart/cart.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
-- other/x.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: named-by-nobody}
`,
			want: `
ConfigMap default/settings	infra:apps/settings.yaml:1	fleet/shop
ConfigMap elsewhere/deeper	infra:apps/deep/er.yaml:1	fleet/shop
Namespace default	infra:fleet/shop.yaml:1	fleet/shop
Namespace shop	infra:fleet/shop.yaml:1	fleet/shop
Deployment shop/cart	infra:apps/cart/cart.yaml:1	fleet/shop
GitRepo.fleet.cattle.io fleet-local/shop	infra:fleet/shop.yaml:1
`,
		},
		"what a .fleetignore names is left out, in its folder and below": {
			files: fleetRoot + `
-- apps/.fleetignore --
# not for the cluster
draft-*.yaml
old/*
-- apps/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
-- apps/draft-b.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: b}
-- apps/old/c.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
-- apps/x/draft-d.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: d}
`,
			want: `
ConfigMap default/a	infra:apps/a.yaml:1	fleet/shop
Namespace default	infra:fleet/shop.yaml:1	fleet/shop
GitRepo.fleet.cattle.io fleet-local/shop	infra:fleet/shop.yaml:1
`,
		},
		"a chart, a kustomization, and a chart below a kustomization": {
			files: fleetRoot + strings.ReplaceAll(fleetChart, "CHART", "web") + strings.ReplaceAll(fleetChart, "CHART", "both") + `
-- apps/web/fleet.yaml --
helm: {releaseName: front}
-- apps/both/fleet.yaml --
defaultNamespace: both
helm: {releaseName: both}
-- apps/both/kustomization.yaml --
patches: [{target: {kind: Deployment}, patch: "- {op: add, path: /metadata/labels/patched, value: yes-it-is}"}]
-- apps/kust/fleet.yaml --
namespace: kust
kustomize: {dir: overlay}
-- apps/kust/base/kustomization.yaml --
resources: [cm.yaml]
-- apps/kust/base/cm.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: cm}
-- apps/kust/overlay/kustomization.yaml --
resources: [../base]
namePrefix: my-
`,
			want: `
ConfigMap kust/my-cm	infra:apps/kust/base/cm.yaml:1	fleet/shop
Namespace both	infra:fleet/shop.yaml:1	fleet/shop
Namespace default	infra:fleet/shop.yaml:1	fleet/shop
Namespace kust	infra:fleet/shop.yaml:1	fleet/shop
Deployment both/both	infra:apps/both/templates/deployment.yaml:0	fleet/shop
Deployment default/front	infra:apps/web/templates/deployment.yaml:0	fleet/shop
GitRepo.fleet.cattle.io fleet-local/shop	infra:fleet/shop.yaml:1
`,
		},
		"a bundle may be given by hand, with the file that holds its options": {
			files: `
-- fleet/shop.yaml --
apiVersion: fleet.cattle.io/v1alpha1
kind: GitRepo
metadata: {name: shop, namespace: fleet-local}
spec:
  repo: https://git.example.com/org/infra
  branch: main
  bundles: [{base: apps/cart, options: dev.yaml}, {base: apps/plain}]
-- apps/cart/dev.yaml --
defaultNamespace: dev
-- apps/cart/fleet.yaml --
defaultNamespace: prod
-- apps/cart/cart.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
-- apps/plain/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
`,
			want: `
ConfigMap default/a	infra:apps/plain/a.yaml:1	fleet/shop
Namespace default	infra:fleet/shop.yaml:1	fleet/shop
Namespace dev	infra:fleet/shop.yaml:1	fleet/shop
Deployment dev/cart	infra:apps/cart/cart.yaml:1	fleet/shop
GitRepo.fleet.cattle.io fleet-local/shop	infra:fleet/shop.yaml:1
`,
		},
		"stars in paths stand for folders, and overlays replace, add and patch files": {
			files: strings.ReplaceAll(fleetRoot, "[apps]", "[/teams/*/apps]") + `
-- teams/a/apps/fleet.yaml --
yaml: {overlays: [big]}
-- teams/a/apps/cm.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: cm}
data: {size: small, kept: "yes"}
-- teams/a/apps/replaced.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: replaced}
-- teams/a/apps/overlays/big/cm_patch.yaml --
data: {size: big}
-- teams/a/apps/overlays/big/replaced.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: replacement}
-- teams/a/apps/overlays/big/sub/added.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: added}
-- teams/a/apps/overlays/small/other.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
-- teams/README.yaml --
not: read
`,
			want: `
ConfigMap default/added	infra:teams/a/apps/overlays/big/sub/added.yaml:1	fleet/shop
ConfigMap default/cm	infra:teams/a/apps/cm.yaml:1	fleet/shop
ConfigMap default/replacement	infra:teams/a/apps/overlays/big/replaced.yaml:1	fleet/shop
Namespace default	infra:fleet/shop.yaml:1	fleet/shop
GitRepo.fleet.cattle.io fleet-local/shop	infra:fleet/shop.yaml:1
`,
		},
		"a GitRepo for other clusters, and a bundle that is not deployed here, declare nothing": {
			cluster: "namespace: fleet-default, name: c-1, labels: {env: dev}",
			files: `
-- fleet/repos.yaml --
apiVersion: fleet.cattle.io/v1alpha1
kind: GitRepo
metadata: {name: prod, namespace: fleet-default}
spec: {repo: "https://git.example.com/org/infra", branch: main, paths: [apps], targets: [{clusterSelector: {matchLabels: {env: prod}}}]}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: GitRepo
metadata: {name: local, namespace: fleet-local}
spec: {repo: "https://git.example.com/org/infra", branch: main, paths: [apps]}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: GitRepo
metadata: {name: nobody, namespace: fleet-default}
spec: {repo: "https://git.example.com/org/infra", branch: main, paths: [apps]}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: GitRepo
metadata: {name: paused, namespace: fleet-default}
spec: {repo: "https://git.example.com/org/infra", branch: main, paths: [apps], targets: [{clusterName: c-1, doNotDeploy: true}, {clusterSelector: {}}]}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: GitRepo
metadata: {name: dev, namespace: fleet-default}
spec: {repo: "https://git.example.com/org/infra", branch: main, paths: [apps], targets: [{clusterSelector: {matchExpressions: [{key: env, operator: In, values: [dev]}]}}]}
-- apps/no/fleet.yaml --
targetCustomizations: [{clusterSelector: {}}, {clusterName: c-1, doNotDeploy: true}]
-- apps/no/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
-- apps/yes/fleet.yaml --
overrideTargets: [{clusterSelector: {}}]
-- apps/yes/b.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: b}
`,
			want: `
ConfigMap default/b	infra:apps/yes/b.yaml:1	fleet/dev
Namespace default	infra:fleet/repos.yaml:21	fleet/dev
GitRepo.fleet.cattle.io fleet-default/dev	infra:fleet/repos.yaml:21
GitRepo.fleet.cattle.io fleet-default/nobody	infra:fleet/repos.yaml:11
GitRepo.fleet.cattle.io fleet-default/paused	infra:fleet/repos.yaml:16
GitRepo.fleet.cattle.io fleet-default/prod	infra:fleet/repos.yaml:1
GitRepo.fleet.cattle.io fleet-local/local	infra:fleet/repos.yaml:6
`,
		},
		"what leads out of the verified tree is not followed, each by its name": {
			files: strings.ReplaceAll(fleetRoot, "[apps]", "[apps/*]") + `
-- fleet/far.yaml --
apiVersion: fleet.cattle.io/v1alpha1
kind: GitRepo
metadata: {name: far, namespace: fleet-local}
spec: {repo: "https://elsewhere.example.com/x", branch: main}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: GitRepo
metadata: {name: tag, namespace: fleet-local}
spec: {repo: "https://git.example.com/org/infra", revision: v1.0}
-- apps/http/fleet.yaml --
helm: {repo: "https://charts.example.com", chart: redis, version: 1.2.3}
-- apps/oci/fleet.yaml --
helm: {chart: "oci://registry.example.com/charts/redis"}
-- apps/above/fleet.yaml --
helm: {chart: ../chart}
-- apps/templates/templates/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}"}
-- apps/when/fleet.yaml --
helm: {values: {at: "${ now }"}}
-- apps/when/Chart.yaml --
apiVersion: v2
name: when
version: 1.0.0
`,
			want: `
Namespace default	infra:fleet/shop.yaml:1	fleet/shop
GitRepo.fleet.cattle.io fleet-local/far	infra:fleet/far.yaml:1
GitRepo.fleet.cattle.io fleet-local/shop	infra:fleet/shop.yaml:1
GitRepo.fleet.cattle.io fleet-local/tag	infra:fleet/far.yaml:6
unfollowed: infra:apps/above/fleet.yaml: GitRepo.fleet.cattle.io fleet-local/shop (bundle shop-apps-above) is not followed: chart ../chart is neither in the bundle's folder nor in a repository or registry
unfollowed: infra:apps/http/fleet.yaml: GitRepo.fleet.cattle.io fleet-local/shop (bundle shop-apps-http) is not followed: chart redis 1.2.3 of https://charts.example.com comes from the network, and repository infra has no charts.lock with its digest
unfollowed: infra:apps/oci/fleet.yaml: GitRepo.fleet.cattle.io fleet-local/shop (bundle shop-apps-oci) is not followed: chart redis of registry.example.com/charts comes from the network, and repository infra has no charts.lock with its digest
unfollowed: infra:apps/templates: GitRepo.fleet.cattle.io fleet-local/shop (bundle shop-apps-templates) is not followed: its templates belong to no chart: add a Chart.yaml
unfollowed: infra:apps/when/fleet.yaml: GitRepo.fleet.cattle.io fleet-local/shop (bundle shop-apps-when) is not followed: helm.values: template: :1: function "now" not defined
unfollowed: infra:fleet/far.yaml:1: GitRepo.fleet.cattle.io fleet-local/far is not followed: https://elsewhere.example.com/x is not the URL or an alias of a trusted repository
unfollowed: infra:fleet/far.yaml:6: GitRepo.fleet.cattle.io fleet-local/tag is not followed: it follows "v1.0" of repository infra; what is verified there is branch main
`,
		},
		"mistakes are named with their file": {
			files: strings.ReplaceAll(fleetRoot, "[apps]", "[apps, nowhere]") + `
-- apps/fleet.yaml --
namespace: shop
-- apps/role.yaml --
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
`,
			wrong: `infra:fleet/shop.yaml:1: GitRepo.fleet.cattle.io fleet-local/shop: spec.paths: no folder nowhere in repository infra`,
		},
		"a namespace for all objects is none for a cluster-scoped one": {
			files: fleetRoot + `
-- apps/fleet.yaml --
namespace: shop
-- apps/role.yaml --
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
`,
			wrong: `infra:apps/role.yaml:1: ClusterRole.rbac.authorization.k8s.io reader lives in no namespace, and GitRepo.fleet.cattle.io fleet-local/shop (bundle shop-apps) puts all its objects into shop: Fleet refuses such a bundle`,
		},
		"two bundles of one name": {
			files: fleetRoot + `
-- apps/a/fleet.yaml --
name: same
-- apps/a/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
-- apps/b/fleet.yaml --
name: same
-- apps/b/b.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: b}
`,
			wrong: `infra:fleet/shop.yaml:1: GitRepo.fleet.cattle.io fleet-local/shop (bundle same) says something else than the one in infra:fleet/shop.yaml:1: only one of them can be true`,
		},
		"a root without a GitRepo": {
			files: "-- fleet/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
			wrong: "infra: no GitRepo in fleet, which a root of the configuration names: Fleet would apply nothing of it",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			set, err := render(t.Context(), fleetGate(t, test.cluster), map[string]revision{"infra": newRepo(t).commit(test.files)})
			if test.wrong != "" {
				if err == nil || err.Error() != test.wrong {
					t.Errorf("error\n%v\nwant\n%s", err, test.wrong)
				}
				return
			}
			check(t, err)
			if have := "\n" + lines(set); have != test.want {
				t.Errorf("have%s\nwant%s", have, test.want)
			}
		})
	}
}

func TestOptionsForAClusterAreLaidOverThoseOfTheBundle(t *testing.T) {
	in := fleetGate(t, `namespace: fleet-default, name: c-1, labels: {env: prod, region: eu}, templateValues: {zone: a}, groups: [{name: big, labels: {size: big}}], scope: downstream`)
	repository := newRepo(t)
	files := strings.ReplaceAll(fleetRoot, "fleet-local}", "fleet-default}\nstatus: {}") + strings.ReplaceAll(fleetChart, "CHART", "web") + `
-- apps/web/fleet.yaml --
defaultNamespace: shop
namespaceLabels: {team: shop}
helm:
  chart: .
  releaseName: front
  values: {tier: nobody, replicas: 1}
  valuesFiles: [all.yaml]
targetCustomizations:
- {name: other, clusterName: c-2, helm: {values: {replicas: 7}}}
- name: mine
  clusterSelector: {matchLabels: {env: prod}}
  clusterGroupSelector: {matchLabels: {size: big}}
  helm: {values: {tier: "${ .ClusterLabels.region }-${ .ClusterName }-${ .ClusterValues.zone }"}, valuesFiles: [prod.yaml]}
- {name: late, clusterName: c-1, helm: {values: {replicas: 8}}}
-- apps/web/all.yaml --
replicas: 2
-- apps/web/prod.yaml --
replicas: 3
`
	files = strings.ReplaceAll(files, "paths: [apps]}", "paths: [apps], targets: [{clusterGroup: big}]}")
	revision1 := repository.commit(files)
	set, err := render(t.Context(), in, map[string]revision{"infra": revision1})
	check(t, err)
	same(t, described(t, set, "Deployment shop/front"), `
content: {apiVersion: apps/v1, kind: Deployment, metadata: {name: front, namespace: shop, labels: {tier: eu-c-1-a}}, spec: {replicas: 3}}
labels:
  app.kubernetes.io/managed-by: Helm
  fleet.cattle.io/managed-by-kind: gitrepo
  fleet.cattle.io/managed-by-name: shop
  fleet.cattle.io/managed-by-namespace: fleet-default
  objectset.rio.cattle.io/hash: `+agent.FleetMarks("downstream", agent.Owner{Kind: "GitRepo", Namespace: "fleet-default", Name: "shop"}, "shop-apps-web").Labels["objectset.rio.cattle.io/hash"]+`
annotations:
  meta.helm.sh/release-name: front
  meta.helm.sh/release-namespace: shop
  objectset.rio.cattle.io/id: default-shop-apps-web-downstream`)
	same(t, described(t, set, "Namespace shop"), `
content: {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
labels: {team: shop}`)

	// A values file is an input of every object of its bundle, and a commit that touches it renders the bundle anew.
	in.Previous = set
	set, err = render(t.Context(), in, map[string]revision{"infra": repository.commit("-- apps/web/prod.yaml --\nreplicas: 4\n")})
	check(t, err)
	front := described(t, set, "Deployment shop/front")
	if !strings.Contains(front, "replicas: 4") {
		t.Errorf("after a change of the values file\n%s", front)
	}
	for _, o := range set.Objects {
		if o.Name == "front" && !strings.Contains(specText(o.Source.Inputs), `"apps/web/prod.yaml"`) {
			t.Errorf("inputs of %s: %v", o.Key, o.Source.Inputs)
		}
	}
	// What concerns no bundle takes everything over.
	in.Previous = set
	next, err := render(t.Context(), in, map[string]revision{"infra": repository.commit("-- README.md --\nread me\n")})
	check(t, err)
	for _, o := range next.Objects {
		if !pointers(set)[o] {
			t.Errorf("%s was rendered anew", o.Key)
		}
	}
}

func TestValuesFromObjectsInGitReachABundle(t *testing.T) {
	in := fleetGate(t, "")
	repository := newRepo(t)
	revision1 := repository.commit(fleetRoot + strings.ReplaceAll(fleetChart, "CHART", "web") + `
-- apps/web/fleet.yaml --
defaultNamespace: shop
helm: {releaseName: front, values: {replicas: 1}, valuesFrom: [{configMapKeyRef: {name: values, namespace: default}}]}
-- apps/values/fleet.yaml --
{}
-- apps/values/values.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: values}
data: {values.yaml: "replicas: 5"}
`)
	set, err := render(t.Context(), in, map[string]revision{"infra": revision1})
	check(t, err)
	if front := described(t, set, "Deployment shop/front"); !strings.Contains(front, "replicas: 5") {
		t.Errorf("without the values of the ConfigMap:\n%s", front)
	}
	in.Previous = set
	set, err = render(t.Context(), in, map[string]revision{"infra": repository.commit("-- apps/values/values.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: another}\n")})
	check(t, err)
	if have := Problems(set.Unfollowed).Error(); !strings.Contains(have, "takes values from ConfigMap default/values, which is declared nowhere in Git") {
		t.Errorf("unfollowed: %s", have)
	}
}

func TestDefinitionsOfABundleStay(t *testing.T) {
	set, err := render(t.Context(), fleetGate(t, ""), map[string]revision{"infra": newRepo(t).commit(fleetRoot + `
-- apps/crd.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec: {group: example.com, scope: Namespaced, names: {kind: Widget, plural: widgets}, versions: [{name: v1}]}
`)})
	check(t, err)
	if crd := described(t, set, "CustomResourceDefinition.apiextensions.k8s.io widgets.example.com"); !strings.Contains(crd, "helm.sh/resource-policy: keep") {
		t.Errorf("Fleet keeps definitions:\n%s", crd)
	}
}

// Bundles share namespaces, and one may declare the namespace of another: what Helm and Fleet do to it for the other is declared, too.
func TestANamespaceIsWhatAllItsBundlesSay(t *testing.T) {
	repository := newRepo(t)
	set, err := render(t.Context(), fleetGate(t, ""), map[string]revision{"infra": repository.commit(fleetRoot + `
-- apps/one/fleet.yaml --
defaultNamespace: shop
-- apps/one/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
-- apps/two/fleet.yaml --
defaultNamespace: shop
namespaceLabels: {team: two}
-- apps/two/b.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: b}
-- apps/three/fleet.yaml --
defaultNamespace: declared
namespaceLabels: {team: three, tier: back}
-- apps/three/c.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
-- apps/four/fleet.yaml --
{}
-- apps/four/namespace.yaml --
apiVersion: v1
kind: Namespace
metadata: {name: declared, labels: {tier: front}}
`)})
	check(t, err)
	byName := map[string]*Object{}
	for _, o := range set.Objects {
		if o.Kind == "Namespace" {
			byName[o.Name] = o
		}
	}
	if o := byName["shop"]; o.Adds.Labels["team"] != "two" || o.Adds.Loose["name"] != "shop" {
		t.Errorf("shop: %+v", o.Adds)
	}
	o := byName["declared"]
	if o.Source.Path != "apps/four/namespace.yaml" || o.Adds.Labels["team"] != "three" || o.Adds.Labels["tier"] != "" || o.Adds.Loose["name"] != "declared" || !slices.Equal(o.Apply.Early, []string{"fleet"}) {
		t.Errorf("declared: %s %+v %+v", o.Source.Path, o.Adds, o.Apply)
	}
	if o.Adds.Annotations["meta.helm.sh/release-name"] != "shop-apps-four" {
		t.Errorf("declared is of release %q", o.Adds.Annotations["meta.helm.sh/release-name"])
	}
}

// Fleet carries the files of a bundle through the cluster: a file that is not in the bundle's folder was put there by somebody.
func TestFilesOfBundlesAreKnown(t *testing.T) {
	const cart = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cart}\n"
	set, err := render(t.Context(), fleetGate(t, ""), map[string]revision{"infra": newRepo(t).commit(fleetRoot + `
-- fleet/theirs.yaml --
apiVersion: fleet.cattle.io/v1alpha1
kind: GitRepo
metadata: {name: named, namespace: fleet-local}
spec: {repo: "https://git.example.com/org/infra", branch: main, paths: [other]}
-- apps/cart/fleet.yaml --
targetCustomizations: [{clusterName: far, helm: {repo: "https://charts.example.com", chart: redis}}]
-- apps/cart/cart.yaml --
` + cart + `-- other/fleet.yaml --
name: their-name
targetCustomizations: [{clusterGroup: default, doNotDeploy: true}]
-- other/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
-- README.md --
read me
`)})
	check(t, err)
	repo := Key{Group: agent.FleetGroup, Kind: "GitRepo", Namespace: "fleet-local", Name: "shop"}
	named := repo
	named.Name = "named"
	for name, want := range map[string]bool{"shop-apps-cart": true, "shop-apps": false, "their-name": false} {
		if have := set.MakesBundle(repo, name); have != want {
			t.Errorf("GitRepo shop makes %s: %t", name, have)
		}
	}
	if !set.MakesBundle(named, "their-name") || !set.Follows(named) {
		t.Error("a bundle that is not deployed here is none")
	}
	for name, test := range map[string]struct {
		file agent.FleetResource
		want bool
	}{
		"a manifest":                   {agent.FleetResource{Name: "cart.yaml", Data: []byte(cart)}, true},
		"a manifest that was changed":  {agent.FleetResource{Name: "cart.yaml", Data: []byte(cart + "data: {a: b}\n")}, false},
		"a file of no bundle":          {agent.FleetResource{Name: "README.md", Data: []byte("read me\n")}, false},
		"a chart that Fleet fetched":   {agent.FleetResource{Name: ".chart/0123/Chart.yaml", Data: []byte("name: redis")}, true},
		"a file beside such a chart":   {agent.FleetResource{Name: "chart/Chart.yaml", Data: []byte("name: redis")}, false},
		"a dependency that it fetched": {agent.FleetResource{Name: "charts/db-1.0.0.tgz", Data: []byte("tgz")}, true},
	} {
		if have, unknown := set.FromBundles("fleet", []agent.FleetResource{test.file}); have != test.want || unknown {
			t.Errorf("%s: %t, %t", name, have, unknown)
		}
	}
	if from, _ := set.FromBundles("another", []agent.FleetResource{{Name: "cart.yaml", Data: []byte(cart)}}); from {
		t.Error("it is of another agent's bundles")
	}
}
