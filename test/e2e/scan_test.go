package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/lab"
)

// tool runs a command of commitgate against the lab's cluster and the gate's own mirrors, and returns what it prints and its exit status.
func tool(t *testing.T, l *lab.Lab, verb string, args ...string) (string, int) {
	t.Helper()
	args = append([]string{verb, "--config=" + l.Gate.Config, "--data=" + l.Gate.Data, "--kubeconfig=" + l.AdminConfig}, args...)
	cmd := exec.CommandContext(t.Context(), l.Gate.Program, args...)
	var errors_ strings.Builder
	cmd.Stderr = &errors_
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if errors_.Len() > 0 {
		t.Logf("%s: %s", verb, errors_.String())
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// asRoot does what only those may who may change the gate.
func asRoot(t *testing.T, l *lab.Lab, args ...string) {
	t.Helper()
	_, err := l.Cluster.Kubectl(t.Context(), l.AdminConfig, "", append([]string{"--as=root", "--as-group=commitgate:admins", "--as-group=system:masters"}, args...)...)
	check(t, err)
}

type finding struct{ State, Kind, Namespace, Name, Why, Path, Commit string }

type scanned struct{ Findings []finding }

func scanOf(t *testing.T, l *lab.Lab, want int) scanned {
	t.Helper()
	out, code := tool(t, l, "scan", "--output=json")
	var s scanned
	check(t, json.Unmarshal([]byte(out), &s))
	if code != want {
		t.Errorf("scan ends with %d, want %d: %s", code, want, out)
	}
	return s
}

// A scan of a cluster that was made by the agents alone finds nothing; one after somebody switched the gate off names each thing that was done.
func TestScanFindsWhatWasDoneWithoutTheGate(t *testing.T) {
	ctx := t.Context()
	l := stage(t)
	_, err := l.ArgoCD.Sync(ctx)
	check(t, err)
	before := scanOf(t, l, 1) // what bootstrapped the cluster: the agents and the gate themselves are in nobody's Git here
	for _, f := range before.Findings {
		if f.State != "Untraced" || f.Namespace == "shop" || f.Namespace == "payments" {
			t.Errorf("%s %s %s/%s: %s", f.State, f.Kind, f.Namespace, f.Name, f.Why)
		}
	}

	// The gate goes, and with it what kept everybody honest.
	kubectl := func(args ...string) { t.Helper(); asRoot(t, l, args...) }
	unregistered(t, l)
	kubectl("create", "configmap", "notes", "--namespace=shop")
	kubectl("scale", "deployment", "cart", "--replicas=3", "--namespace=shop")
	kubectl("label", "deployment", "cart", "--namespace=shop", "kustomize.toolkit.fluxcd.io/name=other", "--overwrite")
	kubectl("delete", "service", "cart", "--namespace=shop")
	kubectl("create", "clusterrolebinding", "system:oops", "--clusterrole=cluster-admin", "--user=mallory")
	kubectl("label", "clusterrolebinding", "system:oops", "kubernetes.io/bootstrapping=rbac-defaults")

	s := scanOf(t, l, 1)
	var got []string
	for _, f := range s.Findings {
		if slices.ContainsFunc(before.Findings, func(b finding) bool { return b.Kind == f.Kind && b.Namespace == f.Namespace && b.Name == f.Name }) {
			continue
		}
		got = append(got, f.State+" "+f.Kind+" "+f.Namespace+"/"+f.Name)
		if f.State != "Untraced" && (f.Path == "" || f.Commit == "") {
			t.Errorf("%s %s/%s is not tied to Git", f.Kind, f.Namespace, f.Name)
		}
	}
	want := []string{
		"Untraced ClusterRoleBinding /system:oops", "Untraced ConfigMap shop/notes", "Conflict Deployment shop/cart", "Missing Service shop/cart",
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	if _, code := tool(t, l, "coverage"); code != 1 {
		t.Errorf("coverage ends with %d", code)
	}

	// With the kinds of openreports.io the results stand in the cluster; what is in order again leaves them.
	kubectl("apply", "--filename=testdata/openreports.yaml")
	for _, kind := range []string{"reports", "clusterreports"} { // served some time after they are established
		check(t, l.Eventually(ctx, func(ctx context.Context) error {
			_, err := l.Cluster.Kubectl(ctx, l.AdminConfig, "", "get", kind+".openreports.io", "--all-namespaces")
			return err
		}))
	}
	report := func(what string) string {
		t.Helper()
		tool(t, l, "scan", "--report")
		return get(t, l, what, "report", "commitgate-scan")
	}
	if got := report(".results[?(@.rule==\"Untraced\")].resources[*].name}/{.source}/{.summary.fail"); got != "notes/commitgate/3" {
		t.Errorf("the report says %q", got)
	}
	kubectl("delete", "configmap", "notes", "--namespace=shop")
	if got := report(".results[?(@.rule==\"Untraced\")].resources[*].name}/{.summary.fail"); got != "/2" {
		t.Errorf("the report says %q", got)
	}
	out, err := l.Cluster.Kubectl(ctx, l.AdminConfig, "", "get", "clusterreport", "commitgate-scan", "--output=jsonpath={.results[*].resources[*].name}")
	check(t, err)
	if !strings.Contains(out, "system:oops") {
		t.Errorf("the cluster's report names %q", out)
	}
}

// How the cluster compares with Git: by tools, and where the API server defaults by definitions that Git does not hold.
func TestComparedWithGit(t *testing.T) {
	l := stage(t)
	t.Run("definitions", func(t *testing.T) { definitionsOfTheCluster(t, l) })
	t.Run("why", func(t *testing.T) { whyOfTheCluster(t, l) })
	t.Run("diff", func(t *testing.T) { diffOfTheCluster(t, l) })
	sound(t, l)
}

// why tells who put a field of a live object there: the commit and its signer, or who says to have written it.
func whyOfTheCluster(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	check(t, l.ReplaceIn(cart, "replicas: 2", "replicas: 3"))
	id, err := l.Repository.Publish(ctx, l.Bob, "three", nil)
	check(t, err)
	_, err = l.Flux.Sync(ctx)
	check(t, err)
	out, code := tool(t, l, "why", "--namespace=shop", "deployment/cart", "--output=json")
	var why struct {
		State  string
		Fields []struct {
			Path, Reason, Commit string
			Signers              []string
		}
	}
	check(t, json.Unmarshal([]byte(out), &why))
	if code != 0 || why.State != "InGit" {
		t.Errorf("why ends with %d: %s", code, out)
	}
	traced := false
	for _, f := range why.Fields {
		if f.Path == "spec.replicas" {
			traced = f.Reason == "declared" && f.Commit == string(id) && slices.Equal(f.Signers, []string{l.Bob.Email})
		}
		if f.Reason == "added" || f.Reason == "changed" || f.Reason == "missing" || f.Reason == "declared" && f.Commit == "" {
			t.Errorf("%s is %s, of commit %q", f.Path, f.Reason, f.Commit)
		}
	}
	if !traced {
		t.Errorf("spec.replicas is not traced to %s: %s", id, out)
	}
}

// diff shows one object of the cluster, and all of them, with the value that Git declares.
func diffOfTheCluster(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	_, err := l.ArgoCD.Sync(ctx)
	check(t, err)
	if out, code := tool(t, l, "diff"); code != 0 || out != "" {
		t.Errorf("diff ends with %d: %s", code, out)
	}
	check(t, l.ReplaceIn(cart, "replicas: 3", "replicas: 4"))
	_, err = l.Repository.Publish(ctx, l.Bob, "four", nil)
	check(t, err)
	// Flux has not applied it yet: judged by the work tree, the cluster lags behind.
	out, code := tool(t, l, "diff", "--repository=infra="+l.Repository.Work(), "--namespace=shop", "deploy/cart")
	if code != 1 || !strings.Contains(out, "@@ spec.replicas @@\n-4\n+3\n") {
		t.Errorf("diff ends with %d: %s", code, out)
	}
}

// Of two replicas that scan in the background, the one that holds the lease does; when it goes, the other takes over.
func TestOneReplicaScans(t *testing.T) {
	ctx := t.Context()
	l := stage(t)
	unregistered(t, l) // the replicas are an administrator here, whose Lease the gate would refuse; in its own namespace a policy would
	serve := func() (metrics string, stop func()) {
		t.Helper()
		dir := t.TempDir()
		listen, probes := address(t), address(t)
		p, err := cluster.Run(filepath.Join(dir, "log"), l.Gate.Program, "serve", "--config="+l.Gate.Config, "--data="+filepath.Join(dir, "data"),
			"--listen="+listen, "--probe-listen="+probes, "--kubeconfig="+l.AdminConfig, "--scan-interval=1h", "--scan-lease=default/scan")
		check(t, err)
		var once sync.Once
		stop = func() {
			once.Do(func() {
				check(t, p.Signal(syscall.SIGTERM))
				<-p.Done()
			})
		}
		t.Cleanup(stop)
		return "http://" + probes + "/metrics", stop
	}
	scans := func(metrics string) error {
		resp, err := http.Get(metrics)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err == nil && !strings.Contains(string(text), `gate_scan_objects{kind="Deployment.apps",state="InGit"} 1`) {
			err = errors.New("nothing was scanned")
		}
		return err
	}
	first, stop := serve()
	check(t, l.Eventually(ctx, func(context.Context) error { return scans(first) }))
	second, _ := serve()
	check(t, l.Eventually(ctx, func(ctx context.Context) error {
		resp, err := http.Get(strings.Replace(second, "/metrics", "/readyz", 1))
		if err == nil {
			err = resp.Body.Close()
		}
		if err == nil && resp.StatusCode != http.StatusOK {
			err = errors.New(resp.Status)
		}
		return err
	}))
	if scans(second) == nil {
		t.Error("both replicas scan")
	}
	stop()
	check(t, l.Eventually(ctx, func(context.Context) error { return scans(second) }))
}

// address is a free one of the loopback interface.
func address(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	check(t, err)
	check(t, listener.Close())
	return listener.Addr().String()
}
