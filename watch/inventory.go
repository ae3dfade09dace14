package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/commitgate/commitgate/policy"
)

const (
	// lookAfter is how often it is looked whether the policies ask for other kinds.
	lookAfter = time.Second
	// findAgain is how often a kind is looked for that the cluster does not serve, and how long a kind for which there was no room waits.
	findAgain = 30 * time.Second
)

// Inventory keeps a policy.Inventory true to the cluster: it watches the kinds that the policies of the moment ask for, and no others. It
// needs list and watch on these kinds. What is watched is held once, in the policy.Inventory.
type Inventory struct {
	into    *policy.Inventory
	kinds   func() []policy.Kind
	cluster dynamic.Interface
	find    discovery.ServerResourcesInterface
	log     *slog.Logger

	// The rest is Run's own. running are the watches by kind, with what ends them; wanted is what the policies asked for when it was last
	// looked for, and again is when to look again, zero if everything was found.
	running map[policy.Kind]func()
	wanted  []policy.Kind
	again   time.Time
}

// NewInventory prepares the watches; Run starts them. kinds tells what the policies of the moment ask for, and must not block.
func NewInventory(cfg *rest.Config, into *policy.Inventory, kinds func() []policy.Kind, log *slog.Logger) (*Inventory, error) {
	cluster, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("cluster client: %w", err)
	}
	find, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("cluster client: %w", err)
	}
	return &Inventory{into: into, kinds: kinds, cluster: cluster, find: find, log: log, running: map[policy.Kind]func(){}}, nil
}

// Run watches until the context ends.
func (i *Inventory) Run(ctx context.Context) {
	wait.UntilWithContext(ctx, i.adjust, lookAfter)
	for k := range i.running {
		i.stop(k)
	}
}

// adjust starts and ends watches as the policies ask. A kind that the cluster does not serve is looked for again: what policies compare
// with may come with a CRD that is applied later.
func (i *Inventory) adjust(ctx context.Context) {
	kinds := i.kinds()
	if slices.Equal(kinds, i.wanted) && (i.again.IsZero() || time.Now().Before(i.again)) {
		return
	}
	served, missing, err := i.served(kinds)
	if err != nil {
		i.log.Warn("the kinds that policies ask for cannot be looked up", "err", err)
		i.wanted, i.again = kinds, time.Now().Add(findAgain)
		return
	}
	for _, k := range missing {
		i.log.Warn("policies ask for a kind that the cluster does not serve; requests that they are asked about are refused", "kind", k.String())
	}
	for k, gvr := range served {
		if i.running[k] == nil {
			i.start(ctx, k, gvr)
		}
	}
	for k := range i.running {
		if _, ok := served[k]; !ok {
			i.stop(k)
		}
	}
	i.wanted, i.again = kinds, time.Time{}
	if len(missing) > 0 {
		i.again = time.Now().Add(findAgain)
	}
}

func (i *Inventory) start(ctx context.Context, k policy.Kind, gvr schema.GroupVersionResource) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		i.follow(ctx, k, gvr)
	}()
	i.running[k] = func() { cancel(); <-done }
}

// stop ends the watch of a kind and forgets its objects.
func (i *Inventory) stop(k policy.Kind) {
	i.running[k]()
	delete(i.running, k)
	i.into.Drop(k)
}

// follow watches one kind. Where there is no room for all of it, it stays incomplete until a later try finds room.
func (i *Inventory) follow(ctx context.Context, k policy.Kind, gvr schema.GroupVersionResource) {
	for ctx.Err() == nil {
		watching, end := context.WithCancel(ctx)
		s := &store{into: i.into, kind: k, log: i.log, full: end}
		cache.NewReflectorWithOptions(i.lister(gvr), &unstructured.Unstructured{}, s, cache.ReflectorOptions{Name: k.String(), ResyncPeriod: resync}).
			RunWithContext(watching)
		end()
		select {
		case <-ctx.Done():
		case <-time.After(findAgain):
		}
	}
}

func (i *Inventory) lister(gvr schema.GroupVersionResource) cache.ListerWatcher {
	resource := i.cluster.Resource(gvr)
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return resource.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return resource.Watch(ctx, o)
		},
	}
}

// served finds the resources of kinds, and the kinds that have none.
func (i *Inventory) served(kinds []policy.Kind) (found map[policy.Kind]schema.GroupVersionResource, missing []policy.Kind, err error) {
	if len(kinds) == 0 {
		return nil, nil, nil
	}
	groups, lists, err := i.find.ServerGroupsAndResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, nil, err
	}
	preferred := map[string]bool{}
	for _, g := range groups {
		preferred[g.PreferredVersion.GroupVersion] = true
	}
	found = map[policy.Kind]schema.GroupVersionResource{}
	for _, k := range kinds {
		hits := 0
		for _, l := range lists {
			gv, err := schema.ParseGroupVersion(l.GroupVersion)
			if err != nil || !asked(k, gv, preferred[l.GroupVersion]) {
				continue
			}
			for _, r := range l.APIResources {
				if r.Kind == k.Kind && watchable(r) {
					found[policy.Kind{Group: gv.Group, Version: gv.Version, Kind: r.Kind}] = gv.WithResource(r.Name)
					hits++
				}
			}
		}
		if hits == 0 {
			missing = append(missing, k)
		}
	}
	return found, missing, nil
}

// asked tells whether a policy that asks for a kind means that of this group and version. Where it leaves the group open it means every
// group's, where it leaves the version open the preferred one.
func asked(k policy.Kind, gv schema.GroupVersion, preferred bool) bool {
	switch {
	case k.Group == "" && k.Version == "":
		return preferred
	case k.Version == "":
		return preferred && gv.Group == k.Group
	}
	return gv.Version == k.Version && gv.Group == k.Group
}

// watchable tells whether a resource is one itself, and not a part of another, and can be listed and watched.
func watchable(r metav1.APIResource) bool {
	return !strings.Contains(r.Name, "/") && slices.Contains(r.Verbs, "list") && slices.Contains(r.Verbs, "watch")
}

// store is where a reflector puts the objects of one kind. To Add, Update and Delete it answers no error: a reflector does nothing about one but write it into
// its log, with the whole object.
type store struct {
	into *policy.Inventory
	kind policy.Kind
	log  *slog.Logger
	full func() // called when there is no room
}

var _ cache.ReflectorStore = &store{}

// Add implements cache.ReflectorStore.
func (s *store) Add(obj any) error { return s.Update(obj) }

// Update implements cache.ReflectorStore.
func (s *store) Update(obj any) error {
	s.change(obj, s.into.Put)
	return nil
}

// Delete implements cache.ReflectorStore.
func (s *store) Delete(obj any) error {
	s.change(obj, s.into.Delete)
	return nil
}

// change makes a change, or says by itself why it did not.
func (s *store) change(obj any, apply func(object map[string]any) error) {
	u, ok := obj.(*unstructured.Unstructured)
	err := fmt.Errorf("%T is not what was asked for", obj)
	if ok {
		err = s.told(apply(u.Object))
	}
	if err != nil && !errors.Is(err, policy.ErrInventoryFull) {
		s.log.Error("the inventory of policies does not have a change", "kind", s.kind.String(), "err", err)
	}
}

// Replace implements cache.ReflectorStore.
func (s *store) Replace(list []any, _ string) error {
	objects := make([]map[string]any, 0, len(list))
	for _, obj := range list {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("%T is not what was asked for", obj)
		}
		objects = append(objects, u.Object)
	}
	return s.told(s.into.Replace(s.kind, objects))
}

// Resync implements cache.ReflectorStore: there is nothing to replay.
func (s *store) Resync() error { return nil }

// told ends the watch if there is no room for more. Until it is tried again, the kind counts as incomplete.
func (s *store) told(err error) error {
	if errors.Is(err, policy.ErrInventoryFull) {
		s.log.Error("the inventory of policies is full; requests that need it are refused", "kind", s.kind.String())
		s.full()
	}
	return err
}
