// Package agent knows the sync agents: what each adds to the objects it applies, how it applies and deletes
// them, and what it writes for itself. It is data from the agents' own sources; it decides nothing.
package agent

// Owner is the agent's own object that applies others: a Flux Kustomization or HelmRelease, an Argo CD
// Application, a RootSync. The zero value is a root that no object describes (a plain path).
type Owner struct {
	Agent           string // the name of the agent in the configuration
	Group, Kind     string
	Namespace, Name string
}

// Metadata are labels and annotations, with their exact values, and finalizers that the agent may set or not.
type Metadata struct {
	Labels, Annotations map[string]string
	// Loose are labels that the agent sets and may take away again: name, which Helm gives to a namespace and others drop.
	Loose      map[string]string
	Finalizers []string
}

// Apply is how an agent applies and deletes one object.
type Apply struct {
	// LastApplied: client-side apply, which writes the annotation kubectl.kubernetes.io/last-applied-configuration. Argo CD also applies on the client's
	// side once before it does so on the server's (ClientSideApplyMigration).
	LastApplied bool
	// Reconciled: `kubectl auth reconcile` goes first: it adds to the rules or subjects of a live object of RBAC, and takes nothing away.
	Reconciled bool
	// Recreate: the agent may delete the declared object to create it again (Flux force, Argo CD Force or Replace).
	Recreate bool
	// NoPrune: the agent leaves the object when Git drops it.
	NoPrune bool
	// Hook: the agent creates and deletes the object around a sync or release.
	Hook bool
	// GenerateName: the object's name is a prefix that the server or the agent completes.
	GenerateName bool
	// Early are the agents whose releases make the namespace where it is not there yet, without the labels and annotations that are declared of it.
	Early []string
	// Ignored are the field paths whose live values the agent keeps (Argo CD RespectIgnoreDifferences, ignoreApplicationDifferences).
	Ignored []string
	// Rolling: an Argo CD Application that applicationset-controller syncs itself, in steps, instead of letting it sync by itself.
	Rolling bool
}
