// Package image holds the test of the Dockerfile where no engine builds images: its commands run as they stand, and what they make runs as a
// container would. The package has no code of its own.
package image

import (
	"debug/elf"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/cluster"
)

// instruction is one line of a Dockerfile: RUN, and what follows.
type instruction struct{ name, rest string }

// stages reads a Dockerfile: each FROM, and what comes after it. It knows no continued lines, and there are none.
func stages(t *testing.T, root string) [][]instruction {
	t.Helper()
	var out [][]instruction
	for line := range strings.Lines(read(t, root, "Dockerfile")) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case name == "" || name == "#":
			continue
		case strings.HasSuffix(rest, "\\"):
			t.Fatalf("a continued line: %s", line)
		case name == "FROM":
			out = append(out, nil)
		}
		last := len(out) - 1
		out[last] = append(out[last], instruction{name, rest})
	}
	if len(out) != 2 {
		t.Fatalf("%d stages, want one that builds and one that is kept", len(out))
	}
	return out
}

// all are what follows each instruction of a name.
func all(stage []instruction, name string) []string {
	var out []string
	for _, i := range stage {
		if i.name == name {
			out = append(out, i.rest)
		}
	}
	return out
}

// one is what follows the only instruction of a name.
func one(t *testing.T, stage []instruction, name string) string {
	t.Helper()
	found := all(stage, name)
	if len(found) != 1 {
		t.Fatalf("%d times %s", len(found), name)
	}
	return found[0]
}

func read(t *testing.T, elements ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(elements...))
	check(t, err)
	return string(text)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	root, err := cluster.ModuleRoot()
	check(t, err)
	return root
}

// The image is built by the Go of go.mod, with the flags of a release, from modules alone, and is run by nobody's root.
func TestDockerfile(t *testing.T) {
	root := moduleRoot(t)
	build, kept := stages(t, root)[0], stages(t, root)[1]

	out, err := exec.Command("go", "mod", "edit", "-json", filepath.Join(root, "go.mod")).Output()
	check(t, err)
	var module struct {
		Go      string
		Replace []struct {
			New struct{ Path, Version string }
		}
	}
	check(t, json.Unmarshal(out, &module))
	if base := one(t, build, "FROM"); !strings.Contains(base, "golang:"+strings.Join(strings.Split(module.Go, ".")[:2], ".")+" ") {
		t.Errorf("built by %s, and go.mod wants %s", base, module.Go)
	}
	for _, r := range module.Replace {
		if r.New.Version == "" {
			t.Errorf("go mod download, by go.mod and go.sum alone, does not find %s", r.New.Path)
		}
	}

	_, release, _ := strings.Cut(read(t, root, "Makefile"), "\nRELEASE := ")
	release, _, _ = strings.Cut(release, "\n")
	command := strings.NewReplacer(" GOOS=$TARGETOS GOARCH=$TARGETARCH", "", "$VERSION", "$(VERSION)").Replace(all(build, "RUN")[1])
	if rest, ok := strings.CutPrefix(command, release); !ok || rest != " -o /commitgate ./cmd/commitgate" {
		t.Errorf("the image is built by\n%s\nand a release by\n%s", command, release)
	}

	if base := one(t, kept, "FROM"); !strings.HasPrefix(base, "gcr.io/distroless/static-") || !strings.HasSuffix(base, ":nonroot") {
		t.Errorf("the image is of %s: want no shell, no libraries, and no root", base)
	}
	if copied := one(t, kept, "COPY"); copied != "--from=build /commitgate /commitgate" {
		t.Errorf("the image holds %s", copied)
	}
	if users := all(kept, "USER"); len(users) > 0 {
		t.Errorf("the user of :nonroot is changed: %v", users)
	}
}

// built is the program that the Dockerfile's command makes of what the Dockerfile's context holds.
func built(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the program anew: not with -short")
	}
	root, context := moduleRoot(t), t.TempDir()
	left := strings.Fields(read(t, root, ".dockerignore")) // names at the root
	check(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case slices.Contains(left, name) && d.IsDir():
			return fs.SkipDir
		case slices.Contains(left, name):
			return nil
		case d.IsDir():
			return os.MkdirAll(filepath.Join(context, name), 0o755)
		}
		return link(path, filepath.Join(context, name))
	}))
	program := filepath.Join(t.TempDir(), "commitgate")
	run := strings.Replace(all(stages(t, root)[0], "RUN")[1], "-o /commitgate ", "-o "+program+" ", 1)
	cmd := exec.Command("sh", "-euc", run)
	cmd.Dir = context
	cmd.Env = append(os.Environ(), "TARGETOS="+runtime.GOOS, "TARGETARCH="+runtime.GOARCH, "VERSION=v9.8.7")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", run, err, out)
	}
	return program
}

// link makes one file of two names, or a copy where that cannot be.
func link(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// static checks that a program needs no other file of its system.
func static(t *testing.T, program string) {
	t.Helper()
	f, err := elf.Open(program)
	check(t, err)
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			interpreter, err := io.ReadAll(p.Open())
			t.Errorf("the program is not static: it wants %s %v", interpreter, err)
		}
	}
	if libraries, err := f.ImportedLibraries(); len(libraries) > 0 {
		t.Errorf("the program is not static: it wants %v %v", libraries, err)
	}
	out, err := exec.Command(program, "--version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "v9.8.7") {
		t.Errorf("--version: %s %v", out, err)
	}
}
