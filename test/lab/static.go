package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/commitgate/commitgate/guard"
	"github.com/commitgate/commitgate/test/cluster"
)

// staticFlags prepares the folders of static manifests, empty at first: the API server must come up before there is a gate.
func (l *Lab) staticFlags() ([]string, error) {
	if l.static == "" {
		return nil, nil
	}
	files, err := new(guard.Manifests).Files(l.static)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{"webhooks", "policies"} {
		if err := os.MkdirAll(filepath.Join(l.static, dir), 0o700); err != nil {
			return nil, err
		}
	}
	configuration := filepath.Join(l.static, "admission.yaml")
	return []string{"--admission-control-config-file=" + configuration, "--feature-gates=ManifestBasedAdmissionControlConfig=true"}, os.WriteFile(configuration, files["admission.yaml"], 0o600)
}

// registerStatic has the gate's own tool write the manifests that users install into the API server's folder, and waits until it has read them, which it does
// each minute.
func (l *Lab) registerStatic(ctx context.Context) error {
	root, err := cluster.ModuleRoot()
	if err != nil {
		return err
	}
	var all []byte
	for _, file := range []string{"webhook/webhook.yaml", "policy/guard.yaml"} {
		text, err := os.ReadFile(filepath.Join(root, "config", filepath.FromSlash(file)))
		if err != nil {
			return err
		}
		all = append(append(all, "\n---\n"...), text...)
	}
	from := filepath.Join(l.Dir, "manifests.yaml")
	if err := os.WriteFile(from, all, 0o600); err != nil {
		return err
	}
	url, _, err := l.Gate.Address()
	if err != nil {
		return err
	}
	out, status, err := l.Gate.Run(ctx, "static", "--from", from, "--url", url, "--ca", filepath.Join(l.Gate.Data, "ca", "ca.crt"), "--dir", l.static, "--out", l.static)
	if err != nil || status != 0 {
		return fmt.Errorf("commitgate static: exit status %d, %w: %s", status, err, out)
	}
	if err := l.refused(ctx, WebhookName, "create", "configmap", "is-the-gate-there"); err != nil {
		return err
	}
	return l.refused(ctx, "commitgate guards itself", "create", "configmap", "is-the-guard-there", "--namespace=commitgate")
}
