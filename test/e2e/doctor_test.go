package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/authority"
	"github.com/commitgate/commitgate/test/lab"
)

// examined runs the doctor, who must end as wanted, and returns what it found, by state.
func examined(t *testing.T, l *lab.Lab, want int, args ...string) map[string]string {
	t.Helper()
	found, status := examine(t, l, args...)
	if status != want {
		t.Fatalf("the doctor's exit status is %d, want %d: %v", status, want, found)
	}
	return found
}

// examine runs the doctor and returns what it found, by state, and its exit status.
func examine(t *testing.T, l *lab.Lab, args ...string) (found map[string]string, status int) {
	t.Helper()
	text, status, err := l.Gate.Run(t.Context(), append([]string{"doctor", "-o", "json"}, args...)...)
	check(t, err)
	var findings []struct{ Check, State, What, Do string }
	check(t, json.Unmarshal([]byte(text), &findings))
	found = map[string]string{}
	for _, f := range findings {
		found[f.State] += f.Check + ": " + f.What + "\n"
	}
	return found, status
}

// Whoever is on call asks the doctor, and reads what is wrong: also when half of the installation does not answer.
func TestDoctor(t *testing.T) {
	ctx := t.Context()
	l := startWith(t, lab.Config{Repair: true})
	_, err := l.Flux.Sync(ctx)
	check(t, err)
	all := []string{"--kubeconfig", l.AdminConfig, "--probe", l.Gate.Probes()}

	found := examined(t, l, 0, all...)
	for _, words := range []string{"Kubernetes v1.36", "grants.commitgate.dev", "asks the gate about everything", "issued by what the caBundle holds", "commitgate-guards-itself",
		"may do what it needs to", "away from the API server", "signed by", "7 objects are as they were installed", "flux asked for something"} {
		if !strings.Contains(found["ok"], words) {
			t.Errorf("not found well: %q\n%v", words, found)
		}
	}
	status, code, err := l.Gate.Run(ctx, append([]string{"status"}, all...)...)
	check(t, err)
	if code > 1 { // 1 where the disk of whoever runs this is nearly full
		t.Errorf("exit status %d", code)
	}
	for _, words := range []string{"mode Enforce", "repository infra", "bob@shop.example", "as installed", "yes"} {
		if !strings.Contains(status, words) {
			t.Errorf("status does not say %q:\n%s", words, status)
		}
	}

	// The API server is made to believe somebody else, and asks about less.
	other, err := authority.New(time.Now())
	check(t, err)
	foreign := base64.StdEncoding.EncodeToString(authority.Bundle{other}.CertPEM())
	check(t, l.Eventually(ctx, func(context.Context) error { // the gate puts it back within seconds: so again, where the doctor came too late
		_, err := guardian(t, l, "patch", "validatingwebhookconfiguration", "commitgate", "--type=json",
			`--patch=[{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": "`+foreign+`"}, {"op": "replace", "path": "/webhooks/0/rules/0/resources", "value": ["pods"]}]`)
		check(t, err)
		found, status := examine(t, l, all...)
		for _, words := range []string{"leave something out", "does not believe its certificate"} {
			if status != 1 || !strings.Contains(found["broken"], words) {
				return fmt.Errorf("not found broken (exit status %d): %q\n%v", status, words, found)
			}
		}
		return nil
	}))
	check(t, l.Eventually(ctx, func(context.Context) error { // put back: by the cluster's word, since the gate's own may be from before it noticed
		asked, err := guardian(t, l, "get", "validatingwebhookconfiguration", "commitgate", "--output=jsonpath={.webhooks[0].rules[0].resources}")
		if err == nil && strings.Contains(asked, "pods") {
			err = fmt.Errorf("asked about %s only", asked)
		}
		return err
	}))

	// Without the gate the rest is examined all the same; without the cluster, too.
	check(t, l.Gate.Kill())
	found = examined(t, l, 3, all...)
	if !strings.Contains(found["unknown"], "does not say how it is") || !strings.Contains(found["ok"], "asks the gate about everything") {
		t.Errorf("with the gate down: %v", found)
	}
	run(t, l, 3, append([]string{"status"}, all...)...)
	check(t, l.Gate.Start(ctx))
	check(t, l.Registered(ctx)) // it is ready before it has looked
	found = examined(t, l, 0, "--probe", l.Gate.Probes())
	if !strings.Contains(found["ok"], "signed by") {
		t.Errorf("without a cluster: %v", found)
	}
}

// A feature that is configured and lacks its rights is named, with what to do; nobody is told of rights for what is not configured.
func TestDoctorKnowsWhichRightsAreMissing(t *testing.T) {
	ctx := t.Context()
	l := startWith(t, lab.Config{Repair: true, View: true})
	_, err := l.Flux.Sync(ctx)
	check(t, err)
	all := []string{"--kubeconfig", l.AdminConfig, "--probe", l.Gate.Probes()}
	rights := func(state string) string {
		t.Helper()
		text, _, err := l.Gate.Run(ctx, append([]string{"doctor", "-o", "json"}, all...)...)
		check(t, err)
		var findings []struct{ Check, State, What, Do string }
		check(t, json.Unmarshal([]byte(text), &findings))
		out := ""
		for _, f := range findings {
			if f.Check == "rights of the gate" && f.State == state {
				out += f.What + " -> " + f.Do + "\n"
			}
		}
		return out
	}
	if have := rights("ok"); !strings.Contains(have, "the scan") || !strings.Contains(have, "repair") || strings.Contains(have, "dry-runs") {
		t.Errorf("want scan and repair, and no dry-runs:\n%s\n%s", have, rights("broken"))
	}
	reconfigure(t, l, "  mode: Enforce", "  mode: Warn\n  dryRuns: [{kinds: [Deployment]}]")
	logged(t, l, 1, "another configuration is gone by")
	_, err = guardian(t, l, "delete", "clusterrolebinding", "commitgate-scan", "commitgate-repair")
	check(t, err)
	check(t, l.Eventually(ctx, func(context.Context) error { // the authorizer learns of it by a watch
		have := rights("broken")
		for _, words := range []string{
			"for dry-runs, system:serviceaccount:commitgate:commitgate may not create deployments.apps, patch deployments.apps -> name these in dryRunRules",
			"for the scan, system:serviceaccount:commitgate:commitgate may not list *.*", "config/scan",
			"update validatingwebhookconfigurations.admissionregistration.k8s.io commitgate", "config/repair",
		} {
			if !strings.Contains(have, words) {
				return fmt.Errorf("the doctor does not say %q:\n%s", words, have)
			}
		}
		return nil
	}))
}
