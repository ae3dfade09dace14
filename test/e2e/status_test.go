package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/lab"
)

// column waits until kubectl get shows a value in a column of an object.
func column(t *testing.T, l *lab.Lab, kind, name, heading, want string) {
	t.Helper()
	err := l.Eventually(t.Context(), func(ctx context.Context) error {
		out, err := l.Cluster.Kubectl(ctx, l.CarolConfig, "", "get", kind, name)
		if err != nil {
			return err
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		at := strings.Index(lines[0], heading)
		if at < 0 || len(lines) != 2 {
			return fmt.Errorf("no column %s:\n%s", heading, out)
		}
		if !strings.HasPrefix(lines[1][min(at, len(lines[1])):], want) {
			return fmt.Errorf("%s is not %q:\n%s", heading, want, out)
		}
		return nil
	})
	check(t, err)
}

// told waits for an Event that holds some words, and returns it.
func told(t *testing.T, l *lab.Lab, namespace string, words ...string) string {
	t.Helper()
	found := ""
	err := l.Eventually(t.Context(), func(ctx context.Context) error {
		out, err := l.Cluster.Kubectl(ctx, l.CarolConfig, "", "get", "events", "--namespace="+namespace,
			`--output=jsonpath={range .items[*]}{.involvedObject.kind}/{.involvedObject.name} {.type} {.reason} x{.count} {.message}{"\n"}{end}`)
		if err != nil {
			return err
		}
	lines:
		for line := range strings.Lines(out) {
			for _, word := range words {
				if !strings.Contains(line, word) {
					continue lines
				}
			}
			found = line
			return nil
		}
		return fmt.Errorf("no Event says %q:\n%s", words, out)
	})
	check(t, err)
	return found
}

// What kubectl get shows is how things stand: after a push, after a commit that is refused, while a grant is open. The gate writes it under its own
// identity, which its own rules and policies hold to just that.
func TestStatus(t *testing.T) {
	ctx := t.Context()
	l := stage(t)
	head, err := l.Repository.Head(ctx)
	check(t, err)
	column(t, l, "trustedrepository", "infra", "READY", "True")
	column(t, l, "trustedrepository", "infra", "COMMIT", head.Short())
	column(t, l, "trustedrepository", "infra", "SIGNER", "bob@shop.example")
	column(t, l, "gate", "demo", "READY", "True")
	column(t, l, "gate", "demo", "EXEMPTIONS", "0")

	publish(t, l, "cart:1.4.0", "cart:1.5.0")
	_, err = l.Flux.Sync(ctx)
	check(t, err)
	good, err := l.Repository.Head(ctx)
	check(t, err)
	column(t, l, "trustedrepository", "infra", "COMMIT", good.Short())
	told(t, l, "default", "TrustedRepository/infra", "Normal Published", good.Short(), "bob@shop.example")

	check(t, l.ReplaceIn(cart, "cart:1.5.0", "cart:6.6.6"))
	bad, err := l.Repository.Publish(ctx, l.Mallory, "cart: mine", nil)
	check(t, err)
	if _, err = l.Flux.Sync(ctx); err == nil {
		t.Fatal("what Mallory signed was applied")
	}
	column(t, l, "trustedrepository", "infra", "READY", "False")
	column(t, l, "trustedrepository", "infra", "VERIFIED", "Refused")
	column(t, l, "trustedrepository", "infra", "COMMIT", good.Short())
	told(t, l, "default", "TrustedRepository/infra", "Warning Refused", bad.Short())

	// Carol is refused on what is there and on what is not; a secret value that she brings is in no Event.
	for range 3 {
		_, err = l.Cluster.Kubectl(ctx, l.CarolConfig, "", "scale", "deployment", "cart", "--replicas=9", "--namespace=shop")
		refused(t, err, cart)
	}
	_, err = l.Cluster.Kubectl(ctx, l.CarolConfig, "", "create", "secret", "generic", "mine", "--from-literal=password=canary-7", "--namespace=shop")
	refused(t, err)
	told(t, l, "shop", "Deployment/cart", "Warning NotFromSyncAgent x3", "UPDATE of Deployment shop/cart/scale by "+lab.Carol, cart)
	told(t, l, "shop", "Namespace/shop", "Warning NotFromSyncAgent", "CREATE of Secret shop/mine by "+lab.Carol)
	// One exemption is over, another ends one day: the gate's own line says so, and nobody needs to look for it.
	reconfigure(t, l, "  mode: Enforce", `  mode: Enforce
  exemptions:
  - {name: migration, users: [carol@shop.example], kinds: [ConfigMap], reason: until the move is done, expires: "2020-01-01T00:00:00Z"}
  - {name: scaling, kinds: [Deployment], fields: [spec.replicas], reason: an autoscaler, expires: "2099-12-01T00:00:00Z"}`)
	column(t, l, "gate", "demo", "EXEMPTIONS", "1, next ends 2099-12-01; 1 ended")
	told(t, l, "default", "Gate/demo", "ExemptionEnded", "migration")
	seen, err := l.Cluster.Kubectl(ctx, l.CarolConfig, "", "get", "trustedrepositories,gates")
	check(t, err)
	t.Log("\n" + seen)
	out, err := l.Cluster.Kubectl(ctx, l.CarolConfig, "", "get", "events", "--all-namespaces", "--output=yaml")
	check(t, err)
	if strings.Contains(out, "canary-7") {
		t.Error("an Event holds a value of an object")
	}
	sound(t, l)
}

// The gate's own token writes what the gate writes, and nothing else: to no other object, and not even to the specs of its own.
func ownTokenIsWorthLittle(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	column(t, l, "gate", "demo", "READY", "True")                     // it holds its Lease
	told(t, l, "shop", "Deployment/cart", "Normal ScalingReplicaSet") // there is an Event
	as := func(args ...string) string {
		_, err := l.Cluster.Kubectl(ctx, l.AdminConfig, "", append(args, "--as=system:serviceaccount:commitgate:commitgate", "--as-group=system:masters")...)
		var said *cluster.KubectlError
		if err == nil || !errors.As(err, &said) {
			return fmt.Sprint(err)
		}
		return said.Stderr
	}
	for what, args := range map[string][]string{
		"configures itself":                {"patch", "gate", "demo", "--type=merge", `--patch={"spec":{"mode":"Audit"}}`},
		"moves the anchor":                 {"patch", "trustedrepository", "infra", "--type=merge", `--patch={"spec":{"branch":"other"}}`},
		"changes what runs":                {"scale", "deployment", "cart", "--replicas=9", "--namespace=shop"},
		"changes a status that is not its": {"patch", "deployment", "cart", "--namespace=shop", "--subresource=status", "--type=merge", `--patch={"status":{"replicas":9}}`},
		"removes an Event":                 {"delete", "events", "--all", "--namespace=shop"},
		"takes a Lease of somebody else's": {"create", "--namespace=shop", "--filename=testdata/lease.yaml"},
		"deletes the Lease of its own":     {"delete", "lease", "commitgate-status", "--namespace=commitgate"},
		"writes into its own namespace":    {"create", "configmap", "other", "--namespace=commitgate"},
	} {
		if said := as(args...); !strings.Contains(said, "ValidatingAdmissionPolicy 'commitgate-") {
			t.Errorf("the gate's token %s: %s", what, said)
		}
	}
	column(t, l, "gate", "demo", "READY", "True") // under the same rules it writes its status
}
