package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/lab"
)

// run runs commitgate as a person at their laptop would, and checks its exit status.
func run(t *testing.T, l *lab.Lab, want int, args ...string) string {
	t.Helper()
	out, code, err := l.Gate.Run(t.Context(), args...)
	check(t, err)
	if code != want {
		t.Fatalf("commitgate %s: exit status %d, want %d:\n%s", strings.Join(args, " "), code, want, out)
	}
	return out
}

// Two people let a third do for a while what Git does not say.
func TestBreakGlass(t *testing.T) {
	l := stage(t)
	t.Setenv("GNUPGHOME", l.Forge.GNUPGHome())
	t.Run("revoked", func(t *testing.T) { breakGlassRevoked(t, l) })
	t.Run("used up", func(t *testing.T) { breakGlassUsed(t, l) })
	sound(t, l)
}

// The Git host is down at night and the cart must be scaled: two people let Carol do that, twice, and nothing else.
func breakGlassUsed(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	l.Forge.SetDown(true)
	file := filepath.Join(t.TempDir(), "inc-7.yaml")
	scale := func(n string) error {
		_, err := l.Cluster.Kubectl(ctx, l.CarolConfig, "", "scale", "deployment", "cart", "--replicas="+n, "--namespace=shop")
		return err
	}
	refused(t, scale("5"), cart)

	run(t, l, 0, "breakglass", "request", "inc-7", "--cluster=demo", "--user=carol@shop.example", "--namespace=shop", "--kind=Deployment", "--operation=UPDATE",
		"--subresource=scale", "--for=1h", "--uses=2", "--reason=the cart is down", "--ticket=INC-7", "--by=carol@shop.example", "--output="+file)
	shown := run(t, l, 0, "breakglass", "sign", file, "--ssh-key="+l.Alice.KeyFile())
	if !strings.Contains(shown, "carol@shop.example") || !strings.Contains(shown, "2 times") {
		t.Errorf("Alice was not shown what she signs:\n%s", shown)
	}
	out := run(t, l, 1, "breakglass", "apply", file, "--kubeconfig="+l.CarolConfig)
	if !strings.Contains(out, "1 of 2 signatures") {
		t.Errorf("the refusal does not say what lacks:\n%s", out)
	}
	run(t, l, 0, "breakglass", "sign", file, "--gpg-key="+l.Bob.OpenPGPKey())
	run(t, l, 0, "breakglass", "apply", file, "--kubeconfig="+l.CarolConfig)
	out = run(t, l, 0, "breakglass", "list", "--kubeconfig="+l.CarolConfig, "--config="+l.Gate.Config)
	if !strings.Contains(out, "Active") || !strings.Contains(out, "alice@shop.example,bob@shop.example") {
		t.Errorf("list:\n%s", out)
	}

	check(t, l.Eventually(ctx, func(context.Context) error { return scale("5") })) // the watch brings the grant a moment later
	_, err := l.Cluster.Kubectl(ctx, l.CarolConfig, "", "create", "configmap", "notes", "--namespace=shop")
	refused(t, err)
	_, err = l.Cluster.Kubectl(ctx, l.CarolConfig, "", "patch", "grant", "inc-7", "--type=merge", `--patch={"spec":{"uses":9}}`)
	refused(t, err, "GrantRefused")
	column(t, l, "grant", "inc-7", "STATE", "Active")
	column(t, l, "grant", "inc-7", "USES", "1")
	told(t, l, "default", "Grant/inc-7", "GrantOpened")
	settled(t, l, 5)
	check(t, scale("6"))
	refused(t, scale("7"), cart)
	column(t, l, "grant", "inc-7", "STATE", "Exhausted")
	told(t, l, "default", "Grant/inc-7", "GrantUsed", "2 requests")
	seen, err := l.Cluster.Kubectl(ctx, l.CarolConfig, "", "get", "grants", "--output=wide")
	check(t, err)
	t.Log("\n" + seen)
	check(t, l.Gate.Kill())
	check(t, l.Gate.Start(ctx))
	refused(t, scale("7"), cart) // used up is used up, also for a gate that was killed

	out = run(t, l, 0, "breakglass", "report", "inc-7", l.Gate.AuditLog())
	if !strings.Contains(out, "shop/cart") || !strings.Contains(out, "change "+cart) || strings.Contains(out, "notes") {
		t.Errorf("report:\n%s", out)
	}
}

// A grant ends when one of those who may sign says so.
func breakGlassRevoked(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	file := filepath.Join(t.TempDir(), "inc-8.yaml")
	run(t, l, 0, "breakglass", "request", "inc-8", "--cluster=demo", "--user=carol@shop.example", "--namespace=shop", "--kind=ConfigMap", "--operation=CREATE,DELETE",
		"--for=1h", "--reason=the cart is down", "--by=carol@shop.example", "--output="+file)
	run(t, l, 0, "breakglass", "sign", file, "--ssh-key="+l.Alice.KeyFile())
	run(t, l, 0, "breakglass", "sign", file, "--gpg-key="+l.Bob.OpenPGPKey())
	run(t, l, 0, "breakglass", "apply", file, "--kubeconfig="+l.CarolConfig)
	create := func() error {
		_, err := l.Cluster.Kubectl(ctx, l.CarolConfig, "", "create", "configmap", "notes", "--namespace=shop")
		return err
	}
	check(t, l.Eventually(ctx, func(context.Context) error { return create() }))
	_, err := l.Cluster.Kubectl(ctx, l.CarolConfig, "", "delete", "configmap", "notes", "--namespace=shop")
	check(t, err)
	run(t, l, 0, "breakglass", "revoke", file, "--reason=the cart is up", "--ssh-key="+l.Alice.KeyFile(), "--kubeconfig="+l.CarolConfig)
	check(t, l.Eventually(ctx, func(context.Context) error {
		_, err := l.Cluster.Kubectl(ctx, l.CarolConfig, "", "create", "configmap", "notes", "--namespace=shop", "--dry-run=server")
		if err == nil {
			return errors.New("a revoked grant still covers")
		}
		return nil
	}))
	refused(t, create(), "NotFromSyncAgent")

	// Carol kept the file as it was before: deleted and created again, the grant stays over.
	text, err := os.ReadFile(file)
	check(t, err)
	head, revocation, _ := strings.Cut(string(text), "\nrevocation:")
	_, rest, found := strings.Cut(revocation, "\nsignatures:")
	if !found {
		t.Fatalf("the revocation is not in the file, before the signatures:\n%s", text)
	}
	check(t, os.WriteFile(file, []byte(head+"\nsignatures:"+rest), 0o600))
	_, err = l.Cluster.Kubectl(ctx, l.CarolConfig, "", "delete", "grant", "inc-8")
	check(t, err)
	if out := run(t, l, 1, "breakglass", "apply", file, "--kubeconfig="+l.CarolConfig); !strings.Contains(out, "a grant of this name is over") {
		t.Errorf("the refusal does not say why:\n%s", out)
	}
	refused(t, create(), "NotFromSyncAgent")
	out := run(t, l, 0, "audit", "tail", "--lines=1000", l.Gate.AuditLog())
	for _, word := range []string{"grant.opened", "grant.closed"} {
		if !strings.Contains(out, word) {
			t.Errorf("the audit log does not tell of %s:\n%s", word, out)
		}
	}
}
