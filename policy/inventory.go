package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/prometheus/client_golang/prometheus"
)

// Kind is a kind of object that policies read from data.inventory. Group and Version are empty where the policy leaves them open.
type Kind struct {
	Group   string `json:"group"`
	Version string `json:"version"`
	Kind    string `json:"kind"`
}

func (k Kind) String() string {
	s := k.Kind
	if k.Group != "" {
		s += "." + k.Group
	}
	if k.Version != "" {
		s += "/" + k.Version
	}
	return s
}

func joinKinds(ks []Kind) string {
	out := make([]string, len(ks))
	for i, k := range ks {
		out[i] = k.String()
	}
	return strings.Join(out, ", ")
}

// ErrInventoryFull is returned where the bound of memory is reached. Rules that need the kind deny, until Replace found room for all of it.
var ErrInventoryFull = errors.New("the inventory has reached its bound of memory")

// growth is how much larger an object is as terms than as JSON, as TestTheBoundOfTheInventoryIsOneOfMemory measures.
const growth = 14

// Inventory is the cluster's state, as far as policies ask for it (Set.Inventory): one writer puts and deletes, decisions
// read. A decision sees one consistent state.
type Inventory struct {
	bound int64

	mu      sync.Mutex
	buckets map[bucketKey]*bucket
	bytes   int64        // of JSON
	full    map[gvk]bool // kinds that the bound kept objects of away
	synced  map[Kind]bool
	all     bool // a fixed inventory: what is not in it does not exist

	state atomic.Pointer[inventoryState]
}

type gvk struct{ apiVersion, kind string }

func (k Kind) gvk() gvk {
	if k.Group == "" {
		return gvk{k.Version, k.Kind}
	}
	return gvk{k.Group + "/" + k.Version, k.Kind}
}

type bucketKey struct{ namespace, apiVersion, kind string }

type bucket struct {
	objects map[string]stored
	terms   *ast.Term // nil when it must be made again
}

type stored struct {
	term       *ast.Term
	size       int64
	namespaced map[string]any // a Namespace's own object, for namespaceSelector
}

// inventoryState is what a decision reads.
type inventoryState struct {
	document ast.Value
	synced   map[Kind]bool
	full     map[Kind]bool
	all      bool
}

// NewInventory makes an empty one that takes at most about bound bytes of memory; 0 is no bound.
func NewInventory(bound int64) *Inventory {
	i := &Inventory{bound: bound, buckets: map[bucketKey]*bucket{}, full: map[gvk]bool{}, synced: map[Kind]bool{}}
	i.state.Store(&inventoryState{document: ast.NewObject()})
	return i
}

// fixedInventory holds these objects and is complete, as test suites have it.
func fixedInventory(objects []map[string]any) (*Inventory, error) {
	i := NewInventory(0)
	for _, o := range objects {
		if err := i.put(o); err != nil {
			return nil, err
		}
	}
	i.all = true
	i.state.Store(nil)
	return i, nil
}

// Put adds or replaces one object. managedFields are left out.
func (i *Inventory) Put(object map[string]any) error {
	if m := objectMetaOf(object); m != nil && m.name == "" {
		return fmt.Errorf("inventory: an object of kind %s has no name", m.kind)
	}
	return i.put(object)
}

func (i *Inventory) put(object map[string]any) error {
	key, name, s, err := prepareObject(object)
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.hold(key, name, s)
}

func prepareObject(object map[string]any) (bucketKey, string, stored, error) {
	key, name, err := inventoryKey(object)
	if err != nil {
		return key, "", stored{}, err
	}
	kept := withoutManagedFields(object)
	text, err := json.Marshal(kept)
	if err != nil {
		return key, "", stored{}, err
	}
	v, err := ast.InterfaceToValue(kept)
	if err != nil {
		return key, "", stored{}, err
	}
	s := stored{term: ast.NewTerm(v), size: int64(len(text))}
	if key.apiVersion == "v1" && key.kind == "Namespace" {
		s.namespaced = kept
	}
	return key, name, s, nil
}

// hold keeps one object. i.mu must be held.
func (i *Inventory) hold(key bucketKey, name string, s stored) error {
	b := i.buckets[key]
	if b == nil {
		b = &bucket{objects: map[string]stored{}}
		i.buckets[key] = b
	}
	before := b.objects[name].size
	if i.bound > 0 && (i.bytes-before+s.size)*growth > i.bound {
		i.full[gvk{key.apiVersion, key.kind}] = true
		i.state.Store(nil)
		return ErrInventoryFull
	}
	i.bytes += s.size - before
	b.objects[name], b.terms = s, nil
	i.state.Store(nil)
	return nil
}

// Replace makes these all objects of a kind, and the kind one that has been put completely: rules that need it are asked from then on. The kind
// must name its version.
func (i *Inventory) Replace(k Kind, objects []map[string]any) error {
	type one struct {
		key  bucketKey
		name string
		stored
	}
	all := make([]one, len(objects))
	for n, o := range objects {
		key, name, s, err := prepareObject(o)
		if err != nil {
			return err
		}
		if (gvk{key.apiVersion, key.kind}) != k.gvk() {
			return fmt.Errorf("inventory: an object of kind %s/%s among those of %s", key.apiVersion, key.kind, k)
		}
		all[n] = one{key, name, s}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.forget(k)
	i.synced[k] = true
	for _, o := range all {
		if err := i.hold(o.key, o.name, o.stored); err != nil {
			return err
		}
	}
	return nil
}

// Drop forgets a kind that no policy asks for any more.
func (i *Inventory) Drop(k Kind) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.forget(k)
	delete(i.synced, k)
}

// forget removes all objects of a kind. i.mu must be held.
func (i *Inventory) forget(k Kind) {
	for key, b := range i.buckets {
		if (gvk{key.apiVersion, key.kind}) == k.gvk() {
			for _, o := range b.objects {
				i.bytes -= o.size
			}
			delete(i.buckets, key)
		}
	}
	delete(i.full, k.gvk())
	i.state.Store(nil)
}

// Delete removes one object; only its identity is read.
func (i *Inventory) Delete(object map[string]any) error {
	key, name, err := inventoryKey(object)
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	b := i.buckets[key]
	if b == nil {
		return nil
	}
	i.bytes -= b.objects[name].size
	delete(b.objects, name)
	if b.terms = nil; len(b.objects) == 0 {
		delete(i.buckets, key)
	}
	i.state.Store(nil)
	return nil
}

// Size is the number of objects and about how many bytes of memory they take.
func (i *Inventory) Size() (objects int, bytes int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, b := range i.buckets {
		objects += len(b.objects)
	}
	return objects, i.bytes * growth
}

// Metrics are the inventory's own.
func (i *Inventory) Metrics() []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "gate", Subsystem: "policy_inventory", Name: name, Help: help}, value)
	}
	return []prometheus.Collector{
		gauge("objects", "Objects of the cluster that policies compare with.", func() float64 { n, _ := i.Size(); return float64(n) }),
		gauge("bytes", "About how much memory they take.", func() float64 { _, b := i.Size(); return float64(b) }),
	}
}

func inventoryKey(o map[string]any) (bucketKey, string, error) {
	m := objectMetaOf(o)
	if m == nil {
		return bucketKey{}, "", errors.New("no object")
	}
	if m.apiVersion == "" || m.kind == "" {
		return bucketKey{}, "", fmt.Errorf("inventory: an object needs apiVersion and kind (kind %q, name %q)", m.kind, m.name)
	}
	return bucketKey{m.namespace, m.apiVersion, m.kind}, m.name, nil
}

func withoutManagedFields(o map[string]any) map[string]any {
	meta, _ := o["metadata"].(map[string]any)
	if _, ok := meta["managedFields"]; !ok {
		return o
	}
	kept := make(map[string]any, len(meta))
	for k, v := range meta {
		if k != "managedFields" {
			kept[k] = v
		}
	}
	out := make(map[string]any, len(o))
	for k, v := range o {
		out[k] = v
	}
	out["metadata"] = kept
	return out
}

// current is the state that a decision reads. It is made anew after a change, from the buckets that the change left alone.
func (i *Inventory) current() *inventoryState {
	if s := i.state.Load(); s != nil {
		return s
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if s := i.state.Load(); s != nil {
		return s
	}
	s := &inventoryState{document: i.build(), all: i.all, synced: map[Kind]bool{}, full: map[Kind]bool{}}
	for k := range i.synced {
		s.synced[k] = true
		s.full[k] = i.full[k.gvk()]
	}
	i.state.Store(s)
	return s
}

// build lays the objects out as Gatekeeper does: namespace[ns][apiVersion][kind][name] and cluster[apiVersion][kind][name].
func (i *Inventory) build() ast.Value {
	keys := make([]bucketKey, 0, len(i.buckets))
	for k := range i.buckets {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(a, b int) bool {
		x, y := keys[a], keys[b]
		if x.namespace != y.namespace {
			return x.namespace < y.namespace
		}
		if x.apiVersion != y.apiVersion {
			return x.apiVersion < y.apiVersion
		}
		return x.kind < y.kind
	})
	root := map[string]any{}
	for _, k := range keys {
		b := i.buckets[k]
		if b.terms == nil {
			b.terms = b.build()
		}
		at := []string{"namespace", k.namespace, k.apiVersion}
		if k.namespace == "" {
			at = []string{"cluster", k.apiVersion}
		}
		m := root
		for _, f := range at {
			next, _ := m[f].(map[string]any)
			if next == nil {
				next = map[string]any{}
				m[f] = next
			}
			m = next
		}
		m[k.kind] = b.terms
	}
	return nest(root).Value
}

func (b *bucket) build() *ast.Term {
	names := make([]string, 0, len(b.objects))
	for n := range b.objects {
		names = append(names, n)
	}
	sort.Strings(names)
	pairs := make([][2]*ast.Term, len(names))
	for i, n := range names {
		pairs[i] = pair(n, b.objects[n].term)
	}
	return ast.ObjectTerm(pairs...)
}

func nest(m map[string]any) *ast.Term {
	pairs := make([][2]*ast.Term, 0, len(m))
	for k, v := range m {
		if t, ok := v.(*ast.Term); ok {
			pairs = append(pairs, pair(k, t))
		} else {
			pairs = append(pairs, pair(k, nest(v.(map[string]any))))
		}
	}
	return ast.ObjectTerm(pairs...)
}

// document is data.inventory, nil if there is none.
func (i *Inventory) document() ast.Value {
	if i == nil {
		return nil
	}
	return i.current().document
}

// errNotThereYet is wrapped where the cluster's state has not been seen completely.
var errNotThereYet = errors.New("not there yet")

// holds is an error unless all kinds that are needed are there, completely. A need that leaves the group or version open is met by any of
// the kind.
func (i *Inventory) holds(needs []Kind) error {
	if len(needs) == 0 || i.fixed() {
		return nil
	}
	var missing []Kind
	for _, n := range needs {
		if i == nil || !n.in(i.current().synced) {
			missing = append(missing, n)
		} else if n.in(i.current().full) {
			return fmt.Errorf("the inventory of %s: %w", n, ErrInventoryFull)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the inventory of %s is %w", joinKinds(missing), errNotThereYet)
	}
	return nil
}

// fixed tells whether the inventory is all there ever is, as in tests.
func (i *Inventory) fixed() bool { return i != nil && i.all }

func (k Kind) in(set map[Kind]bool) bool {
	for have, ok := range set {
		if ok && have.Kind == k.Kind && (k.Group == "" || k.Group == have.Group) && (k.Version == "" || k.Version == have.Version) {
			return true
		}
	}
	return false
}

// Namespace is the Namespace object of this name, nil if it is not held. It must not be changed.
func (i *Inventory) Namespace(name string) map[string]any {
	if i == nil {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	b := i.buckets[bucketKey{"", "v1", "Namespace"}]
	if b == nil {
		return nil
	}
	return b.objects[name].namespaced
}
