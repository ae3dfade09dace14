package install

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestKrewManifest: each archive of a release stands in the manifest of the plugin, with its own checksum.
func TestKrewManifest(t *testing.T) {
	dir := t.TempDir()
	sums := map[string]string{}
	for _, platform := range []string{"linux_amd64", "darwin_arm64"} {
		content := []byte("a program for " + platform)
		if err := os.WriteFile(filepath.Join(dir, "commitgate_"+platform+".tar.gz"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content)
		sums["https://github.com/commitgate/commitgate/releases/download/v1.2.3/commitgate_"+platform+".tar.gz"] = hex.EncodeToString(sum[:])
	}
	out, err := exec.CommandContext(t.Context(), "../../config/krew/manifest.sh", "v1.2.3", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	var plugin struct {
		Metadata struct{ Name string }
		Spec     struct {
			Version   string
			Platforms []struct {
				Selector         struct{ MatchLabels map[string]string }
				URI, SHA256, Bin string
			}
		}
	}
	if err := yaml.Unmarshal(out, &plugin); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if plugin.Metadata.Name != "commitgate" || plugin.Spec.Version != "v1.2.3" || len(plugin.Spec.Platforms) != len(sums) {
		t.Errorf("unexpected:\n%s", out)
	}
	for _, p := range plugin.Spec.Platforms {
		if p.SHA256 == "" || p.SHA256 != sums[p.URI] || p.Bin != "kubectl-commitgate" || p.Selector.MatchLabels["os"] == "" || p.Selector.MatchLabels["arch"] == "" {
			t.Errorf("unexpected: %+v", p)
		}
	}
}
