package manifest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"flag"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"helm.sh/helm/v4/pkg/chart/common"
)

var update = flag.Bool("update", false, "write what helm gives instead of comparing with it")

// Every archive of testdata/helm is a tree whose folder "chart" is rendered with the values of the file "values". What stands in a folder
// NAME.tgz is packed into an archive of that name. What helm v4.2.4 gave stands beside the archive; -update writes it anew,
// where there is a helm.
func TestChartsAreRenderedAsHelmRendersThem(t *testing.T) {
	helm := findProgram("helm")
	for _, tree := range archives(t, "testdata/helm") {
		t.Run(tree.name, func(t *testing.T) {
			dir := unpack(t, packed(t, tree.files))
			file, err := os.ReadFile(filepath.Join(dir, "values"))
			check(t, err)
			values, err := common.ReadValues(file)
			check(t, err)
			docs, _, err := helmTemplate(os.DirFS(dir), "chart", helmOptions{
				Release: "shop", Namespace: "prod", Values: values, KubeVersion: "v1.34.1", APIVersions: []string{"example.com/v1"}, CRDs: true,
			}, func(string) {})
			check(t, err)
			have := canonical(t, contents(docs))
			golden := filepath.Join("testdata", "helm", tree.name+".yaml")
			recorded, err := os.ReadFile(golden)
			if err == nil {
				if want := canonical(t, splitObjects(t, string(recorded))); have != want {
					t.Errorf("%s\n%s", tree.comment, difference(t, "what helm v4.2.4 gave", want, have))
				}
			} else if !*update {
				t.Error(err)
			}
			if helm == "" {
				return
			}
			cmd := exec.Command(helm, "template", "shop", filepath.Join(dir, "chart"), "--namespace=prod", "--values="+filepath.Join(dir, "values"),
				"--kube-version=v1.34.1", "--api-versions=example.com/v1", "--include-crds")
			home := t.TempDir()
			cmd.Env = append(os.Environ(), "HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_CACHE_HOME="+home, "HELM_DATA_HOME="+home)
			out, err := cmd.Output()
			check(t, err)
			if *update {
				check(t, os.WriteFile(golden, out, 0o644))
			}
			if want := canonical(t, splitObjects(t, string(out))); have != want {
				t.Errorf("%s\n%s", tree.comment, difference(t, "helm template", want, have))
			}
		})
	}
}

// splitObjects reads the output of helm template.
func splitObjects(t *testing.T, text string) []map[string]any {
	t.Helper()
	var objects []map[string]any
	for _, doc := range strings.Split("\n"+text, "\n---\n") {
		docs, err := parseRendered("helm.yaml", []byte(doc))
		check(t, err)
		objects = append(objects, contents(docs)...)
	}
	return objects
}

// packed packs what lies in folders whose name is that of an archive.
func packed(t *testing.T, files []txtar.File) []txtar.File {
	t.Helper()
	var plain []txtar.File
	archives := map[string]*bytes.Buffer{}
	for _, f := range files {
		before, below, ok := strings.Cut(f.Name, ".tgz/")
		if !ok {
			plain = append(plain, f)
			continue
		}
		if archives[before] == nil {
			archives[before] = &bytes.Buffer{}
		}
		w := tar.NewWriter(archives[before])
		check(t, w.WriteHeader(&tar.Header{Name: path.Join("packed", below), Mode: 0o644, Size: int64(len(f.Data))}))
		_, err := w.Write(f.Data)
		check(t, err)
		check(t, w.Flush())
	}
	for name, data := range archives {
		check(t, tar.NewWriter(data).Close())
		var small bytes.Buffer
		w := gzip.NewWriter(&small)
		_, err := w.Write(data.Bytes())
		check(t, err)
		check(t, w.Close())
		plain = append(plain, txtar.File{Name: name + ".tgz", Data: small.Bytes()})
	}
	return plain
}
