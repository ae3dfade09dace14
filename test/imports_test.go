package test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/commitgate/commitgate/"

// layers are the walls of the house, from the words that everybody may use to the programs that use everything. A package
// may import packages of lower layers, and of its own layer where the order within it says so (from left to right).
var layers = [][]string{
	{"git", "api/v1alpha1", "agent", "trace", "compact"},                     // words
	{"signing", "sops", "account", "mirror", "manifest", "worker", "policy"}, // facts
	{"snapshot", "live", "track"},                                            // truth
	{"breakglass", "admit"},                                                  // verdict
	{"audit"},                                                                // memory
	{"authority", "webhook", "dryrun", "watch", "hook", "guard", "lease", "watchdog", "status", "doctor", "scan", "blame", "replay", "verify", "check", "ui", "controller"}, // edges
	{"cmd", "test"}, // programs
}

// doors says which packages may import a heavy dependency directly: one door each.
var doors = map[string][]string{
	"github.com/go-git/go-git":            {"mirror", "test", "signing"},
	"github.com/open-policy-agent/opa":    {"policy", "test"},
	"k8s.io/kubernetes":                   {"account", "test"},
	"k8s.io/apiserver":                    {"policy", "test"},
	"sigs.k8s.io/structured-merge-diff":   {"account", "test"},
	"sigs.k8s.io/kustomize":               {"manifest", "test"},
	"helm.sh/helm":                        {"manifest", "test"},
	"github.com/fxamacker/cbor":           {"manifest", "worker"},
	"github.com/ProtonMail/go-crypto":     {"signing", "sops", "test"},
	"filippo.io/age":                      {"sops", "test"},
	"golang.org/x/crypto/ssh":             {"signing", "mirror", "test"},
	"github.com/sigstore/sigstore-go":     {"signing", "test"},
	"github.com/digitorus/pkcs7":          {"signing", "test"},
	"k8s.io/client-go":                    {"watch", "dryrun", "scan", "controller", "account", "manifest", "lease", "watchdog", "doctor", "cmd", "test"},
	"sigs.k8s.io/controller-runtime":      {"controller", "watch", "cmd", "test"},
	"github.com/prometheus/client_golang": {"webhook", "track", "mirror", "audit", "scan", "breakglass", "policy", "cmd", "test", "watch", "watchdog", "controller"},
	"github.com/minio/minio-go":           {"audit"},
	"github.com/jackc/pgx":                {"audit"},
	"github.com/spf13/cobra":              {"cmd"},
	"go.opentelemetry.io/otel":            {"trace"},
}

// silent are packages that must not reach for the network or start programs: the decision and everything that it is made of.
var silent = map[string][]string{
	"admit":    {"net", "net/http", "os", "os/exec"},
	"live":     {"net", "net/http", "os", "os/exec"},
	"snapshot": {"net", "net/http", "os", "os/exec"},
	"account":  {"net/http", "os", "os/exec"},
	"git":      {"net", "net/http", "os", "os/exec"},
	"compact":  {"net", "net/http", "os", "os/exec"},
	"signing":  {"net/http", "os/exec"},
	"sops":     {"net", "net/http", "os/exec"},
	"policy":   {"net/http", "os/exec"},
	"manifest": {"net", "net/http", "os", "os/exec"},
	"agent":    {"net", "net/http", "os", "os/exec"},
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

// TestImports holds the walls: dependencies run one way, each heavy dependency has one door, and the decision never sees the network.
func TestImports(t *testing.T) {
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		layer, place := layerOf(name)
		if layer < 0 {
			t.Errorf("package %s stands in no layer: give it a place in this test and in cmd/commitgate/doc.go", name)
			continue
		}
		for _, imp := range p.Imports {
			if other, ok := strings.CutPrefix(imp, module); ok && room(other) != room(name) {
				l, at := layerOf(other)
				if l > layer || l == layer && at > place {
					t.Errorf("%s (layer %d) imports %s (layer %d): dependencies run one way", name, layer, other, l)
				}
			}
			for heavy, allowed := range doors {
				if (imp == heavy || strings.HasPrefix(imp, heavy+"/")) && !slices.Contains(allowed, room(name)) {
					t.Errorf("%s imports %s: its door is %s", name, imp, strings.Join(allowed, ", "))
				}
			}
			if slices.Contains(silent[room(name)], imp) {
				t.Errorf("%s imports %s: it must not reach outside", name, imp)
			}
		}
	}
}

// room is the top-level package that a package belongs to.
func room(name string) string {
	for _, layer := range layers {
		for _, r := range layer {
			if name == r || strings.HasPrefix(name, r+"/") {
				return r
			}
		}
	}
	return ""
}

func layerOf(name string) (layer, place int) {
	r := room(name)
	for i, l := range layers {
		if at := slices.Index(l, r); at >= 0 {
			return i, at
		}
	}
	return -1, 0
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 10 {
		t.Fatalf("go list found only %d packages", len(packages))
	}
	return packages
}
