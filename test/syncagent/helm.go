package syncagent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// HelmController installs and upgrades the release of a HelmRelease as Flux's helm-controller does: server-side apply with force, hooks, the release
// kept in Secrets of the target namespace, and its labels set by a post-renderer. Helm's own program does it, as the library in helm-controller.
type HelmController struct {
	source          Source // whose path is the chart
	bin             string // folder with helm and kubectl
	kubeconfig      string
	namespace, name string // of the HelmRelease; the release has its name
	target          string // namespace
}

// NewHelmController is the reconciler of the HelmRelease namespace/name, with the identity of a kubeconfig and programs in a folder.
func NewHelmController(bin, kubeconfig, namespace, name, target string, source Source) *HelmController {
	return &HelmController{source: source, bin: bin, kubeconfig: kubeconfig, namespace: namespace, name: name, target: target}
}

// ErrNoHelm is wrapped when nobody has built Helm.
var ErrNoHelm = errors.New("helm is not built: run `make helm`")

// Sync installs the release, or upgrades it.
func (h *HelmController) Sync(ctx context.Context) (err error) {
	helm := filepath.Join(h.bin, "helm")
	if _, err := os.Stat(helm); errors.Is(err, os.ErrNotExist) {
		return ErrNoHelm
	}
	dir, err := h.source.clone(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	home := filepath.Join(dir, ".git", "home") // beside what was cloned
	if err := h.writePostRenderer(filepath.Join(home, "plugins", "flux-labels")); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, helm, "upgrade", "--install", h.name, filepath.Join(dir, filepath.FromSlash(h.source.Path)), "--namespace="+h.target,
		"--create-namespace", "--server-side=true", "--force-conflicts", "--history-max=2", "--post-renderer=flux-labels")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+h.kubeconfig, "HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_CACHE_HOME="+home, "HELM_DATA_HOME="+home,
		"HELM_PLUGINS="+filepath.Join(home, "plugins"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("helm upgrade: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// writePostRenderer makes a plugin that labels what the chart makes.
func (h *HelmController) writePostRenderer(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	plugin := "name: flux-labels\nversion: 1.0.0\ntype: postrenderer/v1\napiVersion: v1\nruntime: subprocess\nruntimeConfig:\n  platformCommand:\n  - command: ${HELM_PLUGIN_DIR}/label.sh\n"
	script := fmt.Sprintf("#!/bin/sh\n%s label --local --filename=- --output=json helm.toolkit.fluxcd.io/name=%s helm.toolkit.fluxcd.io/namespace=%s | sed 's/^{$/---\\n{/'\n",
		filepath.Join(h.bin, "kubectl"), h.name, h.namespace)
	return errors.Join(os.WriteFile(filepath.Join(dir, "plugin.yaml"), []byte(plugin), 0o600), os.WriteFile(filepath.Join(dir, "label.sh"), []byte(script), 0o700))
}
