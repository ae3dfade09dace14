// Package live remembers the little that decisions need to know of live objects: who owns whom, which pod
// template an owner has, which namespaces are being deleted. It learns from reviews (the old object of any
// review, and the new object of an admitted write) and from watches; it is never asked to fetch anything.
package live

import (
	"cmp"
	"sync"

	"github.com/commitgate/commitgate/manifest"
)

// Owner is one entry of metadata.ownerReferences.
type Owner struct {
	manifest.Key
	UID        string
	Controller bool
}

// Object is what is remembered of one live object. It is immutable.
type Object struct {
	manifest.Key
	UID    string
	Owners []Owner
	// GenerateName is the prefix that the object's name was made from; "" if it was given whole.
	GenerateName string
	// Template is what the object makes others from: the pod template of a workload, the job template of a
	// CronJob, the pod template that a ControllerRevision keeps; nil for other kinds. It is shared with the review it came from and must not be changed.
	Template map[string]any
	// Newer is the template of a higher generation that was seen before this one: two writes were under way at once, and which of them is persisted
	// nobody has said yet. nil if there is none.
	Newer map[string]any
	// Deleting: the object has a deletionTimestamp.
	Deleting bool
	// Node and Account are where a Pod runs and as whom; "" if that was not seen, or the object is no Pod.
	Node, Account string

	generation, newer int64 // of the object, and of Newer
}

// Store holds the live objects that can own others. The zero value is empty and ready; it is safe for concurrent use.
type Store struct {
	mu      sync.RWMutex
	objects map[manifest.Key]*Object
}

// owns tells which kinds are worth remembering: those that the controllers of Kubernetes make other objects from, and namespaces.
func owns(group, kind string) bool {
	switch group {
	case "apps":
		return kind == "Deployment" || kind == "ReplicaSet" || kind == "StatefulSet" || kind == "DaemonSet" || kind == "ControllerRevision"
	case "batch":
		return kind == "Job" || kind == "CronJob"
	case "scheduling.k8s.io":
		return kind == "PodGroup"
	case "":
		return kind == "ReplicationController" || kind == "Namespace" || kind == "Service" || kind == "Pod"
	}
	return false
}

// Observe remembers an object as it is, or will be once an admitted write is persisted. Of a kind that owns nothing it remembers nothing.
func (s *Store) Observe(object map[string]any) {
	o := parse(object)
	if o == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(o)
}

// Remove remembers that the deletion of an object was admitted. The object is kept as being deleted: it may live on for
// its finalizers, and what it owns goes after it. Purge forgets it.
func (s *Store) Remove(object map[string]any) {
	o := parse(object)
	if o == nil {
		return
	}
	o.Deleting = true
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(o)
}

// put keeps o; the caller holds mu. Of a Pod, where it runs does not change once it is known, and watches of the metadata alone do not tell.
func (s *Store) put(o *Object) {
	if before := s.objects[o.Key]; before != nil && before.UID == o.UID {
		o.Node, o.Account = cmp.Or(o.Node, before.Node), cmp.Or(o.Account, before.Account)
		switch {
		case o.generation < before.generation:
			o.Newer, o.newer = before.Template, before.generation
		case o.generation < before.newer:
			o.Newer, o.newer = before.Newer, before.newer
		}
	}
	if s.objects == nil {
		s.objects = map[manifest.Key]*Object{}
	}
	s.objects[o.Key] = o
}

// Purge forgets an object that a watch saw go.
func (s *Store) Purge(k manifest.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, k)
}

// Object returns what is remembered of an object, or nil.
func (s *Store) Object(k manifest.Key) *Object {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.objects[k]
}
