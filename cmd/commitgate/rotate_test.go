package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/commitgate/commitgate/authority"
)

// What a person sees who replaces the authority now: each run says what it did, and the last that nothing is due. That no leaf is refused meanwhile
// is shown by package authority, and by test/chaos on a real API server.
func TestCertificatesRotate(t *testing.T) {
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
	client := fake.NewClientset(
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "commitgate", Name: "commitgate-ca"}, Data: map[string][]byte{"tls.crt": bundle.CertPEM(), "tls.key": keys}},
		&admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "commitgate"}, Webhooks: []admissionregistrationv1.ValidatingWebhook{
			{Name: "gate.commitgate.dev", ClientConfig: admissionregistrationv1.WebhookClientConfig{CABundle: bundle.CertPEM()}},
		}},
	)
	o := rotateOptions{secret: "commitgate/commitgate-ca", webhook: "commitgate", before: time.Hour, overlap: time.Hour, output: "table"}
	const both, one = 2, 1
	for i, run := range []struct {
		now     bool
		after   time.Duration
		says    string
		issuing int
		trusted int
	}{
		{false, 0, "nothing is due", one, one},
		{true, 0, "a successor is made and trusted", both, both},
		{true, time.Minute, "beside the old", both, both}, // once is enough
		{false, time.Hour, "nothing is issued from the old", one, both},
		{false, 0, "no longer trusted", one, one},
		{false, 0, "nothing is due", one, one},
	} {
		now, o.now = now.Add(run.after), run.now
		var out bytes.Buffer
		if err := o.run(t.Context(), &out, client, now); err != nil {
			t.Fatal(err)
		}
		secret, err := client.CoreV1().Secrets("commitgate").Get(t.Context(), "commitgate-ca", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		configuration, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), "commitgate", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		issuing, err := authority.Parse(secret.Data["tls.crt"], secret.Data["tls.key"])
		if err != nil {
			t.Fatal(err)
		}
		trusted, err := authority.Certificates(configuration.Webhooks[0].ClientConfig.CABundle)
		if err != nil || !strings.Contains(out.String(), run.says) || len(issuing) != run.issuing || len(trusted) != run.trusted {
			t.Errorf("run %d: %d issue, %d are trusted (%v):\n%s", i, len(issuing), len(trusted), err, &out)
		}
		if strings.Contains(out.String(), "PRIVATE") {
			t.Error("a key is printed")
		}
	}
}
