// Package account explains every leaf field of a change by exactly one reason.
//
// By the time a validating webhook sees an object, the API server has decoded, defaulted, merged and
// allocated it, so it is never byte for byte what Git declares. This package takes each leaf of the object and finds its
// one reason; what has none is named. It is pure: no network, no clock, no client. Everything that
// depends only on what Git declares is computed once, by Declare, off the request path.
package account

import (
	"errors"

	"github.com/commitgate/commitgate/compact"
)

// Why is the reason of one field.
type Why string

// The reasons of a field. The zero value explains nothing.
const (
	Declared  Why = "declared"  // the same path and value in the declared object
	Unchanged Why = "unchanged" // the same path and value in the old object, not contradicting the declared one
	Agent     Why = "agent"     // a label or annotation that this agent adds, with the right value
	Server    Why = "server"    // set by the API server itself: uid, managedFields, status of a subresource, allocations
	Default   Why = "default"   // defaulting and conversion of built-in kinds, structural defaults of CRDs
	Mutated   Why = "mutated"   // added by this cluster's mutating admission, as a dry-run of the declared object showed
	Exempt    Why = "exempt"    // a configured exemption
	Opaque    Why = "opaque"    // Git holds the value encrypted: the shape agrees, the value was not verified
	Decrypted Why = "decrypted" // Git holds the value encrypted: it is what Git's decrypts to
)

// Declaration is one object as Git declares it, with what its agent adds.
type Declaration struct {
	Content             compact.Object
	Labels, Annotations map[string]string
	Loose               map[string]string // labels that the agent adds, and may take away again
	Finalizers          []string          // that the agent may set or not
	LastApplied         bool              // the agent also writes kubectl.kubernetes.io/last-applied-configuration
	Ignored             []string          // field paths whose live values the agent keeps
	Opaque              []string          // field paths whose values Git holds encrypted; items of lists by their keys or by their place in Content
	Sealed              Sealed            // what is known of them where they were decrypted
	// Normal makes the form in which objects of the kind are compared, both Git's and live ones: a copy, without what says nothing to whoever reads
	// them. nil compares them as they stand.
	Normal func(map[string]any) map[string]any
}

// normal is the form in which an object is compared.
func (d *Declaration) normal(object map[string]any) map[string]any {
	if d.Normal == nil || object == nil {
		return object
	}
	return d.Normal(object)
}

// Field is one leaf of an object and its reason.
type Field struct {
	// Path is written as the API conventions do: spec.template.spec.containers[name=web].image,
	// metadata.annotations[example.com/key].
	Path string
	Why  Why
}

// Change is what a request asks for.
type Change struct {
	Object map[string]any
	Old    map[string]any // nil on CREATE
	Exempt []Pattern      // the exemptions that apply to this request
	// Mutated is the declared object as a dry-run of this cluster returned it; nil if it was not asked for.
	Mutated map[string]any
}

// Result is the accounting of one change.
type Result struct {
	// Unexplained are leaves of the object without a reason.
	Unexplained []string
	// Missing are declared leaves that the result does not hold, or holds with another value (then they are also unexplained).
	Missing []string
	// Opaque tells whether a value was explained by shape only.
	Opaque bool
	// Decrypted tells whether a value was compared with what Git's decrypts to.
	Decrypted bool
}

// Faithful tells whether everything was explained and nothing is missing.
func (r Result) Faithful() bool { return len(r.Unexplained) == 0 && len(r.Missing) == 0 }

// ErrNoSchema is returned when a kind is neither built in nor described by a known CRD.
var ErrNoSchema = errors.New("no schema for this kind")
