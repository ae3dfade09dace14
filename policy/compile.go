package policy

import (
	"errors"
	"regexp"

	"github.com/open-policy-agent/opa/v1/ast"
)

// capabilities is what a policy may use: everything that depends on nothing but its arguments. time.now_ns stays, because it answers
// with the time of the input.
func capabilities(v ast.RegoVersion) *ast.Capabilities { return withBuiltins(v, allowedBuiltin) }

func withBuiltins(v ast.RegoVersion, allowed func(*ast.Builtin) bool) *ast.Capabilities {
	caps := ast.CapabilitiesForThisVersion(ast.CapabilitiesRegoVersion(v))
	kept := make([]*ast.Builtin, 0, len(caps.Builtins))
	for _, b := range caps.Builtins {
		if allowed(b) {
			kept = append(kept, b)
		}
	}
	caps.Builtins = kept
	caps.AllowNet = []string{} // nil would be every host
	return caps
}

func allowedBuiltin(b *ast.Builtin) bool {
	switch b.Name {
	case ast.NowNanos.Name:
		return true
	case ast.RegoParseModule.Name:
		return false
	case ast.BitsShiftLeft.Name:
		return false // one call can ask for any amount of memory
	}
	return !b.Nondeterministic
}

// offlineBuiltin is what a suite may use of Gatekeeper's templates: everything but the network.
func offlineBuiltin(b *ast.Builtin) bool {
	return b.Name != ast.HTTPSend.Name && b.Name != ast.NetLookupIPAddr.Name
}

var undefinedFunction = regexp.MustCompile(`undefined function (\S+)`)

// missingBuiltin explains why a function that OPA has is not there.
func missingBuiltin(msg string) (string, bool) {
	m := undefinedFunction.FindStringSubmatch(msg)
	if m == nil {
		return "", false
	}
	if m[1] == "external_data" {
		return "external data providers are not asked; a decision must not depend on the network", true
	}
	b, ok := ast.BuiltinMap[m[1]]
	if !ok || allowedBuiltin(b) {
		return "", false
	}
	return "not available to policies: a decision must be the same when it is replayed (no network, no clock, no randomness, bounded memory)", true
}

// missingBuiltins are those of a compiler's errors that missingBuiltin explains.
func missingBuiltins(err error) ast.Errors {
	var all, out ast.Errors
	if !errors.As(err, &all) {
		return nil
	}
	for _, e := range all {
		if _, ok := missingBuiltin(e.Message); ok {
			out = append(out, e)
		}
	}
	return out
}

// compiling says how modules are compiled.
type compiling struct {
	version ast.RegoVersion
	strict  bool           // what a linter would find is an error
	own     bool           // the input is our own document: misspelt fields are errors
	static  map[string]any // documents under data: a package may not hide one
	print   bool           // print() is kept, for tests
	suite   bool           // for suites only: see offlineBuiltin
}

// compile makes one compiler for the modules. They are copied, not changed.
func compile(modules map[string]*ast.Module, how compiling) (*ast.Compiler, error) {
	caps := capabilities(how.version)
	if how.suite {
		caps = withBuiltins(how.version, offlineBuiltin)
	}
	c := ast.NewCompiler().
		WithCapabilities(caps).
		WithStrict(how.strict).
		WithEnablePrintStatements(how.print).
		WithDefaultRegoVersion(how.version).
		WithPathConflictsCheck(func(path []string) (bool, error) {
			return dig(how.static, path...) != nil, nil
		})
	if how.own {
		schemas := ast.NewSchemaSet()
		schemas.Put(ast.SchemaRootRef, documentSchema())
		c = c.WithSchemas(schemas)
	}
	c.Compile(modules)
	if c.Failed() {
		return nil, c.Errors
	}
	return c, nil
}

func trees(ms []*module) map[string]*ast.Module {
	out := make(map[string]*ast.Module, len(ms))
	for _, m := range ms {
		out[m.path] = m.tree
	}
	return out
}
