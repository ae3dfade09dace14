package lab

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/commitgate/commitgate/authority"
	"github.com/commitgate/commitgate/test/cluster"
)

// streamFlags has the API server post its audit events to the gate, as users set it up: before there is a gate, so that its address and its authority
// are made first. The API server tries again while the gate is down: five times, each pause half as long again, and then it forgets. The first pause is
// long enough for half a minute in which a gate is killed and started.
func (l *Lab) streamFlags() ([]string, error) {
	if l.streamToken == "" {
		return nil, nil
	}
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	token := hex.EncodeToString(secret)
	var err error
	if l.listen, err = cluster.FreeAddress(); err != nil {
		return nil, err
	}
	ca := filepath.Join(l.Dir, "gate", "ca")
	if err := os.MkdirAll(ca, 0o700); err != nil {
		return nil, err
	}
	if _, err := authority.Open(authority.Config{Dir: ca, Now: time.Now, Log: slog.New(slog.DiscardHandler)}); err != nil {
		return nil, err
	}
	certificate, err := os.ReadFile(filepath.Join(ca, "ca.crt"))
	if err != nil {
		return nil, err
	}
	shown, err := l.callerCertificate()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(l.Dir, "audit-webhook.yaml")
	kubeconfig := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: gate, cluster: {server: "https://%s/audit-stream", certificate-authority-data: %s}}]
users: [{name: api-server, user: {token: %s, %s}}]
contexts: [{name: gate, context: {cluster: gate, user: api-server}}]
current-context: gate
`, l.listen, base64.StdEncoding.EncodeToString(certificate), token, shown)
	return []string{"--audit-webhook-config-file=" + config, "--audit-webhook-batch-max-wait=1s", "--audit-webhook-initial-backoff=4s"},
		errors.Join(os.WriteFile(config, []byte(kubeconfig), 0o600), os.WriteFile(l.streamToken, []byte(token), 0o600))
}
