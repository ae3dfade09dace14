package agents

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/forge"
	"github.com/commitgate/commitgate/test/lab"
)

func TestMain(m *testing.M) { os.Exit(cluster.Isolated(m.Run)) }

const team = "system:serviceaccount:flux-system:team-reconciler" // what Flux impersonates for one Kustomization

// TestFluxItself has Flux's own source-controller and kustomize-controller live a life behind the gate: objects that people had drifted before
// there was a gate, new images, generators, force, pruning, impersonation, the end of a Kustomization. Whatever they ask for is allowed.
func TestFluxItself(t *testing.T) {
	f := startFlux(t)
	f.drift()
	f.guard()
	f.start("kustomize-controller") // finds the drift, and puts it right
	f.becomes("shop", "deployment/cart", "{.spec.template.spec.containers[0].image} {.spec.minReadySeconds} {.metadata.labels.mine}", "registry.example/cart:7  ")
	f.becomes("shop", "poddisruptionbudget/cart", "{.spec.maxUnavailable}", "1")
	f.becomes("shop", "tills.shop.test/front", "{.spec.currency} {.spec.drawers}", "EUR 2")
	f.becomes("team", "configmap/settings", "{.data.colour} {.data.size} {.metadata.labels.kustomize\\.toolkit\\.fluxcd\\.io/name}", "blue  team")
	f.applied("what had drifted is put right")

	f.commit("another image and greeting", map[string]func(string) string{
		"clusters/main/apps.yaml":         replace(`newTag: "7"`, `newTag: "8"`),
		"apps/shop/kustomization.yaml":    replace("Welcome", "Hello"),
		"platform/platform.yaml":          replace("data: {region: north}", "data: {region: south}"),
		"clusters/main/flux-system/x.txt": replace("", "no manifest"),
	})
	f.applied("a commit")
	f.becomes("shop", "deployment/cart", "{.spec.template.spec.containers[0].image}", "registry.example/cart:8")
	f.becomes("shop", "configmaps", "{.items[?(@.metadata.labels.team=='red')].data.text}", "Hello, south")

	uid := f.get("team", "job/import", "{.metadata.uid}")
	f.commit("another import", map[string]func(string) string{"apps/team/job.yaml": replace("import:1", "import:2")})
	f.applied("a Job whose template cannot change, forced")
	f.becomes("team", "job/import", "{.spec.template.spec.containers[0].image}", "registry.example/import:2")
	if f.get("team", "job/import", "{.metadata.uid}") == uid {
		t.Error("the Job is still the first")
	}

	f.commit("no settings, no till", map[string]func(string) string{
		"apps/team/job.yaml":           func(s string) string { return s[:strings.Index(s, "---")] },
		"apps/shop/kustomization.yaml": replace(", till.yaml", ""),
	})
	f.applied("what Git no longer declares is pruned")
	f.becomes("team", "configmaps", "{.items[?(@.metadata.name=='settings')].metadata.name}", "")
	f.becomes("shop", "tills.shop.test", "{.items[*].metadata.name}", "")

	f.commit("no team", map[string]func(string) string{"clusters/main/apps.yaml": func(s string) string { return s[:strings.LastIndex(s, "---")] }})
	f.becomes("team", "jobs", "{.items[*].metadata.name}", "")
	f.becomes("flux-system", "kustomizations.kustomize.toolkit.fluxcd.io", "{.items[?(@.metadata.name=='team')].metadata.name}", "")
	f.applied("a Kustomization ends, and takes with it what it made")

	for what, args := range map[string][]string{
		"a person's change":             {"--as=carol@shop.example", "set", "image", "deployment/cart", "cart=registry.example/miner", "--namespace=shop"},
		"an imitation of the agent":     {"--as=" + team, "create", "configmap", "extra", "--namespace=team"},
		"a Kustomization made by hand":  {"--as=carol@shop.example", "patch", "kustomization/shop", "--namespace=flux-system", "--type=merge", `--patch={"spec":{"path":"./elsewhere"}}`},
		"the source turned to another":  {"--as=carol@shop.example", "patch", "gitrepository/flux-system", "--namespace=flux-system", "--type=merge", `--patch={"spec":{"url":"https://evil.example/x"}}`},
		"a reconciliation, suspended":   {"--as=carol@shop.example", "patch", "kustomization/shop", "--namespace=flux-system", "--type=merge", `--patch={"spec":{"suspend":true}}`},
		"the variables, made by a hand": {"--as=carol@shop.example", "patch", "configmap/site", "--namespace=flux-system", "--type=merge", `--patch={"data":{"region":"mars"}}`},
	} {
		if _, err := f.Cluster.Kubectl(t.Context(), f.AdminConfig, "", args...); err == nil || !strings.Contains(err.Error(), lab.WebhookName) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if out, status, err := f.Gate.Run(t.Context(), "audit", "verify", f.Gate.AuditLog()); err != nil || status != 0 {
		t.Errorf("commitgate audit verify: %v, exit status %d\n%s", err, status, out)
	}
}

// flux is a lab whose agent is Flux itself.
type flux struct {
	*lab.Lab
	t           *testing.T
	storage     string // address of source-controller's artifacts
	processes   map[string]*cluster.Process
	kubeconfigs map[string]string // by controller
}

func startFlux(t *testing.T) *flux {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a control plane: not with -short")
	}
	root, err := cluster.ModuleRoot()
	check(t, err)
	if _, err := os.Stat(filepath.Join(root, "bin", "kustomize-controller")); err != nil {
		t.Skip("Flux is not built: make agents")
	}
	l, err := lab.Start(t.Context(), lab.Config{Dir: t.TempDir(), WithoutGate: true})
	if errors.Is(err, cluster.ErrNotBuilt) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	check(t, err)
	f := &flux{Lab: l, t: t, storage: freeAddress(t), processes: map[string]*cluster.Process{}, kubeconfigs: map[string]string{}}
	t.Cleanup(f.stop)

	files := map[string]string{"clusters/main/flux-system/gotk-components.yaml": f.components(root)}
	check(t, filepath.WalkDir("testdata/flux", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel("testdata/flux", path)
		files[name] = strings.ReplaceAll(string(text), "$URL", l.Repository.URL())
		return err
	}))
	_, err = l.Repository.Publish(t.Context(), l.Alice, "Flux and what it applies", files)
	check(t, err)
	// What `flux bootstrap` does: the controllers' own objects, then the two that point them at Git.
	for _, file := range []string{"gotk-components.yaml", "gotk-sync.yaml"} {
		check(t, l.Eventually(t.Context(), func(ctx context.Context) error {
			_, err := l.Cluster.Kubectl(ctx, l.AdminConfig, files["clusters/main/flux-system/"+file], "apply", "--server-side", "--field-manager=flux", "--force-conflicts", "--filename=-")
			return err
		}))
	}
	f.start("source-controller", "--storage-path="+t.TempDir(), "--storage-addr="+f.storage, "--storage-adv-addr="+f.storage)
	f.start("kustomize-controller")
	f.applied("")
	return f
}

// components is what a bootstrap generates: the kinds, the accounts and their rights.
func (f *flux) components(root string) string {
	crds, err := filepath.Glob(filepath.Join(root, "bin", "flux", "*.yaml"))
	check(f.t, err)
	parts := []string{"apiVersion: v1\nkind: Namespace\nmetadata: {name: flux-system}\n"}
	for _, crd := range crds {
		text, err := os.ReadFile(crd)
		check(f.t, err)
		parts = append(parts, strings.TrimPrefix(string(text), "---\n"))
	}
	for _, name := range []string{"source-controller", "kustomize-controller"} {
		parts = append(parts, fmt.Sprintf("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: %s, namespace: flux-system}\n", name), fmt.Sprintf(`apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: %s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: %[1]s, namespace: flux-system}]
`, name))
	}
	return strings.Join(parts, "---\n")
}

// start runs one of Flux's controllers with its own account.
func (f *flux) start(controller string, args ...string) {
	f.t.Helper()
	root, err := cluster.ModuleRoot()
	check(f.t, err)
	if f.kubeconfigs[controller] == "" { // the gate lets nobody make a second token for the agent
		account, err := f.Cluster.ServiceAccount(f.t.Context(), "flux-system", controller, "")
		check(f.t, err)
		f.kubeconfigs[controller], err = f.Cluster.Kubeconfig(controller, account)
		check(f.t, err)
	}
	args = append([]string{
		"KUBECONFIG=" + f.kubeconfigs[controller], "RUNTIME_NAMESPACE=flux-system", "HOME=" + f.t.TempDir(), filepath.Join(root, "bin", controller),
		"--metrics-addr=" + freeAddress(f.t), "--health-addr=" + freeAddress(f.t), "--requeue-dependency=1s", "--events-addr=",
	}, args...)
	p, err := cluster.Run(filepath.Join(f.Dir, controller+".log"), "/usr/bin/env", args...)
	check(f.t, err)
	f.processes[controller] = p
}

func (f *flux) stop() {
	for name, p := range f.processes {
		if err := p.Kill(); err != nil {
			f.t.Error(err)
		}
		if log, err := os.ReadFile(p.Log()); f.t.Failed() {
			f.t.Logf("%s (%v):\n%s", name, err, tail(log))
		}
	}
	if f.Gate != nil && f.t.Failed() {
		log, err := os.ReadFile(f.Gate.Log())
		f.t.Logf("the gate (%v):\n%s", err, tail(log))
	}
	if err := f.Stop(); err != nil {
		f.t.Error(err)
	}
}

func tail(log []byte) []byte { return log[max(0, len(log)-20_000):] }

// drift is what people did to Flux's objects while there was no gate, and Flux did not look.
func (f *flux) drift() {
	f.t.Helper()
	check(f.t, f.processes["kustomize-controller"].Kill())
	for _, args := range [][]string{
		{"set", "image", "deployment/cart", "cart=registry.example/cart:mine", "--namespace=shop"},
		{"patch", "deployment/cart", "--namespace=shop", `--patch={"spec":{"minReadySeconds":7}}`},
		{"label", "deployment/cart", "mine=yes", "--namespace=shop"},
		{"annotate", "service/cart", "owner=me", "--overwrite", "--namespace=shop"},
		{"delete", "poddisruptionbudget/cart", "--namespace=shop"},
		{"patch", "tills.shop.test/front", "--namespace=shop", "--type=merge", `--patch={"spec":{"currency":"XXX","drawers":9}}`},
		{"label", "configmap/settings", "kustomize.toolkit.fluxcd.io/name-", "--namespace=team"},
	} {
		_, err := f.Cluster.Kubectl(f.t.Context(), f.AdminConfig, "", args...)
		check(f.t, err)
	}
	const applied = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings","namespace":"team"},"data":{"colour":"red","size":"XL"}}`
	_, err := f.Cluster.Kubectl(f.t.Context(), f.AdminConfig, applied, "apply", "--filename=-") // leaves its annotation and manager behind
	check(f.t, err)
}

// guard puts the gate in front, enforcing everything.
func (f *flux) guard() {
	f.t.Helper()
	repository := v1alpha1.TrustedRepository{ObjectMeta: metav1.ObjectMeta{Name: "infra"}, Spec: v1alpha1.TrustedRepositorySpec{
		URL: f.Repository.URL(), Branch: forge.Branch, Anchor: v1alpha1.Anchor{Commit: string(f.Anchor)}, Signers: []v1alpha1.Signer{f.Alice.Signer(), f.Bob.Signer()},
	}}
	repository.APIVersion, repository.Kind = "commitgate.dev/v1alpha1", "TrustedRepository"
	trusted, err := yaml.Marshal(repository)
	check(f.t, err)
	const gate = `---
apiVersion: commitgate.dev/v1alpha1
kind: Gate
metadata: {name: production}
spec:
  cluster: production
  mode: Enforce
  scope: Everything
  serviceAccount: system:serviceaccount:commitgate:commitgate
  agents:
  - {name: flux, preset: Flux, users: ["system:serviceaccount:flux-system:kustomize-controller"], impersonates: ["` + team + `"]}
  roots:
  - {repository: infra, path: clusters/main, agent: flux}
`
	check(f.t, f.Guard(f.t.Context(), append(trusted, gate...)))
}

func replace(old, new string) func(string) string {
	return func(s string) string { return strings.Replace(s, old, new, 1) }
}

// commit has Bob change files.
func (f *flux) commit(message string, changes map[string]func(string) string) {
	f.t.Helper()
	files := map[string]string{}
	for path, change := range changes {
		before, err := f.Repository.Read(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.t.Fatal(err)
		}
		if files[path] = change(before); files[path] == before {
			f.t.Fatalf("%s: %s changes nothing", message, path)
		}
	}
	_, err := f.Repository.Publish(f.t.Context(), f.Bob, message, files)
	check(f.t, err)
}

// applied waits until every Kustomization has applied what the branch says, and then asks the gate whether it refused anything on the way.
func (f *flux) applied(what string) {
	f.t.Helper()
	head, err := f.Repository.Head(f.t.Context())
	check(f.t, err)
	f.eventually(what, func() error {
		const ready = `{range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status} {.status.lastAppliedRevision} {.status.conditions[?(@.type=="Ready")].message}{"\n"}{end}`
		out := f.get("flux-system", "kustomizations.kustomize.toolkit.fluxcd.io", ready)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		for _, line := range lines {
			if field := strings.Fields(line); len(field) < 3 || field[1] != "True" || !strings.HasSuffix(field[2], string(head)) {
				return fmt.Errorf("not all have applied %s:\n%s", head.Short(), out)
			}
		}
		return nil
	})
	f.expectNoRefusals(what)
}

func (f *flux) expectNoRefusals(what string) {
	f.t.Helper()
	if f.Gate == nil {
		return
	}
	for _, outcome := range []string{"deny", "error"} {
		out, status, err := f.Gate.Run(f.t.Context(), "audit", "log", f.Gate.AuditLog(), "--outcome="+outcome)
		if err != nil || status != 1 { // nothing was found
			f.t.Errorf("%s: %s: %v, exit status %d\n%s", what, outcome, err, status, out)
		}
	}
}

// get asks the cluster as an administrator, "" if there is no such thing.
func (f *flux) get(namespace, object, jsonpath string) string {
	f.t.Helper()
	out, err := f.Cluster.Kubectl(f.t.Context(), f.AdminConfig, "", "get", "--ignore-not-found", "--namespace="+namespace, object, "--output=jsonpath="+jsonpath)
	check(f.t, err)
	return out
}

func (f *flux) becomes(namespace, object, jsonpath, want string) {
	f.t.Helper()
	f.eventually(object, func() error {
		if got := f.get(namespace, object, jsonpath); got != want {
			return fmt.Errorf("%s is %q, want %q", jsonpath, got, want)
		}
		return nil
	})
}

// eventually tries until it succeeds. It has a bound so that a defect ends a test rather than hangs it.
func (f *flux) eventually(what string, try func() error) {
	f.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			f.expectNoRefusals(what)
			f.t.Fatalf("%s: %v", what, err)
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	check(t, err)
	check(t, l.Close())
	return l.Addr().String()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
