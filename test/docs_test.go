package test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
	gomodule "golang.org/x/mod/module"
)

var update = flag.Bool("update", false, "write the generated documents instead of comparing them")

// TestReasonsDocument holds docs/reasons.md to api/v1alpha1/reasons.go.
func TestReasonsDocument(t *testing.T) {
	file := parseFile(t, "../api/v1alpha1/reasons.go")
	var b strings.Builder
	b.WriteString("# Reasons\n\nWhy a request was allowed or refused, as it stands in denials, records, metrics and the API server's audit annotations.\n" +
		"The list is append-only. Generated from `api/v1alpha1/reasons.go`.\n")
	for _, d := range file.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.CONST {
			continue
		}
		b.WriteString("\n## " + strings.TrimSuffix(sentence(decl.Doc.Text()), ".") + "\n\n| reason | meaning |\n|---|---|\n")
		for _, s := range decl.Specs {
			spec := s.(*ast.ValueSpec)
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			name, meaning, ok := strings.Cut(sentence(spec.Doc.Text()), ": ")
			if !ok || name != "Reason"+value || name != spec.Names[0].Name {
				t.Errorf("%s: want a comment of the form %q", spec.Names[0].Name, "Reason"+value+": what it means")
			}
			fmt.Fprintf(&b, "| `%s` | %s |\n", value, meaning)
		}
	}
	compare(t, "../docs/reasons.md", b.String())
}

// TestConfigurationDocument holds docs/configuration.md to api/v1alpha1/types.go: every field of every kind is documented there.
func TestConfigurationDocument(t *testing.T) {
	structs := map[string]*ast.TypeSpec{}
	docs := map[string]string{}
	var order []string
	file := parseFile(t, "../api/v1alpha1/types.go")
	for _, d := range file.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.TYPE {
			continue
		}
		for _, s := range decl.Specs {
			spec := s.(*ast.TypeSpec)
			if _, ok := spec.Type.(*ast.StructType); ok {
				structs[spec.Name.Name] = spec
				docs[spec.Name.Name] = sentence(decl.Doc.Text())
				order = append(order, spec.Name.Name)
			}
		}
	}
	var b strings.Builder
	b.WriteString("# Configuration\n\nEvery field of the documents that `--config` reads (a file, or a folder of .yaml, .yml and .json files). Decoding is strict: " +
		"an unknown field is an error with its line.\nDocuments of other groups (a Flux `Kustomization` with its `GitRepository`, an Argo CD `Application`) are taken for agents' objects that a bootstrap tool made\n" +
		"outside Git, word for word, and become a root of their own. Generated from `api/v1alpha1/types.go`.\n")
	for _, name := range order {
		fields := structs[name].Type.(*ast.StructType).Fields.List
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| field | type | meaning |\n|---|---|---|\n", name, docs[name])
		for _, f := range fields {
			if len(f.Names) == 0 || f.Tag == nil {
				continue
			}
			tag, err := strconv.Unquote(f.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			key, options, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
			if key == "" {
				t.Errorf("%s.%s has no JSON name", name, f.Names[0].Name)
				continue
			}
			meaning := sentence(f.Doc.Text())
			if c := sentence(f.Comment.Text()); c != "" {
				meaning = strings.TrimSpace(meaning + " " + c)
			}
			if meaning == "" && key != "metadata" && key != "spec" && key != "status" {
				t.Errorf("%s.%s has no comment: the document would say nothing of it", name, f.Names[0].Name)
			}
			required := ""
			if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
				required = ", required"
			}
			fmt.Fprintf(&b, "| `%s` | %s%s | %s |\n", key, typeName(f.Type), required, meaning)
		}
	}
	compare(t, "../docs/configuration.md", b.String())
}

func typeName(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.ArrayType:
		return "list of " + typeName(x.Elt)
	case *ast.StarExpr:
		return typeName(x.X)
	case *ast.MapType:
		return "map of " + typeName(x.Key) + " to " + typeName(x.Value)
	case *ast.SelectorExpr:
		switch x.Sel.Name {
		case "Duration":
			return "duration (90s, 5m)"
		case "Time":
			return "time (RFC 3339)"
		case "RawExtension":
			return "object"
		case "ObjectMeta":
			return "metadata"
		}
		return x.Sel.Name
	}
	return "value"
}

func parseFile(t *testing.T, name string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// sentence makes one line of a comment, without the markers that controller-gen reads.
func sentence(comment string) string {
	var words []string
	for line := range strings.Lines(comment) {
		if !strings.HasPrefix(line, "+") {
			words = append(words, strings.Fields(line)...)
		}
	}
	return strings.Join(words, " ")
}

// compare holds a generated document to what is checked in; -update writes it.
func compare(t *testing.T, file, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Errorf("%s is not what the source says: run go test ./test -update and read the difference", file)
	}
}

// TestDependenciesDocument: every direct dependency earns a line.
func TestDependenciesDocument(t *testing.T) {
	data, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range mod.Require {
		name, _, _ := gomodule.SplitPathVersion(r.Mod.Path)
		short := ", " + path.Base(name) // one of several from one place
		if !r.Indirect && !strings.Contains(string(doc), name) && !strings.Contains(string(doc), short) {
			t.Errorf("docs/dependencies.md has no line for %s: what is it for, and who else trusts it?", r.Mod.Path)
		}
	}
}
