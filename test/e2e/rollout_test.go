package e2e

import (
	"os"
	"strings"
	"testing"
)

// The road to enforcement: in mode Audit nothing is refused and everything is known, in mode Warn the caller learns of it too, and what the
// report says is what an enforcing gate does.
func TestRollout(t *testing.T) {
	ctx := t.Context()
	l := stage(t)
	mode := func(from, to string) {
		t.Helper()
		data, err := os.ReadFile(l.Gate.Config)
		check(t, err)
		text := strings.Replace(string(data), "mode: "+from, "mode: "+to, 1)
		if text == string(data) {
			t.Fatalf("the configuration has no mode %s", from)
		}
		check(t, os.WriteFile(l.Gate.Config, []byte(text), 0o600))
		check(t, l.Gate.Kill())
		check(t, l.Gate.Start(ctx))
	}
	scale := func(n string) (string, error) {
		return l.Cluster.Kubectl(ctx, l.CarolConfig, "", "scale", "deployment", "cart", "--replicas="+n, "--namespace=shop")
	}

	mode("Enforce", "Audit")
	run(t, l, 0, "rollout", l.Gate.AuditLog()) // refusals are no news: they were refused
	_, err := scale("3")
	check(t, err)
	_, err = l.Cluster.Kubectl(ctx, l.CarolConfig, "", "create", "configmap", "notes", "--namespace=shop")
	check(t, err)
	settled(t, l, 3)
	mode("Audit", "Warn")
	_, err = scale("4")
	check(t, err)

	settled(t, l, 4)
	report := run(t, l, 1, "rollout", l.Gate.AuditLog())
	for _, words := range []string{"2  shop  carol@shop.example  UPDATE/scale", "1  shop  carol@shop.example  CREATE ConfigMap", cart, "refused 3 of them"} {
		if !strings.Contains(strings.Join(strings.Fields(report), " "), strings.Join(strings.Fields(words), " ")) {
			t.Errorf("the report does not say %q:\n%s", words, report)
		}
	}
	mode("Warn", "Enforce")
	_, err = scale("5")
	refused(t, err, cart)
	sound(t, l)
}
