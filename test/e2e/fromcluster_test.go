package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/lab"
)

// fromCluster has the gate go by the objects in the cluster from now on.
func fromCluster(t *testing.T, l *lab.Lab) {
	t.Helper()
	check(t, l.Gate.Stop(t.Context()))
	l.Gate.FromCluster = true
	check(t, l.Gate.Start(t.Context()))
}

// The gate's own configuration comes from Git like everything else: nobody changes it by hand, one signer alone does not, two do, and the gate goes by
// it without a restart. What is wrong in it changes nothing.
func TestConfigurationFromTheCluster(t *testing.T) {
	ctx := t.Context()
	l := stage(t)
	fromCluster(t, l)
	column(t, l, "gate", "demo", "READY", "True")
	carol := func(args ...string) error {
		_, err := l.Cluster.Kubectl(ctx, l.CarolConfig, "", args...)
		return err
	}
	audit := []string{"patch", "gate", "demo", "--type=merge", `--patch={"spec":{"mode":"Audit"}}`}
	if err := carol(audit...); err == nil || !strings.Contains(err.Error(), "commitgate guards its configuration") {
		t.Errorf("inside the API server: %v", err)
	}
	administrator := append(audit, "--as="+lab.Carol, "--as-group=commitgate:admins", "--as-group=system:masters")
	refused(t, carol(administrator...), "ConfigurationGuarded")
	refused(t, carol("delete", "trustedrepository", "infra", "--as="+lab.Carol, "--as-group=commitgate:admins", "--as-group=system:masters"), "ConfigurationGuarded")
	forged := carol("patch", "gate", "demo", "--subresource=status", "--type=merge", `--patch={"status":{"objects":99}}`, "--as="+lab.Carol, "--as-group=commitgate:admins", "--as-group=system:masters")
	if forged == nil {
		t.Error("somebody writes the gate's status")
	}
	scale := func() error {
		return carol("scale", "deployment", "cart", "--replicas=9", "--namespace=shop", "--dry-run=server")
	}
	refused(t, scale(), cart)

	// Bob declares the Gate in Git, in mode Warn. Alone he gives himself nothing.
	configuration, err := os.ReadFile(l.Gate.Config)
	check(t, err)
	_, gate, _ := strings.Cut(string(configuration), "\n---\n")
	const file = "apps/shop/gate.yaml"
	declare := func(before, after string) {
		t.Helper()
		gate = strings.Replace(gate, before, after, 1)
		check(t, l.Repository.Write(file, gate))
	}
	declare("mode: Enforce", "mode: Warn")
	_, err = l.Repository.Publish(ctx, l.Bob, "gate: warn", nil)
	check(t, err)
	_, err = l.Flux.Sync(ctx)
	refused(t, err, "ConfigurationGuarded", "signed by one person", file)
	refused(t, scale(), cart)

	// together has Bob change the Gate on a branch that Alice merges.
	together := func(before, after string) error {
		t.Helper()
		_, err := l.Repository.Git(ctx, "checkout", "--quiet", "-b", after[strings.LastIndex(after, " ")+1:])
		check(t, err)
		declare(before, after)
		_, err = l.Repository.Commit(ctx, l.Bob, "gate: "+after)
		check(t, err)
		branch, err := l.Repository.Git(ctx, "rev-parse", "--abbrev-ref", "HEAD")
		check(t, err)
		_, err = l.Repository.Git(ctx, "checkout", "--quiet", "-")
		check(t, err)
		_, err = l.Repository.Merge(ctx, l.Alice, strings.TrimSpace(branch), "merge: "+after)
		check(t, err)
		check(t, l.Repository.Push(ctx, false))
		_, err = l.Flux.Sync(ctx)
		return err
	}
	check(t, together("mode: Warn", "mode: Audit"))
	logged(t, l, 1, "another configuration is gone by")
	check(t, scale())
	column(t, l, "gate", "demo", "MODE", "Audit")
	column(t, l, "gate", "demo", "READY", "True")

	check(t, together("mode: Audit", "mode: Warn\n  policies:\n  - repository: nobody\n    path: policies"))
	logged(t, l, 1, "a changed configuration is not taken")
	column(t, l, "gate", "demo", "READY", "False")
	told(t, l, "default", "Gate/demo", "Warning Invalid", "nobody")
	check(t, scale())

	// A gate that is started again while the objects are wrong goes on as before.
	check(t, l.Gate.Kill())
	check(t, l.Gate.Start(ctx))
	logged(t, l, 1, "is not gone by, but the one before")
	check(t, scale())
	sound(t, l)
}
