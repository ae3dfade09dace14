package policy

import (
	"sort"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"k8s.io/apiserver/pkg/admission"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
)

// Input is everything that a decision may depend on. Nothing in it is changed.
type Input struct {
	// Request is the AdmissionRequest as decoded JSON. Its object, oldObject and namespaceObject are not read from here.
	Request map[string]any
	// Object and OldObject are as the API server sent them; nil where there is none.
	Object, OldObject map[string]any
	// Namespace is the Namespace object that the object lives in, nil if it is not known or the object is cluster-scoped.
	Namespace map[string]any
	// Origin is where in Git the change comes from, nil if it does not come from Git.
	Origin *Origin
	// Cluster is the gate's name for the cluster.
	Cluster string
	// Time is the only clock that policies see. It must be set.
	Time time.Time
	// Inventory is the cluster's state for policies that compare objects; nil if there is none.
	Inventory *Inventory
}

// Origin ties a change to Git. Author, committer and the dates are what the commit says of itself; only the signatures prove anything.
type Origin struct {
	Repository string
	Branch     string
	Revision   git.ID // the verified revision that declares the object
	Commit     git.ID // the commit that last changed the object
	Tree       git.ID
	Path       git.Path
	Author     git.Person
	Committer  git.Person
	Message    string
	Signatures []signing.Signature // that were accepted on Commit
}

// OriginOf fills an Origin from a commit.
func OriginOf(repository, branch string, revision git.ID, c *git.Commit, p git.Path, signatures []signing.Signature) *Origin {
	return &Origin{
		Repository: repository, Branch: branch, Revision: revision, Commit: c.ID, Tree: c.Tree, Path: p,
		Author: c.Author, Committer: c.Committer, Message: c.Message, Signatures: signatures,
	}
}

// document is Origin as policies see it: input.git.
func (o *Origin) document(now time.Time) map[string]any {
	signatures := make([]any, 0, len(o.Signatures))
	var names []string
	for _, s := range o.Signatures {
		signatures = append(signatures, map[string]any{
			"principal": string(s.Principal), "kind": string(s.Kind), "key": s.Key,
		})
		names = append(names, string(s.Principal))
	}
	signers := sortedUnique(names)
	subject, _, _ := strings.Cut(o.Message, "\n")
	return map[string]any{
		"repository": o.Repository,
		"ref":        "refs/heads/" + o.Branch,
		"branch":     o.Branch,
		"revision":   string(o.Revision),
		"commit":     string(o.Commit),
		"tree":       string(o.Tree),
		"path":       string(o.Path),
		"author":     person(o.Author),
		"committer":  person(o.Committer),
		"signatures": signatures,
		"signers":    list(signers),
		"approvers":  approvers(o),
		"age":        int64(now.Sub(o.Committer.When) / time.Second),
		"subject":    subject,
		"message":    o.Message,
		"trailers":   trailers(o.Message),
	}
}

func person(p git.Person) map[string]any {
	return map[string]any{"name": p.Name, "email": p.Email, "time": p.When.UTC().Format(time.RFC3339)}
}

func list(in []string) []any {
	out := make([]any, len(in))
	for i, s := range in {
		out[i] = s
	}
	return out
}

// approvers are the signers other than the author.
func approvers(o *Origin) []any {
	out := []any{}
	for _, p := range signing.Approvers(o.Author, o.Signatures) {
		out = append(out, string(p))
	}
	return out
}

// trailers are those of the commit's message, as JSON.
func trailers(message string) map[string]any {
	out := map[string]any{}
	for key, values := range git.Trailers(message) {
		out[key] = list(values)
	}
	return out
}

// documentSchema is the JSON schema of our own input document. It is closed, so that the compiler finds misspelt fields; what
// Kubernetes defines is left open.
func documentSchema() map[string]any {
	str := map[string]any{"type": "string"}
	anyObject := map[string]any{}
	strs := map[string]any{"type": "array", "items": str}
	who := closed(map[string]any{"name": str, "email": str, "time": str})
	gvk := closed(map[string]any{"group": str, "version": str, "kind": str})
	gvr := closed(map[string]any{"group": str, "version": str, "resource": str})
	return closed(map[string]any{
		"request": closed(map[string]any{
			"uid": str, "operation": str, "name": str, "namespace": str, "subResource": str, "requestSubResource": str,
			"kind": gvk, "resource": gvr, "requestKind": gvk, "requestResource": gvr,
			"dryRun":  map[string]any{"type": "boolean"},
			"options": anyObject,
			"userInfo": closed(map[string]any{
				"username": str, "uid": str, "groups": strs, "extra": anyObject,
			}),
		}),
		"object": anyObject, "oldObject": anyObject, "namespaceObject": anyObject,
		"git": closed(map[string]any{
			"repository": str, "ref": str, "branch": str, "revision": str, "commit": str, "tree": str, "path": str,
			"author": who, "committer": who,
			"signatures": map[string]any{"type": "array", "items": closed(map[string]any{
				"principal": str, "kind": str, "key": str,
			})},
			"signers": strs, "approvers": strs, "age": map[string]any{"type": "number"},
			"subject": str, "message": str,
			"trailers": map[string]any{"type": "object", "additionalProperties": strs},
		}),
		"cluster": str, "time": str,
	})
}

func closed(properties map[string]any) map[string]any {
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

// request is one Input as terms. Each document is converted at most once, and shared by all rules that read it.
type request struct {
	in                     Input
	object, old, namespace *ast.Term
	fields                 map[string]any // the AdmissionRequest without objects, with what the API always sends
	meta                   metadata

	own, review, admission ast.Value
	native                 *admission.VersionedAttributes // see attributes
}

func newRequest(in Input) (*request, error) {
	r := &request{in: in, fields: requestFields(in.Request), meta: metadataOf(in)}
	if r.in.Namespace == nil && r.inNamespace() && !in.Inventory.fixed() { // a suite's inventory matches, and is not shown
		r.in.Namespace = in.Inventory.Namespace(r.meta.namespace)
	}
	in = r.in
	for _, c := range []struct {
		from map[string]any
		to   **ast.Term
	}{{in.Object, &r.object}, {in.OldObject, &r.old}, {in.Namespace, &r.namespace}} {
		*c.to = ast.NullTerm()
		if c.from == nil {
			continue
		}
		v, err := ast.InterfaceToValue(c.from)
		if err != nil {
			return nil, err
		}
		*c.to = ast.NewTerm(v)
	}
	return r, nil
}

// inNamespace tells whether the request is about an object in a namespace. The API server repeats the name of a Namespace as its own
// namespace.
func (r *request) inNamespace() bool {
	o := r.meta.object
	if o == nil {
		o = r.meta.old
	}
	return r.meta.namespace != "" && (o == nil || !o.isNamespace())
}

// requestFields is the request without the objects, complete: fields that Go's encoder of AdmissionRequest always writes are there.
func requestFields(in map[string]any) map[string]any {
	out := map[string]any{
		"uid": "", "operation": "", "options": nil,
		"kind":     map[string]any{"group": "", "version": "", "kind": ""},
		"resource": map[string]any{"group": "", "version": "", "resource": ""},
		"userInfo": map[string]any{},
	}
	for k, v := range in {
		switch k {
		case "object", "oldObject", "namespaceObject":
		default:
			out[k] = v
		}
	}
	return out
}

func (r *request) terms(fields map[string]any) ([][2]*ast.Term, error) {
	keys := make([]string, 0, len(fields))
	for k := range fields {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	out := make([][2]*ast.Term, 0, len(keys)+3)
	for _, k := range keys {
		v, err := ast.InterfaceToValue(fields[k])
		if err != nil {
			return nil, err
		}
		out = append(out, [2]*ast.Term{ast.StringTerm(k), ast.NewTerm(v)})
	}
	return out, nil
}

func pair(k string, v *ast.Term) [2]*ast.Term { return [2]*ast.Term{ast.StringTerm(k), v} }

// ownDocument is the input of our own convention.
func (r *request) ownDocument() (ast.Value, error) {
	if r.own != nil {
		return r.own, nil
	}
	var origin any
	if r.in.Origin != nil {
		origin = r.in.Origin.document(r.in.Time)
	}
	rest, err := r.terms(map[string]any{
		"request": r.fields,
		"git":     origin,
		"cluster": r.in.Cluster,
		"time":    r.in.Time.UTC().Format(time.RFC3339Nano),
	})
	if err != nil {
		return nil, err
	}
	r.own = ast.NewObject(append(rest, pair("object", r.object), pair("oldObject", r.old), pair("namespaceObject", r.namespace))...)
	return r.own, nil
}

// reviewDocument is Gatekeeper's input.review: on DELETE the old object stands in for the object.
func (r *request) reviewDocument() (ast.Value, error) {
	if r.review != nil {
		return r.review, nil
	}
	object := r.object
	if r.meta.operation == "DELETE" {
		object = r.old
	}
	rest, err := r.terms(r.fields)
	if err != nil {
		return nil, err
	}
	namespace := r.namespace
	if r.in.Namespace == nil {
		namespace = ast.ObjectTerm() // Gatekeeper's own way to say that it is not known
	}
	r.review = ast.NewObject(append(rest, pair("object", object), pair("oldObject", r.old), pair("namespaceObject", namespace))...)
	return r.review, nil
}

// admissionDocument is an AdmissionReview, as OPA's own webhook hands it to policies.
func (r *request) admissionDocument() (ast.Value, error) {
	if r.admission != nil {
		return r.admission, nil
	}
	rest, err := r.terms(r.fields)
	if err != nil {
		return nil, err
	}
	req := ast.NewObject(append(rest, pair("object", r.object), pair("oldObject", r.old))...)
	r.admission = ast.NewObject(
		pair("apiVersion", ast.StringTerm("admission.k8s.io/v1")),
		pair("kind", ast.StringTerm("AdmissionReview")),
		pair("request", ast.NewTerm(req)),
	)
	return r.admission, nil
}
