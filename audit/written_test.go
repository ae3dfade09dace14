package audit

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// An empty member of the schema is a claim that nobody keeps: each member and each type of a record is written somewhere.
func TestEachMemberAndTypeIsWritten(t *testing.T) {
	members, types := writtenIn(t, "..")
	var check func(typ reflect.Type)
	check = func(typ reflect.Type) {
		for f := range typ.Fields() {
			if !members[f.Name] {
				t.Errorf("nobody writes %s.%s", typ.Name(), f.Name)
			}
			inner := f.Type
			for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() {
				check(inner)
			}
		}
	}
	check(reflect.TypeFor[Record]())
	file, err := parser.ParseFile(token.NewFileSet(), "audit.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "Type" && !types[spec.Names[0].Name] {
				t.Errorf("nobody writes %s", spec.Names[0].Name)
			}
		}
		return true
	})
}

// writtenIn finds, in the programs below a folder, the names that stand as keys of composite literals or left of an assignment, and the types of
// records that become the member Type or are handed to a function. It knows names, not types: that two things share a name hides an omission.
func writtenIn(t *testing.T, root string) (members, types map[string]bool) {
	t.Helper()
	members, types = map[string]bool{}, map[string]bool{}
	typeName := func(e ast.Expr) {
		if s, ok := e.(*ast.SelectorExpr); ok {
			e = s.Sel
		}
		if id, ok := e.(*ast.Ident); ok && strings.HasPrefix(id.Name, "Type") {
			types[id.Name] = true
		}
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == "test" || name == "testdata" || name == "bin" || len(name) > 2 && name[0] == '.'):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				if id, ok := n.Key.(*ast.Ident); ok {
					if members[id.Name] = true; id.Name == "Type" {
						typeName(n.Value)
					}
				}
			case *ast.AssignStmt:
				for _, left := range n.Lhs {
					if s, ok := left.(*ast.SelectorExpr); ok {
						members[s.Sel.Name] = true
					}
				}
				for _, right := range n.Rhs {
					typeName(right)
				}
			case *ast.CallExpr:
				for _, arg := range n.Args {
					typeName(arg)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return members, types
}
