package policy

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// celTemplate is a template in CEL, with this source.
func celTemplate(source string) string {
	return `
apiVersion: templates.gatekeeper.sh/v1
kind: ConstraintTemplate
metadata: {name: team}
spec:
  crd: {spec: {names: {kind: Team}}}
  targets:
  - target: admission.k8s.gatekeeper.sh
    code:
    - engine: K8sNativeValidation
      source: ` + source + "\n"
}

const teamConstraint = `
apiVersion: constraints.gatekeeper.sh/v1beta1
kind: Team
metadata: {name: team, annotations: {%s}}
`

func constraintWith(annotations string) string {
	return strings.Replace(teamConstraint, "%s", annotations, 1)
}

// What Gatekeeper finds out with the first request, and what would let every request pass, is found out at load.
func TestCELThatWouldSilentlyAllowIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ source, want string }{
		"an expression that does not compile": {
			"{failurePolicy: Ignore, validations: [{expression: 'object.'}]}", "t.yaml:11: validation: compilation failed",
		},
		"an expression that is no boolean": {
			"{failurePolicy: Ignore, validations: [{expression: '1'}]}", "t.yaml:11: validation: must evaluate to bool",
		},
		"a condition that does not compile": {
			"{failurePolicy: Ignore, matchCondition: [{name: x, expression: 'object.'}], validations: [{expression: 'true'}]}", "match condition: ",
		},
		"a variable that does not compile": {
			"{variables: [{name: x, expression: 'object.'}], validations: [{expression: 'true'}]}", "variable x: ",
		},
		"the cluster's permissions":      {"{validations: [{expression: \"authorizer.path('/').check('get').allowed()\"}]}", "undeclared reference to 'authorizer'"},
		"nothing to validate":            {"{validations: []}", "there are no validations"},
		"a reserved variable":            {"{variables: [{name: params, expression: '1'}], validations: [{expression: 'true'}]}", "the name is reserved"},
		"a failure policy of its own":    {"{failurePolicy: Allow, validations: [{expression: 'true'}]}", "failurePolicy \"Allow\" is not known"},
		"a source that is not an object": {"[]", "t.yaml:11: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := LoadUnverified(context.Background(), tree("t.yaml", celTemplate(c.source), "c.yaml", constraintWith("")), ".", true)
			var es Errors
			if !errors.As(err, &es) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

// failurePolicy: Ignore lets pass whoever makes an expression fail. The gate denies, unless the constraint says that this is wanted.
func TestCELThatFailsDenies(t *testing.T) {
	const ignoring = "{failurePolicy: Ignore, validations: [{expression: 'object.metadata.labels.team != \"\"', message: no team}]}"
	for name, c := range map[string]struct {
		annotations string
		want        string
	}{
		"by default":               {"", "no such key: team"},
		"unless it is accepted":    {"commitgate.dev/builtin-errors: undefined", ""},
		"also if it says so again": {"commitgate.dev/builtin-errors: deny", "no such key: team"},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustLoad(t, tree("t.yaml", celTemplate(ignoring), "c.yaml", constraintWith(c.annotations)))
			r := mustDecide(t, s, create(t, pod))
			if r.Allowed() != (c.want == "") || !strings.Contains(messages(r.Denials), c.want) {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestCELSeesTheRequest(t *testing.T) {
	s := mustLoad(t, tree("c.yaml", constraintWith("commitgate.dev/controls: 'SOC2-CC8.1'"), "t.yaml", celTemplate(`
        validations:
        - expression: 'request.userInfo.username == "" || request.operation != "CREATE"'
          messageExpression: 'request.userInfo.username + " creates " + request.namespace + "/" + object.metadata.name + " in a namespace of " + namespaceObject.metadata.labels.team'
`)))
	in := create(t, pod)
	in.Namespace = object(t, "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: shop}}}")
	r := mustDecide(t, s, in)
	want := "system:serviceaccount:flux-system:kustomize-controller creates shop/cart in a namespace of shop"
	if messages(r.Denials) != want || r.Denials[0].Policy != "Team/team" || r.Denials[0].File != "t.yaml" || r.Denials[0].Line != 12 {
		t.Errorf("%+v", r)
	}
	if len(r.Controls()) != 1 || r.Controls()[0] != "SOC2-CC8.1" {
		t.Errorf("controls: %v", r.Controls())
	}
}

// A bomb in CEL costs no more than the API server would let it.
func TestCELIsBounded(t *testing.T) {
	s := mustLoad(t, tree("c.yaml", constraintWith(""), "t.yaml", celTemplate(`
        variables: [{name: l, expression: '[1,2,3,4,5,6,7,8,9,10]'}]
        validations:
        - expression: 'variables.l.all(a, variables.l.all(b, variables.l.all(c, variables.l.all(d, variables.l.all(e, variables.l.all(f, variables.l.all(g, a+b+c+d+e+f+g > 0)))))))'
`)))
	r := mustDecide(t, s, create(t, pod))
	// On a busy machine the time runs out before the cost does: it is bounded all the same.
	if said := messages(r.Denials); r.Allowed() || !strings.Contains(said, "cost") && !strings.Contains(said, "took too long") {
		t.Errorf("%+v", r)
	}
}
