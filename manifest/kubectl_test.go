package manifest

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pmezard/go-difflib/difflib"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/commitgate/commitgate/git"
)

// Every archive of testdata/kustomize is a tree whose folder "prod" is built. The comment of the archive says what it is about; the files that
// documents come from may stand in the file "origins", a line each: kind, name, path.
func TestKustomizationsAreBuiltAsKustomizeBuildsThem(t *testing.T) {
	for name, build := range builders(t) {
		t.Run(name, func(t *testing.T) {
			for _, archive := range archives(t, "testdata/kustomize") {
				t.Run(archive.name, func(t *testing.T) {
					dir := unpack(t, archive.files)
					docs, _, err := kustomizeBuild(t.Context(), os.DirFS(dir), "prod", Limits{}.withDefaults())
					check(t, err)
					have := canonical(t, contents(docs))
					if want := canonical(t, build(t, filepath.Join(dir, "prod"))); have != want {
						t.Errorf("%s\n%s", archive.comment, difference(t, name, want, have))
					}
				})
			}
		})
	}
}

func TestDocumentsComeFromTheFileThatAPersonWouldEdit(t *testing.T) {
	told := 0
	for _, archive := range archives(t, "testdata/kustomize") {
		t.Run(archive.name, func(t *testing.T) {
			docs, inputs, err := kustomizeBuild(t.Context(), os.DirFS(unpack(t, archive.files)), "prod", Limits{}.withDefaults())
			check(t, err)
			for line := range strings.Lines(archive.origins) {
				told++
				field := strings.Fields(line)
				i := slices.IndexFunc(docs, func(d *document) bool {
					return d.content.Text("kind") == field[0] && d.content.Text("metadata", "name") == field[1]
				})
				switch {
				case i < 0:
					t.Errorf("no %s %s", field[0], field[1])
				case string(docs[i].path) != field[2]:
					t.Errorf("%s %s comes from %s, want %s", field[0], field[1], docs[i].path, field[2])
				case !slices.Contains(inputs, git.Path(field[2])):
					t.Errorf("%s is not among the inputs %q", field[2], inputs)
				}
			}
		})
	}
	if told < 10 {
		t.Errorf("only %d origins are told", told)
	}
}

// builders are other ways to build a folder: the library on a real file system, and kubectl where there is one.
func builders(t *testing.T) map[string]func(t *testing.T, dir string) []map[string]any {
	builders := map[string]func(t *testing.T, dir string) []map[string]any{
		"kustomize on a disk": func(t *testing.T, dir string) []map[string]any {
			options := krusty.MakeDefaultOptions()
			options.LoadRestrictions = types.LoadRestrictionsNone
			made, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), dir)
			check(t, err)
			out, err := made.AsYaml()
			check(t, err)
			return readYAML(t, out)
		},
	}
	if kubectl := findProgram("kubectl"); kubectl != "" {
		builders["kubectl kustomize"] = func(t *testing.T, dir string) []map[string]any {
			var errors bytes.Buffer
			cmd := exec.Command(kubectl, "kustomize", "--load-restrictor=LoadRestrictionsNone", dir)
			cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
			cmd.Stderr = &errors
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("kubectl kustomize: %v: %s", err, &errors)
			}
			return readYAML(t, out)
		}
	}
	return builders
}

// findProgram prefers a program that was built from its module.
func findProgram(name string) string {
	if built, err := filepath.Abs(filepath.Join("../bin", name)); err == nil {
		if _, err := os.Stat(built); err == nil {
			return built
		}
	}
	found, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return found
}

// readYAML reads the output of a tool as those do who apply it.
func readYAML(t *testing.T, out []byte) []map[string]any {
	t.Helper()
	var objects []map[string]any
	for _, doc := range strings.Split("\n"+string(out), "\n---\n") {
		if strings.TrimSpace(doc) == "" {
			continue
		}
		object, err := kubernetes([]byte(doc))
		check(t, err)
		objects = append(objects, object)
	}
	return objects
}

func contents(docs []*document) []map[string]any {
	objects := make([]map[string]any, len(docs))
	for i, doc := range docs {
		objects[i] = doc.content.Map()
	}
	return objects
}

// canonical is a set of objects as text, in an order of its own.
func canonical(t *testing.T, objects []map[string]any) string {
	t.Helper()
	texts := make([]string, len(objects))
	for i, object := range objects {
		text, err := json.MarshalIndent(object, "", " ")
		check(t, err)
		texts[i] = string(text)
	}
	slices.Sort(texts)
	return strings.Join(texts, "\n")
}

// difference says in which lines two texts differ.
func difference(t *testing.T, name, want, have string) string {
	t.Helper()
	diff, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: difflib.SplitLines(want), B: difflib.SplitLines(have), FromFile: name, ToFile: "here", Context: 6,
	})
	check(t, err)
	return diff
}

// testTree is a tree of testdata.
type testTree struct {
	name, comment, origins string
	files                  []txtar.File
}

func archives(t *testing.T, dir string) []testTree {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	check(t, err)
	if len(names) == 0 {
		t.Fatalf("no archives in %s", dir)
	}
	var all []testTree
	for _, name := range names {
		data, err := os.ReadFile(name)
		check(t, err)
		parsed := txtar.Parse(data)
		a := testTree{name: strings.TrimSuffix(filepath.Base(name), ".txtar"), comment: string(parsed.Comment)}
		for _, f := range parsed.Files {
			if f.Name == "origins" {
				a.origins = string(f.Data)
				continue
			}
			a.files = append(a.files, f)
		}
		all = append(all, a)
	}
	return all
}

// unpack writes files into a folder of the test.
func unpack(t testing.TB, files []txtar.File) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		name := filepath.Join(dir, filepath.FromSlash(f.Name))
		check(t, os.MkdirAll(filepath.Dir(name), 0o755))
		check(t, os.WriteFile(name, f.Data, fs.FileMode(0o644)))
	}
	return dir
}
