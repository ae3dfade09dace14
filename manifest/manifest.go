// Package manifest turns a verified tree into declared objects: what the sync agent will apply.
//
// Rendering is hermetic (no network, no exec, no path outside the tree) and bounded in time, memory and
// output. It loads only from a signing.Verified.
package manifest

import (
	"strings"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/git"
)

// Key is the identity of a Kubernetes object. The version is not part of it: the same object is served in several.
type Key struct {
	Group, Kind     string
	Namespace, Name string // Namespace is "" for a cluster-scoped object
}

// String is "Deployment shop/cart", with the group where the kind alone is not of the core or apps group.
func (k Key) String() string {
	kind := k.Kind
	if k.Group != "" && k.Group != "apps" && k.Group != "batch" {
		kind += "." + k.Group
	}
	if k.Namespace == "" {
		return kind + " " + k.Name
	}
	return kind + " " + k.Namespace + "/" + k.Name
}

// Compare orders keys as a Set does: by group, kind, namespace, name.
func (k Key) Compare(o Key) int {
	if c := strings.Compare(k.Group, o.Group); c != 0 {
		return c
	}
	if c := strings.Compare(k.Kind, o.Kind); c != 0 {
		return c
	}
	if c := strings.Compare(k.Namespace, o.Namespace); c != 0 {
		return c
	}
	return strings.Compare(k.Name, o.Name)
}

// Source is where in Git an object is declared.
type Source struct {
	Repository string
	Path       git.Path // the file that a person would edit
	Line       int      // where the object's document begins in it, from 1; 0 if it was rendered from several
	// Commit is the commit of Repository's verified line that an agent's object names; "" where it follows the branch.
	Commit git.ID
	// Base is where the object stands in another trusted repository, whose commit the kustomization at Path names; the zero value if it does not.
	Base Base
	// Inputs are the files and folders that the rendering read for this object's build: it was last changed by
	// the last commit that touched one of them or Path.
	Inputs []git.Path
}

// Base is a document of a remote base.
type Base struct {
	Repository string
	Path       git.Path
	Line       int
	Commit     git.ID // as the kustomization pins it
}

// String is "repository@commit:path:line", as far as it is known; "" for the zero value.
func (b Base) String() string {
	if b == (Base{}) {
		return ""
	}
	return Source{Repository: b.Repository, Path: b.Path, Line: b.Line, Commit: b.Commit}.place()
}

// Object is one Kubernetes object as Git declares it.
type Object struct {
	Key
	Version string
	// Content is the object as the agent sends it, without what the agent adds.
	Content compact.Object
	Source  Source
	// Owner is the agent's object that applies this one (a Flux Kustomization, an Argo CD Application).
	Owner agent.Owner
	// Adds are the labels and annotations that the agent sets on this object, with their exact values.
	Adds agent.Metadata
	// Apply is how the agent applies and deletes this object.
	Apply agent.Apply
	// Opaque are the field paths whose values Git holds encrypted, or which are made up anew each time: what stands there in Content is no value.
	// They are explained by what Sealed knows of them, else by shape only.
	Opaque []string
	// Sealed is what is known of the opaque values that were decrypted.
	Sealed account.Sealed

	// Otherwise is the other form in which the agent may apply the object, nil if there is but one: which of both it takes depends on its version.
	Otherwise *Object

	// implied: the agent makes the object only where it is not there (Argo CD's CreateNamespace).
	implied bool
	// by is the build that it is of; nil if it stands in the configuration.
	by *unitID
	// crd: it stands in the crds folder of a chart.
	crd bool
	// written: a hook as its chart has it, nil where post-renderers do not see it and it is that itself.
	written *document
}

// OwnerKey is the key of the agent's object that applies this one; the zero value for the path of a root.
func (o *Object) OwnerKey() Key { return ownerKey(o.Owner) }

// OwnerKey is the key of the agent's object that the build is of; the zero value for the path of a root.
func (b *Build) OwnerKey() Key { return ownerKey(b.Owner) }

func ownerKey(o agent.Owner) Key { return Key{o.Group, o.Kind, o.Namespace, o.Name} }

// Applied is the object as the agent sends it, with the labels and annotations that it adds. The annotation of client-side apply, which
// repeats the whole object, is left out.
func (o *Object) Applied() map[string]any {
	applied := *o
	applied.editMetadata(func(metadata map[string]any) {
		mergeStrings(metadata, "labels", o.Adds.Labels)
		mergeStrings(metadata, "annotations", o.Adds.Annotations)
	})
	return applied.Content.Map()
}

// String is "repository:path:line", as far as it is known.
func (s Source) String() string { return s.place() }
