// Package install holds the two ways to install the gate, charts/commitgate and config/, to each other and to a real API server.
package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

const chartDir = "../../charts/commitgate"

// least is the least that a user must say.
const least = `
presets: {flux: {enabled: true}}
gate:
  cluster: test
  roots: [{repository: infra, path: apps, agent: flux}]
repositories:
- name: infra
  spec:
    url: https://git.example.org/infra.git
    branch: main
    anchor: {commit: abcdef1111111111111111111111111111111111}
    signers: [{principal: alice@example.org, ssh: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGQyp2RdJIOZLgNgFOTKGdJ5RpsIQ4YzRiGZzrXQ1S0E"]}]
`

type object = map[string]any

// values reads values files, each over the one before.
func values(t *testing.T, texts ...string) map[string]any {
	t.Helper()
	out := map[string]any{}
	for _, text := range texts {
		v, err := common.ReadValues([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		out = loader.MergeMaps(out, v)
	}
	return out
}

// template is `helm template`.
func template(t *testing.T, vals map[string]any) (map[string]object, string, error) {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return render(t, c, vals)
}

func render(t *testing.T, c *chart.Chart, vals map[string]any) (map[string]object, string, error) {
	t.Helper()
	options := common.ReleaseOptions{Name: "commitgate", Namespace: "commitgate", IsInstall: true, Revision: 1}
	with, err := util.ToRenderValues(c, vals, options, common.DefaultCapabilities)
	if err != nil {
		return nil, "", err
	}
	files, err := engine.Render(c, with)
	if err != nil {
		return nil, "", err
	}
	objects, notes := map[string]object{}, ""
	for _, crd := range c.CRDObjects() {
		read(t, crd.Name, string(crd.File.Data), objects)
	}
	for name, text := range files {
		if path.Base(name) == "NOTES.txt" {
			notes = text
			continue
		}
		if path.Ext(name) == ".yaml" {
			read(t, name, text, objects)
		}
	}
	return objects, notes, nil
}

func read(t *testing.T, name, text string, into map[string]object) {
	t.Helper()
	d := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		var o object
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		if o == nil {
			continue
		}
		meta := o["metadata"].(object)
		into[fmt.Sprintf("%v %v", o["kind"], meta["name"])] = o
	}
}

// kustomize is `kustomize build` of config/default and of config/webhook, which is applied when the gate is ready.
func kustomize(t *testing.T, variant string) map[string]object {
	t.Helper()
	objects := map[string]object{}
	for _, dir := range []string{"../../config/" + variant, "../../config/webhook"} {
		m, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
		if err != nil {
			t.Fatal(err)
		}
		text, err := m.AsYaml()
		if err != nil {
			t.Fatal(err)
		}
		read(t, dir, string(text), objects)
	}
	return objects
}

func TestChartLint(t *testing.T) {
	for _, m := range lint.RunAll(chartDir, values(t, least), "commitgate").Messages {
		if !strings.Contains(m.Error(), "icon is recommended") {
			t.Error(m.Error())
		}
	}
}

// TestChartEqualsKustomize: whoever changes one way to install and forgets the other is told.
func TestChartEqualsKustomize(t *testing.T) {
	for variant, vals := range map[string]string{"default": "", "scan": "scan: {interval: 1h}", "repair": "registration: {repair: webhook}"} {
		t.Run(variant, func(t *testing.T) {
			chart, _, err := template(t, values(t, least, vals))
			if err != nil {
				t.Fatal(err)
			}
			plain := kustomize(t, variant)
			registration(t, chart, plain)
			equal(t, chart, plain)
		})
	}
}

// registration holds what the gate is given to watch to what is applied, in either way to install, and takes it out of the comparison of texts.
func registration(t *testing.T, ways ...map[string]object) {
	t.Helper()
	for _, objects := range ways {
		given := map[string]object{}
		for _, name := range []string{"ConfigMap commitgate-policies", "ConfigMap commitgate-webhook"} {
			for file, content := range objects[name]["data"].(object) {
				read(t, file, content.(string), given)
			}
			delete(objects, name)
		}
		if len(given) != 7 {
			t.Errorf("the gate watches %d objects, want the webhook, three policies and their bindings", len(given))
		}
		for name, o := range given {
			if want, have := normal(objects[name]), normal(o); !reflect.DeepEqual(want, have) {
				t.Errorf("%s differs.\napplied: %s\nwatched: %s", name, text(want), text(have))
			}
		}
	}
}

func equal(t *testing.T, chart, plain map[string]object) {
	t.Helper()
	// What only one of the two brings, and why.
	delete(plain, "Namespace commitgate") // helm install --create-namespace
	delete(chart, "ConfigMap commitgate") // the user's own, held by TestChartConfiguration
	delete(chart, "Secret commitgate-ca") // made by the user
	for name, o := range plain {
		c := chart[name]
		if c == nil {
			t.Errorf("the chart lacks %s", name)
			continue
		}
		if want, have := normal(o), normal(c); !reflect.DeepEqual(want, have) {
			t.Errorf("%s differs.\nkustomize: %s\nchart:     %s", name, text(want), text(have))
		}
	}
	for name := range chart {
		if plain[name] == nil {
			t.Errorf("config/ lacks %s", name)
		}
	}
}

// normal takes away what a way to install may say in its own words: labels and annotations about itself, the image, the authority, flags that are defaults.
func normal(o object) object {
	var c object
	if err := json.Unmarshal([]byte(text(o)), &c); err != nil {
		panic(err)
	}
	walk(c)
	return c
}

func walk(v any) {
	switch x := v.(type) {
	case object:
		for _, k := range []string{"labels", "annotations", "caBundle", "image", "imagePullPolicy", "creationTimestamp"} {
			delete(x, k)
		}
		if l, ok := x["matchLabels"].(object); ok {
			delete(l, "app.kubernetes.io/instance")
		}
		if l, ok := x["selector"].(object); ok {
			delete(l, "app.kubernetes.io/instance")
		}
		if args, ok := x["args"].([]any); ok {
			x["args"] = slices.DeleteFunc(args, func(a any) bool {
				return a == "--log-level=info" || a == "--log-format=json"
			})
		}
		for _, e := range x {
			walk(e)
		}
	case []any:
		for _, e := range x {
			walk(e)
		}
	}
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// TestChartConfiguration: what the chart writes is what the gate reads.
func TestChartConfiguration(t *testing.T) {
	all := `
presets: {argocd: {enabled: true}, fleet: {enabled: true}, configSync: {enabled: true}}
agents: [{name: ci, preset: Pipeline, users: ["system:serviceaccount:ci:deployer"]}]
gate:
  scope: Declared
  mode: Enforce
  exemptions: [{name: hpa, users: [x], fields: [spec.replicas], reason: autoscaling}]
  window: 10m
  breakGlass: {signers: [{principal: alice@example.org, ssh: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGQyp2RdJIOZLgNgFOTKGdJ5RpsIQ4YzRiGZzrXQ1S0E"]}], threshold: 1}
  dryRuns: [{kinds: [Deployment]}]
  charts: /var/lib/commitgate/charts
  kubernetes: {version: v1.36.3, apiVersions: [monitoring.coreos.com/v1]}
dryRunRules: [{apiGroups: [apps], resources: [deployments]}]
certificates: {source: certManager, certManager: {issuerRef: {name: ca, kind: ClusterIssuer}, caBundle: PEM}}
`
	for name, vals := range map[string]map[string]any{"the least": values(t, least), "everything": values(t, least, all)} {
		t.Run(name, func(t *testing.T) {
			objects, _, err := template(t, vals)
			if err != nil {
				t.Fatal(err)
			}
			data := objects["ConfigMap commitgate"]["data"].(object)
			var joined strings.Builder
			for _, file := range data {
				joined.WriteString("---\n" + file.(string))
			}
			cfg, err := v1alpha1.Parse("chart", []byte(joined.String()))
			if err != nil {
				t.Fatal(err)
			}
			if name == "the least" && cfg.Gate.Spec.Mode != v1alpha1.ModeAudit {
				t.Errorf("mode %s after install: a new gate must not refuse before somebody says so", cfg.Gate.Spec.Mode)
			}
			if name == "the least" {
				return
			}
			spec := cfg.Gate.Spec
			if len(spec.Agents) != 5 {
				t.Errorf("%d agents, want the four presets and one more", len(spec.Agents))
			}
			if len(spec.Exemptions) != 2 || len(spec.DryRuns) != 1 || spec.BreakGlass == nil || spec.Window.Minutes() != 10 ||
				spec.Charts != "/var/lib/commitgate/charts" || spec.Kubernetes.Version != "v1.36.3" || len(spec.Kubernetes.APIVersions) != 1 {
				t.Errorf("a value was lost: %+v", spec)
			}
		})
	}
}

func TestChartRefuses(t *testing.T) {
	tests := map[string]struct{ values, want string }{
		"no repository":                        {`repositories: []`, "trusted repository is required"},
		"no root":                              {`gate: {roots: []}`, "where in Git"},
		"no agent":                             {`presets: {flux: {enabled: false}}`, "no agent"},
		"enforcing, but open while it is down": {"gate: {mode: Enforce}\nwebhook: {failurePolicy: Ignore}", "enforces nothing"},
		"a value that nobody knows":            {`replica: 3`, "replica"},
		"a mode that nobody knows":             {`gate: {mode: Off}`, "mode"},
		"dry-runs without rights":              {`gate: {dryRuns: [{kinds: [Deployment]}]}`, "dryRunRules"},
		"grants that are bound to no cluster":  {`gate: {cluster: "", breakGlass: {signers: []}}`, "gate.cluster"},
		"an injector that may not inject":      {`certificates: {source: certManager}`, "caBundle"},
		"an authority without its issuer":      {`certificates: {source: certManager, certManager: {caBundle: PEM}}`, "issuerRef"},
		"a repair of what nobody watches":      {`registration: {watch: false, repair: webhook}`, "nobody notices"},
		"two who renew one certificate":        {`certificates: {source: certManager, rotation: {enabled: true}}`, "cert-manager renews"},
		"a peer that is no replica":            {`audit: {peers: {commitgate-0: "a\nb", commitgate-3: "a\nb"}}`, "no replica"},
		"a peer by one key":                    {`audit: {peers: {commitgate-0: "a\nb", commitgate-1: "a"}}`, "pattern"},
		"a peer without another":               {`audit: {peers: {commitgate-0: "a\nb"}}`, "who should cosign"},
		"a backstop of what is not enforced":   {`backstop: {enabled: true}`, "enforces nothing"},
		"a repair by no authority":             {"selfProtection: {enabled: false}\nregistration: {repair: webhook}\ncertificates: {source: certManager}", "by which authority"},
		"a verb for the inventory":             {`policyInventory: [{apiGroups: [""], resources: [services], verbs: [delete]}]`, "verbs"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, _, err := template(t, values(t, least, tt.values)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestChartWarns(t *testing.T) {
	tests := map[string]struct{ values, want string }{
		"audit mode":         {``, "Nothing is refused yet"},
		"not registered":     {`webhook: {register: false}`, "asks nobody"},
		"open while down":    {`webhook: {failurePolicy: Ignore}`, "everything passes"},
		"an authority ends":  {`certificates: {rotation: {enabled: false}}`, "certificates.rotation is off"},
		"without protection": {`selfProtection: {enabled: false}`, "may remove the gate"},
		"one replica":        {`replicas: 1`, "nothing changes while it restarts"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, notes, err := template(t, values(t, least, tt.values))
			if err != nil || !strings.Contains(notes, tt.want) {
				t.Errorf("notes without %q (%v):\n%s", tt.want, err, notes)
			}
		})
	}
}

// TestChartCredentials: the Secret of a repository is mounted where its configuration looks for it.
func TestChartCredentials(t *testing.T) {
	objects, _, err := template(t, values(t, strings.Replace(least, "- name: infra\n", "- name: infra\n  credentialsSecret: infra-git\n", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if c := text(objects["ConfigMap commitgate"]); !strings.Contains(c, "credentials: /etc/commitgate-git-infra") {
		t.Errorf("the configuration names no credentials: %s", c)
	}
	for _, want := range []string{`{"mountPath":"/etc/commitgate-git-infra","name":"git-infra","readOnly":true}`, `{"name":"git-infra","secret":{"secretName":"infra-git"}}`} {
		if s := text(objects["StatefulSet commitgate"]); !strings.Contains(s, want) {
			t.Errorf("the StatefulSet lacks %s: %s", want, s)
		}
	}
}

// TestChartFromCluster: what the values say is made once, as objects, and the gate goes by these; it is the same configuration as in files.
func TestChartFromCluster(t *testing.T) {
	objects, _, err := template(t, values(t, least, "gate: {fromCluster: true}"))
	if err != nil {
		t.Fatal(err)
	}
	args := text(objects["StatefulSet commitgate"])
	if !strings.Contains(args, "--from-cluster") || strings.Contains(args, "--config=") {
		t.Errorf("the gate does not go by the cluster:\n%s", args)
	}
	var found []map[string]any
	for _, o := range objects {
		if o["apiVersion"] == v1alpha1.APIVersion {
			found = append(found, o)
		}
	}
	got, err := v1alpha1.Assemble(found)
	if err != nil {
		t.Fatal(err)
	}
	if got.Gate.Name != "commitgate" || len(got.Repositories) == 0 {
		t.Errorf("the objects are %+v", got)
	}
}
