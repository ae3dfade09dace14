package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/commitgate/commitgate/test/cluster"
)

// callerFlags has the API server show a client certificate to the gate, as docs/install.md says.
func (l *Lab) callerFlags() ([]string, error) {
	if l.Callers == nil {
		return nil, nil
	}
	certificate, err := l.callerCertificate()
	if err != nil {
		return nil, err
	}
	if l.listen == "" {
		if l.listen, err = cluster.FreeAddress(); err != nil {
			return nil, err
		}
	}
	configuration, kubeconfig := filepath.Join(l.Dir, "admission.yaml"), filepath.Join(l.Dir, "webhooks.kubeconfig")
	return []string{"--admission-control-config-file=" + configuration}, errors.Join(
		os.WriteFile(configuration, fmt.Appendf(nil, `apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: ValidatingAdmissionWebhook
  configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: %s}
`, kubeconfig), 0o600),
		os.WriteFile(kubeconfig, fmt.Appendf(nil, `apiVersion: v1
kind: Config
users:
- name: %q
  user: {%s}
`, l.listen, certificate), 0o600))
}

// callerCertificate is what the API server shows to the gate, as fields of a kubeconfig's user; "" for nothing.
func (l *Lab) callerCertificate() (string, error) {
	if l.Callers == nil {
		return "", nil
	}
	cert, key, err := l.Callers.Client("kube-apiserver")
	return fmt.Sprintf("client-certificate: %s, client-key: %s", cert, key), err
}
