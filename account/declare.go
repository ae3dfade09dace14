package account

// Types knows the fields of kinds: the built-in ones, and those of the CRDs it was given. It is immutable and safe for
// concurrent use.
type Types struct{}

// Object is a declared object, prepared for accounting: decoded, defaulted, converted, its list maps keyed. It is
// immutable and safe for concurrent use.
type Object struct{}

// Declare prepares a declaration. It is the dear half of the work and runs off the request path. For a kind without a
// schema it returns an Object that compares lists as whole values and knows no defaults, and an error that wraps ErrNoSchema.
func (t *Types) Declare(d Declaration) (*Object, error) { panic("being written") }

// Explain accounts for a change of the object. It is the request path: microseconds, no lock.
func (o *Object) Explain(c Change) Result { panic("being written") }

// Fields lists every leaf of c.Object with its reason, in order: the long form of Explain, for `why` and `review --fields`.
func (o *Object) Fields(c Change) []Field { panic("being written") }

// Differences lists the leaves that differ between two versions of one live object, leaving out what the API server sets by itself
// (managedFields, resourceVersion, generation) and, where the kind has a status subresource, status. An empty answer is a
// write that changes nothing. The built-in schemas and the CRDs of t say how lists are compared.
func (t *Types) Differences(old, object map[string]any) []string { panic("being written") }

// Follows lists the leaves of a derived object's part that do not follow from its owner's: template and defaulting of a
// pod template (metadata.labels, metadata.annotations, spec) are compared as the API compares them. extra are
// labels and annotations that the controller adds.
func (t *Types) Follows(derived, template map[string]any, extra []Pattern) []string {
	panic("being written")
}
