package install

import (
	"crypto/tls"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/authority"
	"github.com/commitgate/commitgate/signing"
)

// TestSamples: what people copy is read by the gate as it is, and the gate's pods get it.
func TestSamples(t *testing.T) {
	m, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../../config/samples")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := m.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	objects := map[string]object{}
	read(t, "config/samples", string(plain), objects)
	name, dir := "", t.TempDir()
	for key, o := range objects {
		if !strings.HasPrefix(key, "ConfigMap commitgate-") || key == "ConfigMap commitgate-policies" {
			continue
		}
		name = strings.TrimPrefix(key, "ConfigMap ")
		for file, content := range o["data"].(object) {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(content.(string)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if name == "" {
		t.Fatal("no ConfigMap")
	}
	if pods := text(objects["StatefulSet commitgate"]); !strings.Contains(pods, `{"configMap":{"name":"`+name+`"},"name":"config"}`) {
		t.Errorf("the pods do not mount %s: %s", name, pods)
	}
	cfg, err := v1alpha1.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Gate.Spec.Mode != v1alpha1.ModeAudit {
		t.Errorf("mode %s: a new gate must not refuse before somebody says so", cfg.Gate.Spec.Mode)
	}
	for _, r := range cfg.Repositories {
		if _, err := signing.NewAuthority(r.Name, r.Spec); err != nil {
			t.Error(err)
		}
	}
}

// TestAuthorityByHand: the authority that docs/install.md tells people to make is one that the gate signs with, and the webhook's
// configuration has the place that the next command fills.
func TestAuthorityByHand(t *testing.T) {
	document, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^    (openssl req .*)$`).FindSubmatch(document)
	if line == nil {
		t.Fatal("docs/install.md makes no authority")
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", string(line[1]))
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	server, err := authority.Open(authority.Config{Dir: dir, Names: []string{"commitgate.commitgate.svc"}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Certificate(&tls.ClientHelloInfo{}); err != nil {
		t.Error(err)
	}
	m, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../../config/webhook")
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := m.AsYaml(); err != nil || strings.Count(string(plain), `caBundle: ""`) != 2 { // of the webhook, and of what the gate compares it with
		t.Errorf("no place for the authority (%v):\n%s", err, plain)
	}
}

// TestCommandsOfDocuments: each command and flag that the documents of installation and operation show is one of docs/cli.md.
func TestCommandsOfDocuments(t *testing.T) {
	cli, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for part := range strings.SplitSeq("\n"+string(cli), "\n## commitgate ") {
		name, body, _ := strings.Cut(part, "\n")
		sections[name] = body
	}
	command := regexp.MustCompile(`^(?:commitgate|.* -- /commitgate) ((?:(?:audit|breakglass|certificates|policy|trust) )?[a-z]+)(.*)`)
	for _, file := range []string{"install.md", "operate.md", "runbooks.md"} {
		document, err := os.ReadFile("../../docs/" + file)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		// In a block or between backquotes: prose says commitgate, too.
		for _, code := range regexp.MustCompile("`[^`\n]+`|(?m:^    .*$)").FindAllString(strings.ReplaceAll(string(document), "\\\n", ""), -1) {
			m := command.FindStringSubmatch(strings.Trim(code, "` "))
			if m == nil {
				continue // of somebody else
			}
			found++
			body, ok := sections[m[1]]
			if !ok {
				t.Errorf("%s: %s: no such command", file, m[0])
				continue
			}
			for _, flag := range regexp.MustCompile(`(?:^| )(--[a-z-]+)`).FindAllStringSubmatch(m[2], -1) {
				if !strings.Contains(body, flag[1]+"`") {
					t.Errorf("%s: %s has no %s", file, m[1], flag[1])
				}
			}
		}
		if found == 0 {
			t.Errorf("%s shows no command", file)
		}
	}
}
