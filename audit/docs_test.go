package audit

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the generated parts of documents instead of comparing them")

// TestTheSchemaIsDocumented holds docs/audit.md to the types: each field of a record and each type of record stands there, with what its
// comment says.
func TestTheSchemaIsDocumented(t *testing.T) {
	comments, types := sourceComments(t)
	var b strings.Builder
	b.WriteString("| member | JSON | meaning |\n|---|---|---|\n")
	describe(t, &b, reflect.TypeFor[Record](), "", comments)
	compareSection(t, "../docs/audit.md", "schema", b.String())
	compareSection(t, "../docs/audit.md", "types", types)
}

func TestTheControlMapIsDocumented(t *testing.T) {
	var b strings.Builder
	b.WriteString("| control | framework | title |\n|---|---|---|\n")
	for _, c := range Controls() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", c.ID, c.Framework, c.Title)
	}
	compareSection(t, "../docs/compliance.md", "controls", b.String())
}

// describe writes the fields of a type and of the types in it.
func describe(t *testing.T, b *strings.Builder, typ reflect.Type, prefix string, comments map[string]string) {
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		about := comments[typ.Name()+"."+f.Name]
		if about == "" {
			t.Errorf("%s.%s has no comment", typ.Name(), f.Name)
		}
		inner, suffix := f.Type, ""
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			if inner.Kind() == reflect.Slice {
				suffix = "[]"
			}
			inner = inner.Elem()
		}
		fmt.Fprintf(b, "| `%s%s%s` | %s | %s |\n", prefix, name, suffix, jsonType(inner), about)
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() {
			describe(t, b, inner, prefix+name+suffix+".", comments)
		}
	}
}

func jsonType(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "time (RFC 3339)"
	case t.Kind() == reflect.Struct, t.Kind() == reflect.Map:
		return "object"
	case t.Kind() == reflect.Bool:
		return "boolean"
	case t.Kind() == reflect.String:
		return "string"
	default:
		return "number"
	}
}

// sourceComments reads the comments of the fields in audit.go, and makes the table of types.
func sourceComments(t *testing.T) (fields map[string]string, types string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "audit.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	fields = map[string]string{}
	var b strings.Builder
	b.WriteString("| type | meaning |\n|---|---|\n")
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.TypeSpec:
			if s, ok := n.Type.(*ast.StructType); ok {
				for _, f := range s.Fields.List {
					text := strings.Join(strings.Fields(f.Doc.Text()+" "+f.Comment.Text()), " ")
					fields[n.Name.Name+"."+f.Names[0].Name] = text
				}
			}
		case *ast.ValueSpec:
			if id, ok := n.Type.(*ast.Ident); ok && id.Name == "Type" {
				fmt.Fprintf(&b, "| `%s` | %s |\n", strings.Trim(n.Values[0].(*ast.BasicLit).Value, `"`), strings.TrimSpace(n.Comment.Text()))
			}
		}
		return true
	})
	return fields, b.String()
}

// compareSection compares, or with -update writes, what stands between <!-- NAME --> and <!-- /NAME -->.
func compareSection(t *testing.T, path, name, want string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
	before, rest, ok := strings.Cut(string(b), begin)
	have, after, ok2 := strings.Cut(rest, end)
	switch {
	case !ok || !ok2:
		t.Fatalf("%s has no section %s", path, name)
	case have == want:
	case *update:
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s, %s: not what the source says: go test ./audit -run Documented -update", path, name)
	}
}
