package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/commitgate/commitgate/authority"
	"github.com/commitgate/commitgate/guard"
)

// staticMachine is a machine of the control plane: the folder that its API server reads.
func staticMachine(t *testing.T, trusted []byte) string {
	t.Helper()
	dir := t.TempDir()
	in := &guard.Manifests{Webhooks: []*admissionregistrationv1.ValidatingWebhookConfiguration{{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingWebhookConfiguration"},
		ObjectMeta: metav1.ObjectMeta{Name: "commitgate"},
		Webhooks:   []admissionregistrationv1.ValidatingWebhook{{Name: "gate.commitgate.dev", AdmissionReviewVersions: []string{"v1"}}},
	}}}
	manifests, err := guard.Static(in, "https://10.96.0.77/review", trusted)
	if err != nil {
		t.Fatal(err)
	}
	files, err := manifests.Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "webhooks"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, guard.WebhooksFile), files[guard.WebhooksFile], 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Two machines of a control plane, each with a cron of its own, replace the authority. Whatever comes first when: of what a replica may issue from, by the
// Secret as it was at any time in the hour before, each API server knows everything.
func TestCertificatesRotateOnEachMachine(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	first, err := authority.New(now.Add(-24 * time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	bundle := authority.Bundle{first}
	keys, err := bundle.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "commitgate", Name: "commitgate-ca"}, Data: map[string][]byte{"tls.crt": bundle.CertPEM(), "tls.key": keys}})
	machines := []string{staticMachine(t, bundle.CertPEM()), staticMachine(t, bundle.CertPEM())}
	written := now
	client.PrependReactor("get", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) { // the API server notes who wrote when
		o, err := client.Tracker().Get(action.GetResource(), action.GetNamespace(), action.(clienttesting.GetAction).GetName())
		if err != nil {
			return true, nil, err
		}
		secret := o.(*corev1.Secret).DeepCopy()
		secret.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "commitgate", Time: &metav1.Time{Time: written}}}
		return true, secret, nil
	})
	issuing := func() authority.Bundle {
		t.Helper()
		secret, err := client.CoreV1().Secrets("commitgate").Get(t.Context(), "commitgate-ca", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := authority.Parse(secret.Data["tls.crt"], secret.Data["tls.key"])
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	run := func(machine int, renew bool) string {
		t.Helper()
		before := issuing().CertPEM()
		o := rotateOptions{secret: "commitgate/commitgate-ca", static: machines[machine], before: time.Hour, overlap: 24 * time.Hour, now: renew, output: "table"}
		var out bytes.Buffer
		if err := o.run(t.Context(), &out, client, now); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(before, issuing().CertPEM()) {
			written = now
		}
		return out.String()
	}
	trusts := func(machine int) []byte {
		t.Helper()
		trusted, _, err := staticTrust(machines[machine])
		if err != nil {
			t.Fatal(err)
		}
		return trusted
	}
	// The replicas see a changed Secret within the hour.
	late := issuing()
	for i, step := range []struct {
		after   time.Duration
		machine int
		renew   bool
		says    string
	}{
		{0, 0, false, "nothing is due"},
		{0, 0, true, "a successor is made and trusted"},
		{time.Minute, 0, false, "beside the old"},
		{12 * time.Hour, 1, false, "the caBundle lacked an authority"},
		{12 * time.Hour, 1, false, "nothing is issued from the old"},
		{time.Second, 0, false, "trusted until every replica has changed over"},
		{time.Second, 1, false, "trusted until every replica has changed over"},
		{23 * time.Hour, 0, false, "trusted until every replica has changed over"},
		{2 * time.Hour, 0, false, "no longer trusted"},
		{time.Second, 1, false, "no longer trusted"},
		{time.Second, 0, false, "nothing is due"},
	} {
		now = now.Add(step.after)
		if step.after >= time.Hour {
			late = issuing()
		}
		if says := run(step.machine, step.renew); !strings.Contains(says, step.says) || strings.Contains(says, "PRIVATE") {
			t.Errorf("run %d, want %q:\n%s", i, step.says, says)
		}
		// Replicas issue from the oldest that they see, while there is no webhook configuration to look at.
		for _, seen := range []authority.Bundle{late, issuing()} {
			for machine := range machines {
				if !bytes.Contains(trusts(machine), authority.Bundle{seen[0]}.CertPEM()) {
					t.Errorf("run %d: machine %d would refuse what a replica shows", i, machine)
				}
			}
		}
	}
	for machine, dir := range machines {
		if certs, err := authority.Certificates(trusts(machine)); err != nil || len(certs) != 1 || certs[0].Equal(first.Cert) {
			t.Errorf("machine %d trusts %d authorities in the end (%v)", machine, len(certs), err)
		}
		if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
			t.Errorf("it leaves %v behind (%v)", left, err)
		}
	}
}

// A file that somebody wrote into is not replaced by what the tool understood of it.
func TestCertificatesRotateLeavesForeignFilesAlone(t *testing.T) {
	a, err := authority.New(time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(string) string{
		"a comment":       func(text string) string { return "# mine\n" + text },
		"another webhook": func(text string) string { return text + text },
		"another kind":    func(text string) string { return text + "---\napiVersion: v1\nkind: List\nitems: []\n" },
		"half a file":     func(text string) string { return text[:len(text)/2] },
		"nothing":         func(string) string { return "" },
	} {
		t.Run(what, func(t *testing.T) {
			dir := staticMachine(t, authority.Bundle{a}.CertPEM())
			file := filepath.Join(dir, guard.WebhooksFile)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(change(string(text))), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, err := staticTrust(dir); err == nil {
				t.Error("it would be replaced")
			}
		})
	}
}
