// Package breakglass judges grants: signed, scoped, expiring permissions to change a cluster without Git. It trusts the keys in the gate's
// configuration and the clock it is handed; the object in the cluster that carries a grant proves nothing.
package breakglass

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/signing"
)

// Namespace is what SSH signatures of grants are made for: ssh-keygen -Y sign -n commitgate-grant.
const Namespace = "commitgate-grant"

// The first line of what is signed says what it is, so that no signature made for one thing counts for another.
const (
	grantLine      = "commitgate.dev/v1alpha1 Grant\n"
	revocationLine = "commitgate.dev/v1alpha1 Revocation of a Grant\n"
)

// Statement is what people sign when they sign a grant: its name and spec as JSON, on one line.
func Statement(g *v1alpha1.Grant) ([]byte, error) {
	return statement(grantLine, g, "")
}

// RevocationStatement is what people sign when they revoke a grant.
func RevocationStatement(g *v1alpha1.Grant, reason string) ([]byte, error) {
	return statement(revocationLine, g, reason)
}

func statement(first string, g *v1alpha1.Grant, reason string) ([]byte, error) {
	body, err := json.Marshal(struct {
		Name       string             `json:"name"`
		Spec       v1alpha1.GrantSpec `json:"spec"`
		Revocation string             `json:"revocation,omitempty"`
	}{g.Name, g.Spec, reason})
	if err != nil {
		return nil, err
	}
	return append([]byte(first), append(body, '\n')...), nil
}

// Authority knows who may sign grants for a cluster. It never changes, and is safe for concurrent use.
type Authority struct {
	cluster string
	people  *signing.People
	needed  int
	longest time.Duration
	limits  Limits
}

// NewAuthority reads who may sign from a gate's configuration; nil, without an error, if it names nobody.
func NewAuthority(s *v1alpha1.GateSpec) (*Authority, error) {
	if s.BreakGlass == nil {
		return nil, nil
	}
	people, err := signing.NewPeople(s.BreakGlass.Signers)
	if err != nil {
		return nil, fmt.Errorf("breakGlass: %w", err)
	}
	return &Authority{cluster: s.Cluster, people: people, needed: s.BreakGlass.Threshold, longest: s.BreakGlass.MaxDuration.Duration, limits: Limits{s.BreakGlass.Limits}}, nil
}

// Grant is a grant whose signatures suffice. It never changes.
type Grant struct {
	Name     string
	Spec     v1alpha1.GrantSpec
	SignedBy []signing.Principal
	// Revoked says who revoked it and why, "" if nobody did.
	Revoked string
}

// Judge tells whether a grant is good: for this cluster, of a sane scope and length, and signed by as many distinct people as it takes. It says
// nothing of whether it is active. The error is a sentence for whoever wrote the grant.
func (a *Authority) Judge(g *v1alpha1.Grant, now time.Time) (*Grant, error) {
	if err := a.Check(g); err != nil {
		return nil, err
	}
	text, err := Statement(g)
	if err != nil {
		return nil, err
	}
	signers, refused := a.signers(text, g.Signatures, now)
	if len(signers) < a.needed {
		return nil, fmt.Errorf("%d of %d signatures%s", len(signers), a.needed, because(refused))
	}
	out := &Grant{Name: g.Name, Spec: g.Spec, SignedBy: signers}
	if g.Revocation != nil {
		who, err := a.revokedBy(g, now)
		if err != nil {
			return nil, err
		}
		out.Revoked = fmt.Sprintf("revoked by %s: %s", who, g.Revocation.Reason)
	}
	return out, nil
}

// revokedBy tells who revoked a grant.
func (a *Authority) revokedBy(g *v1alpha1.Grant, now time.Time) (signing.Principal, error) {
	text, err := RevocationStatement(g, g.Revocation.Reason)
	if err != nil {
		return "", err
	}
	signers, refused := a.signers(text, g.Revocation.Signatures, now)
	if len(signers) == 0 {
		return "", fmt.Errorf("the revocation is signed by nobody who may%s", because(refused))
	}
	return signers[0], nil
}

// signers are the distinct people whose signatures over a text are good, and why the others are not.
func (a *Authority) signers(text []byte, signatures []string, now time.Time) (people []signing.Principal, refused []error) {
	for _, s := range signatures {
		found, err := a.people.Verify(Namespace, []byte(s), text, now)
		switch {
		case err != nil:
			refused = append(refused, err)
		case !slices.Contains(people, found.Principal):
			people = append(people, found.Principal)
		}
	}
	return people, refused
}

func because(refused []error) string {
	if len(refused) == 0 {
		return ""
	}
	return ": " + strings.ReplaceAll(errors.Join(refused...).Error(), "\n", "; ")
}

// everybody are groups that a grant must not name: it would be a grant for the whole cluster.
func everybody() []string {
	return []string{"system:authenticated", "system:unauthenticated", "system:serviceaccounts", "system:masters"}
}

// Check holds a grant to the bounds of one gate, before anybody has signed it: all problems, nil if there is none.
func (a *Authority) Check(g *v1alpha1.Grant) error {
	if a == nil {
		return errors.New("the gate's configuration has no breakGlass: nobody may sign a grant")
	}
	problems := []error{Check(g)}
	if g.Spec.Cluster != a.cluster {
		problems = append(problems, fmt.Errorf("it is for cluster %q, this is %q", g.Spec.Cluster, a.cluster))
	}
	if length := g.Spec.Until.Sub(g.Spec.From.Time); length > a.longest {
		problems = append(problems, fmt.Errorf("it lasts %s, more than %s", length, a.longest))
	}
	problems = append(problems, a.limits.check(&g.Spec))
	return errors.Join(problems...)
}

// Check tells what is wrong with a grant wherever it is used, so that nobody signs what would open nothing: all problems, nil if there is none.
func Check(g *v1alpha1.Grant) error {
	s := &g.Spec
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if len(validation.IsDNS1123Subdomain(g.Name)) > 0 {
		problem("its name %q is no name of an object: want lower-case letters, digits, - and .", g.Name)
	}
	if len(s.Users)+len(s.Groups) == 0 {
		problem("it is for nobody: want users or groups")
	}
	for _, group := range s.Groups {
		if slices.Contains(everybody(), group) {
			problem("group %s is everybody", group)
		}
	}
	for _, user := range s.Users {
		if strings.Contains(user, "*") {
			problem("user %q: names are exact, not patterns", user)
		}
	}
	if s.Cluster == "" {
		problem("cluster is required")
	}
	if len(s.Namespaces) == 0 || len(s.Kinds) == 0 || len(s.Operations) == 0 {
		problem("namespaces, kinds and operations are required: it covers nothing")
	}
	for _, o := range s.Operations {
		if !slices.Contains([]string{"CREATE", "UPDATE", "DELETE", "CONNECT", "*"}, o) {
			problem("operation %q: want CREATE, UPDATE, DELETE, CONNECT or *", o)
		}
	}
	for _, p := range slices.Concat(s.Namespaces, s.Names, s.Subresources) {
		if _, err := path.Match(p, ""); err != nil {
			problem("pattern %q: %w", p, err)
		}
	}
	if s.Reason == "" || s.RequestedBy == "" {
		problem("reason and requestedBy are required")
	}
	if s.Uses < 0 {
		problem("uses: negative")
	}
	if s.From.IsZero() || s.Until.IsZero() || !s.From.Time.Before(s.Until.Time) {
		problem("from and until are required, in this order")
	}
	return errors.Join(problems...)
}
