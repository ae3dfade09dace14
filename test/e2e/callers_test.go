package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/lab"
)

// caller is somebody who sends requests to the gate's own address.
func caller(t *testing.T, l *lab.Lab, version uint16, certificates ...tls.Certificate) *http.Client {
	t.Helper()
	_, ca, err := l.Gate.Address()
	check(t, err)
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(ca)
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{
		RootCAs: trusted, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(0),
		// Whatever authorities the gate names: a caller shows what it has.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(certificates) == 0 {
				return new(tls.Certificate), nil
			}
			return &certificates[0], nil
		},
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// pair reads a certificate and its key.
func pair(t *testing.T) func(certFile, keyFile string, err error) tls.Certificate {
	return func(certFile, keyFile string, err error) tls.Certificate {
		t.Helper()
		check(t, err)
		c, err := tls.LoadX509KeyPair(certFile, keyFile)
		check(t, err)
		return c
	}
}

// ask sends what a thief would, to learn by the answers what Git holds. The error says how the connection failed.
func ask(l *lab.Lab, c *http.Client, path string) (int, string, error) {
	url, _, err := l.Gate.Address()
	if err != nil {
		return 0, "", err
	}
	review := `{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "1", "operation": "DELETE", "kind": {"version": "v1", "kind": "ConfigMap"},
		"resource": {"version": "v1", "resource": "configmaps"}, "namespace": "shop", "name": "settings", "userInfo": {"username": "mallory"}, "oldObject": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "shop"}}}}`
	response, err := c.Post(strings.TrimSuffix(url, "/review")+path, "application/json", strings.NewReader(review))
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// hungUp tells why the gate ends a connection on which nothing was said: in TLS 1.3 a client learns it after its own handshake.
func hungUp(t *testing.T, l *lab.Lab, c *http.Client) error {
	t.Helper()
	address, _, err := l.Gate.Address()
	check(t, err)
	where, err := url.Parse(address)
	check(t, err)
	conn, err := tls.Dial("tcp", where.Host, c.Transport.(*http.Transport).TLSClientConfig)
	if err == nil {
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
	}
	return err
}

// With --client-ca the gate answers the API server, by its certificate, and hangs up on everybody else before it reads a word of theirs.
func TestNobodyButTheAPIServerMayAsk(t *testing.T) {
	l := startWith(t, lab.Config{Callers: true, Stream: true})

	// The API server is answered.
	_, err := l.Flux.Sync(t.Context())
	check(t, err)
	pods(t, l, "cart", 2)
	_, err = l.Cluster.Kubectl(t.Context(), l.CarolConfig, "", "delete", "deployment", "cart", "--namespace=shop")
	refused(t, err, "NotFromSyncAgent")
	check(t, l.Eventually(t.Context(), func(context.Context) error { // and its audit events are taken
		if len(recorded(t, l, audit.TypeOutcome)) == 0 {
			return errors.New("no outcome is recorded")
		}
		return nil
	}))

	// So is whoever else has a certificate of that authority: what is refused below is refused for its certificate.
	good := pair(t)(l.Callers.Client("another-api-server"))
	status, answer, err := ask(l, caller(t, l, 0, good), "/review")
	if err != nil || status != http.StatusOK || !strings.Contains(answer, `"allowed":false`) {
		t.Fatalf("%d %s %v", status, answer, err)
	}

	foreign, err := cluster.NewAuthority(t.TempDir() + "/foreign") // of the same name
	check(t, err)
	user, err := l.Cluster.User("mallory", "system:masters")
	check(t, err)
	admin, err := tls.X509KeyPair(user.CertData, user.KeyData)
	check(t, err)
	tests := map[string][]tls.Certificate{
		"no certificate": nil,
		"a certificate of somebody else's authority":              {pair(t)(foreign.Client("kube-apiserver"))},
		"a certificate by which the API server knows its users":   {admin},
		"a server's certificate, by the authority of the callers": {pair(t)(l.Callers.Server("some-webhook"))},
	}
	before := records(t, l)
	for name, certificates := range tests {
		for version, word := range map[uint16]string{tls.VersionTLS12: "TLS 1.2", tls.VersionTLS13: "TLS 1.3"} {
			t.Run(name+", "+word, func(t *testing.T) {
				for _, path := range []string{"/review", "/audit-stream", "/"} {
					if status, answer, err := ask(l, caller(t, l, version, certificates...), path); err == nil {
						t.Errorf("%s is answered: %d %s", path, status, answer)
					}
				}
				if err := hungUp(t, l, caller(t, l, version, certificates...)); !strings.HasPrefix(fmt.Sprint(err), "remote error: tls: ") {
					t.Errorf("not refused for the certificate: %v", err)
				}
			})
		}
	}
	if after := records(t, l); after != before {
		t.Errorf("what nobody may ask was judged: %d records, and before %d", after, before)
	}

	// Probes need no certificate, and tell nothing of what is judged; there is nothing of them where reviews are taken.
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/status"} {
		response, err := http.Get(l.Gate.Probes() + path)
		check(t, err)
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("probe %s: %s", path, response.Status)
		}
		if status, _, err := ask(l, caller(t, l, 0, good), path); err != nil || status != http.StatusNotFound {
			t.Errorf("%s where reviews are taken: %d %v", path, status, err)
		}
	}
	callersReplaced(t, l, good, foreign)
	sound(t, l)
}

// callersReplaced: the authority of the callers is replaced while the gate runs, by way of both.
func callersReplaced(t *testing.T, l *lab.Lab, old tls.Certificate, successor *cluster.Authority) {
	t.Helper()
	text := map[*cluster.Authority]string{}
	for _, a := range []*cluster.Authority{l.Callers, successor} {
		pem, err := os.ReadFile(a.File())
		check(t, err)
		text[a] = string(pem)
	}
	before, after := caller(t, l, 0, old), caller(t, l, 0, pair(t)(successor.Client("api-server-of-the-successor")))
	answered := func(want bool, c *http.Client) {
		t.Helper()
		check(t, l.Eventually(t.Context(), func(context.Context) error {
			c.CloseIdleConnections() // and the session stays: whoever was answered once must not be for ever
			_, _, err := ask(l, c, "/review")
			if (err == nil) != want {
				return fmt.Errorf("want an answer: %t; have %v", want, err)
			}
			return nil
		}))
	}
	check(t, os.WriteFile(l.Callers.File(), []byte(text[l.Callers]+text[successor]), 0o600))
	answered(true, after)
	answered(true, before)
	check(t, os.WriteFile(l.Callers.File(), []byte(text[successor]), 0o600))
	answered(false, before)
	answered(true, after)
}

// records counts what the gate has on record.
func records(t *testing.T, l *lab.Lab) int {
	t.Helper()
	return strings.Count(run(t, l, 0, "audit", "log", l.Gate.AuditLog(), "--actor", "mallory", "-o", "json"), `"mallory"`)
}
