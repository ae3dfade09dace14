package e2e

import (
	"testing"

	"github.com/commitgate/commitgate/test/lab"
)

// publish changes cart.yaml from one text to another, as Bob, and pushes.
func publish(t *testing.T, l *lab.Lab, before, after string) {
	t.Helper()
	check(t, l.ReplaceIn(cart, before, after))
	_, err := l.Repository.Publish(t.Context(), l.Bob, "cart: "+after, nil)
	check(t, err)
}

const cart = "apps/shop/cart.yaml"

// A gate that is killed comes back at the revision that it had verified last, whatever the Git host says by then: an attacker who can
// rewrite the branch must not win by a restart.
func TestKilledGateNeverGoesBack(t *testing.T) {
	ctx := t.Context()
	l := stage(t)
	old, err := l.Repository.Head(ctx)
	check(t, err)
	publish(t, l, "cart:1.4.0", "cart:1.5.0")
	_, err = l.Flux.Sync(ctx)
	check(t, err)
	head, err := l.Repository.Head(ctx)
	check(t, err)

	check(t, l.Gate.Kill())
	_, err = l.Cluster.Kubectl(ctx, l.CarolConfig, "", "create", "configmap", "notes", "--namespace=shop")
	if err == nil {
		t.Fatal("without a gate a change goes through")
	}
	check(t, l.Repository.Reset(ctx, old))
	check(t, l.Repository.Push(ctx, true))

	check(t, l.Gate.Start(ctx))
	_, err = l.Flux.Sync(ctx) // the branch now says 1.4.0, in a commit that Bob's signed one replaced
	if err == nil {
		t.Fatal("after the restart the gate follows a branch that went back")
	}
	if image := get(t, l, ".spec.template.spec.containers[0].image", "deployment", "cart"); image != "registry.example.com/shop/cart:1.5.0" {
		t.Errorf("the cluster runs %s", image)
	}
	_, err = l.Cluster.Kubectl(ctx, l.CarolConfig, "", "scale", "deployment", "cart", "--replicas=9", "--namespace=shop")
	refused(t, err, cart, head.Short())

	// Once the branch goes on from where it was, so does the gate.
	check(t, l.Repository.Reset(ctx, head))
	check(t, l.Repository.Push(ctx, true))
	publish(t, l, "replicas: 2", "replicas: 3")
	_, err = l.Flux.Sync(ctx)
	check(t, err)
	pods(t, l, "cart", 4) // three of 1.4.0, which nobody makes way for: no kubelet here makes a Pod ready; and the surge of 1.5.0
	sound(t, l)
}

// What the gate knows stays the truth while it can learn nothing new.
func TestTheTruthStays(t *testing.T) {
	l := stage(t)
	t.Run("the Git host is down", func(t *testing.T) { gitHostDown(t, l) })
	t.Run("a commit is broken", func(t *testing.T) { brokenCommit(t, l) })
	sound(t, l)
}

// While the Git host is away the gate goes on with what it knows: also after a restart.
func gitHostDown(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	l.Forge.SetDown(true)
	check(t, l.Gate.Kill())
	check(t, l.Gate.Start(ctx))

	_, err := l.Cluster.Kubectl(ctx, l.CarolConfig, "", "scale", "deployment", "cart", "--replicas=9", "--namespace=shop")
	refused(t, err, cart)

	// Git's own content can be restored without the host: a pod that somebody lost, an object that drifted.
	_, err = l.Cluster.Kubectl(ctx, l.FluxConfig, "", "patch", "deployment", "cart", "--namespace=shop", `--patch={"spec":{"replicas":2}}`)
	check(t, err)

	// What the gate has never seen might be of a commit that it cannot fetch now: not yet, so nothing changes.
	_, err = l.Cluster.Kubectl(ctx, l.FluxConfig, "", "patch", "deployment", "cart", "--namespace=shop", `--patch={"spec":{"replicas":5}}`, "--request-timeout=8s")
	if err == nil {
		t.Fatal("an unseen value goes through while the Git host is away")
	}
	if replicas := get(t, l, ".spec.replicas", "deployment", "cart"); replicas != "2" {
		t.Errorf("the cluster has %s replicas", replicas)
	}

	l.Forge.SetDown(false)
	publish(t, l, "replicas: 2", "replicas: 1")
	_, err = l.Flux.Sync(ctx)
	check(t, err)
	pods(t, l, "cart", 1)
}

// A signed commit that does not render must not take the cluster with it: the previous revision stays the truth.
func brokenCommit(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	_, err := l.Repository.Publish(ctx, l.Alice, "break it", map[string]string{"apps/shop/broken.yaml": "kind: [unclosed\n"})
	check(t, err)
	_, err = l.Cluster.Kubectl(ctx, l.FluxConfig, "", "delete", "configmap", "settings", "--namespace=shop", "--wait=false", "--request-timeout=8s")
	if err == nil {
		t.Fatal("a declared object is deleted while the head does not render")
	}
	_, err = l.Cluster.Kubectl(ctx, l.CarolConfig, "", "scale", "deployment", "cart", "--replicas=9", "--namespace=shop")
	refused(t, err, cart)
	_, err = l.Repository.Publish(ctx, l.Alice, "mend it", map[string]string{"apps/shop/broken.yaml": ""})
	check(t, err)
	publish(t, l, "cart:1.4.0", "cart:1.6.0")
	_, err = l.Flux.Sync(ctx)
	check(t, err)
	if image := get(t, l, ".spec.template.spec.containers[0].image", "deployment", "cart"); image != "registry.example.com/shop/cart:1.6.0" {
		t.Errorf("the cluster runs %s", image)
	}
}
