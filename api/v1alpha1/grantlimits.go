package v1alpha1

// SubjectKind is what kind of user a grant names.
type SubjectKind string

// The kinds of users.
const (
	SubjectUser           SubjectKind = "User"
	SubjectGroup          SubjectKind = "Group"
	SubjectServiceAccount SubjectKind = "ServiceAccount"
)

// GrantLimits bound what a grant may ask, whoever signs it. What is left empty sets no bound.
type GrantLimits struct {
	// MaxUses bounds how many requests one grant may let pass; where it is set, a grant must say how many.
	MaxUses int `json:"maxUses,omitempty"`
	// Subjects are the kinds of users that a grant may name: User, Group, ServiceAccount.
	Subjects []SubjectKind `json:"subjects,omitempty"`
	// Namespaces that a grant may name: patterns with *; an empty string stands for cluster-scoped objects.
	Namespaces []string `json:"namespaces,omitempty"`
	// Kinds that a grant may name: Kind or Kind.group.
	Kinds []string `json:"kinds,omitempty"`
	// Operations that a grant may name: CREATE, UPDATE, DELETE, CONNECT.
	Operations []string `json:"operations,omitempty"`
	// Subresources that a grant may name: patterns with *.
	Subresources []string `json:"subresources,omitempty"`
	// NoAgentIdentity: no grant opens the ways to the sync agent's identity.
	NoAgentIdentity bool `json:"noAgentIdentity,omitempty"`
	// Never is what no grant covers, even one that names everything.
	Never []GrantNever `json:"never,omitempty"`
}

// +kubebuilder:validation:XValidation:rule="has(self.namespaces) || has(self.kinds)",message="want namespaces or kinds: nothing would ever be granted"

// GrantNever is what no grant covers. A list that is left empty is everything.
type GrantNever struct {
	// Namespaces are patterns with *; an empty string stands for cluster-scoped objects.
	Namespaces []string `json:"namespaces,omitempty"`
	// Kinds are Kind or Kind.group.
	Kinds []string `json:"kinds,omitempty"`
	// Operations are CREATE, UPDATE, DELETE, CONNECT.
	Operations []string `json:"operations,omitempty"`
}

func (v *invalids) grantLimits(l *GrantLimits) {
	const field = "spec.breakGlass.limits"
	if l.MaxUses < 0 {
		v.add(field+".maxUses", "negative")
	}
	for _, s := range l.Subjects {
		v.oneOf(field+".subjects", string(s), string(SubjectUser), string(SubjectGroup), string(SubjectServiceAccount))
	}
	operations := l.Operations
	for _, n := range l.Never {
		if len(n.Namespaces)+len(n.Kinds) == 0 {
			v.add(field+".never", "want namespaces or kinds: nothing would ever be granted")
		}
		v.patterns(field+".never.namespaces", n.Namespaces)
		operations = append(operations[:len(operations):len(operations)], n.Operations...)
	}
	for _, o := range operations {
		v.oneOf(field+".operations", o, "CREATE", "UPDATE", "DELETE", "CONNECT")
	}
	v.patterns(field+".namespaces", l.Namespaces)
	v.patterns(field+".subresources", l.Subresources)
}
