package policy

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
)

// Context is what ReadInputs adds to the objects of a file. Each text may be nil.
type Context struct {
	Time      time.Time
	Cluster   string
	Origin    []byte   // YAML: see docs/policy.md
	Namespace []byte   // a Namespace as YAML
	Inventory [][]byte // objects as YAML
}

// ReadInputs makes an Input of each object in a text: a manifest is a CREATE, an AdmissionReview (or a list of those) is what it
// says. It is for trying policies, not for judging.
func ReadInputs(text []byte, c Context) ([]Input, error) {
	objects, err := decodeObjects(text)
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	if len(objects) == 0 {
		return nil, errors.New("input: there is no object")
	}
	origin, err := readOrigin(c.Origin)
	if err != nil {
		return nil, fmt.Errorf("git: %w", err)
	}
	var namespace map[string]any
	if c.Namespace != nil {
		if err := decodeYAML(c.Namespace, &namespace); err != nil {
			return nil, fmt.Errorf("namespace: %w", err)
		}
	}
	var others []map[string]any
	for _, t := range c.Inventory {
		more, err := decodeObjects(t)
		if err != nil {
			return nil, fmt.Errorf("inventory: %w", err)
		}
		others = append(others, more...)
	}
	inventory, err := fixedInventory(others)
	if err != nil {
		return nil, err
	}
	var out []Input
	for _, o := range objects {
		in, err := reviewOf(o)
		if err != nil {
			return nil, err
		}
		if in.Request["operation"] == nil {
			in.Request["operation"] = "CREATE"
		}
		in.Time, in.Cluster, in.Origin, in.Namespace, in.Inventory = c.Time, c.Cluster, origin, namespace, inventory
		out = append(out, in)
	}
	return out, nil
}

// readOrigin reads what a person writes to try a rule about provenance: the fields of input.git, all optional.
func readOrigin(text []byte) (*Origin, error) {
	if text == nil {
		return nil, nil
	}
	m := map[string]any{}
	if err := decodeYAML(text, &m); err != nil {
		return nil, err
	}
	str := func(fields ...string) string { s, _ := dig(m, fields...).(string); return s }
	who := func(field string) (git.Person, error) {
		p := git.Person{Name: str(field, "name"), Email: str(field, "email")}
		var err error
		if t := str(field, "time"); t != "" {
			p.When, err = time.Parse(time.RFC3339, t)
		}
		return p, err
	}
	o := &Origin{
		Repository: str("repository"), Branch: str("branch"), Path: git.Path(str("path")), Message: str("message"),
		Revision: git.ID(str("revision")), Commit: git.ID(str("commit")), Tree: git.ID(str("tree")),
	}
	var err error
	if o.Author, err = who("author"); err != nil {
		return nil, fmt.Errorf("author: %w", err)
	}
	if o.Committer, err = who("committer"); err != nil {
		return nil, fmt.Errorf("committer: %w", err)
	}
	signers, _ := m["signers"].([]any)
	for _, s := range signers {
		name, ok := s.(string)
		if !ok {
			return nil, errors.New("signers: want a list of names")
		}
		o.Signatures = append(o.Signatures, signing.Signature{Principal: signing.Principal(name), Kind: signing.KindSSH})
	}
	return o, nil
}

// Describe names an input's object for people: Deployment shop/cart.
func Describe(in Input) string {
	m := objectMetaOf(in.Object)
	if m == nil {
		m = objectMetaOf(in.OldObject)
	}
	if m == nil {
		return "nothing"
	}
	name := m.name
	if m.namespace != "" {
		name = m.namespace + "/" + name
	}
	return strings.TrimSpace(m.kind + " " + name)
}
