package e2e

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/lab"
)

// Whoever is on call has a kubeconfig, and no way into the network of the pods: status, doctor and bugreport reach the replica through the API server's proxy
// to its pod, as a member of the admin group, and nobody else does.
func TestToolsReachAReplicaThroughTheAPIServer(t *testing.T) {
	ctx := t.Context()
	address, err := cluster.PodAddress()
	if errors.Is(err, cluster.ErrShared) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	check(t, err)
	l := startWith(t, lab.Config{Repair: true, Probes: address + ":8080"})
	_, err = l.Flux.Sync(ctx)
	check(t, err)
	// A replica as a kubelet tells of it: the pod's address is where the gate answers.
	_, err = guardian(t, l, "create", "--filename=testdata/pod.yaml")
	check(t, err)
	_, err = guardian(t, l, "patch", "pod", "commitgate-0", "--namespace=commitgate", "--subresource=status", "--type=merge",
		fmt.Sprintf(`--patch={"status": {"phase": "Running", "podIP": %q, "podIPs": [{"ip": %q}]}}`, address, address))
	check(t, err)

	admin := []string{"--kubeconfig", l.AdminConfig, "--as", "root", "--as-group", "commitgate:admins", "--as-group", "system:masters"}
	found := examined(t, l, 0, admin...)
	for _, words := range []string{"commitgate-0 runs", "commitgate-0: repositories: infra", "commitgate-0: configuration", "issued by what the caBundle holds", "away from the API server"} {
		if !strings.Contains(found["ok"], words) {
			t.Errorf("not found well: %q\n%v", words, found)
		}
	}
	status, code, err := l.Gate.Run(ctx, append([]string{"status"}, admin...)...)
	check(t, err)
	if code > 1 || !strings.Contains(status, "commitgate-0") || !strings.Contains(status, "bob@shop.example") { // 1 where the disk of whoever runs this is nearly full
		t.Errorf("exit status %d:\n%s", code, status)
	}
	bundle := filepath.Join(t.TempDir(), "bundle.tar.gz")
	run(t, l, 0, append([]string{"bugreport", "--out", bundle}, admin...)...)
	files := unpacked(t, bundle)
	if metrics := files["commitgate-bugreport/metrics/commitgate-0.txt"]; !strings.Contains(metrics, "gate_decisions_total") {
		t.Errorf("no metrics of the replica in the bug report: %q\n%s", metrics, files["commitgate-bugreport/missing.txt"])
	}
	if report := files["commitgate-bugreport/status.json"]; !strings.Contains(report, "bob@shop.example") {
		t.Errorf("the replica's word is not in the bug report: %q", report)
	}

	// Carol has every right that RBAC knows; the replica's word is not among them.
	found = examined(t, l, 3, "--kubeconfig", l.CarolConfig)
	if !strings.Contains(found["unknown"], "commitgate-0 does not say how it is") || !strings.Contains(found["unknown"], "commitgate guards itself") {
		t.Errorf("want a refusal by the guard: %v", found)
	}
}

// unpacked are the files of a bug report.
func unpacked(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := os.Open(file)
	check(t, err)
	defer f.Close()
	compressed, err := gzip.NewReader(f)
	check(t, err)
	files := map[string]string{}
	for r := tar.NewReader(compressed); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		check(t, err)
		text, err := io.ReadAll(r)
		check(t, err)
		files[header.Name] = string(text)
	}
}
