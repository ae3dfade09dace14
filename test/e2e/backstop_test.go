package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// With the gate killed and its webhook deleted, whoever is no agent still changes nothing: the API server itself knows who the agents are. Agents and controllers go on.
func TestBackstopWithoutTheGate(t *testing.T) {
	ctx := t.Context()
	l := stage(t)
	out := run(t, l, 0, "backstop", "--config", l.Gate.Config)
	_, err := l.Cluster.Kubectl(ctx, l.AdminConfig, out, "apply", "--filename=-", "--as=root", "--as-group=commitgate:admins", "--as-group=system:masters")
	check(t, err)
	check(t, l.Gate.Kill())
	unregistered(t, l)

	carol := func(args ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := l.Cluster.Kubectl(ctx, l.CarolConfig, "", append(args, "--namespace=shop")...)
			if err == nil || !strings.Contains(err.Error(), "commitgate-backstop") || !strings.Contains(err.Error(), "NotFromSyncAgent") || !strings.Contains(err.Error(), "forbidden") {
				return fmt.Errorf("not refused by the backstop: %v", err)
			}
			return nil
		}
	}
	check(t, l.Eventually(ctx, carol("create", "configmap", "mine", "--dry-run=server"))) // once the API server has read the policy
	for name, args := range map[string][]string{
		"creates": {"create", "configmap", "mine"}, "scales": {"scale", "deployment", "cart", "--replicas=9"}, "deletes": {"delete", "deployment", "cart"},
		"takes an agent's token": {"create", "token", "default"},
	} {
		if err := carol(args...)(ctx); err != nil {
			t.Errorf("somebody %s: %v", name, err)
		}
	}
	if status, err := l.Cluster.Kubectl(ctx, l.CarolConfig, "", "auth", "can-i", "create", "configmaps", "--namespace=shop"); err != nil || !strings.Contains(status, "yes") {
		t.Errorf("RBAC would have refused, too: %s %v", status, err)
	}

	// An agent's write, and everything that controllers make of it.
	_, err = l.Cluster.Kubectl(ctx, l.FluxConfig, "", "scale", "deployment", "cart", "--replicas=4", "--namespace=shop")
	check(t, err)
	pods(t, l, "cart", 4)
	_, err = guardian(t, l, "create", "configmap", "repair", "--namespace=shop") // and whoever is to put the gate back
	check(t, err)
}
