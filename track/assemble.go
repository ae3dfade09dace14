package track

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"sort"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/signing"
	"github.com/commitgate/commitgate/snapshot"
)

// assembly is the work from declared objects to the entries of a snapshot. What did not change is taken over from the
// snapshot before, so that it costs what the push changed and one look at each object.
type assembly struct {
	ctx                 context.Context
	old                 *snapshot.Snapshot // nil at first
	was                 entries
	sources             map[string]*source        // by repository
	defined, wasDefined map[string]map[string]any // CRDs beside those of Git, by name: now, and before

	types   *account.Types
	retyped map[kind]bool // kinds whose CRD changed: what is declared of them is prepared again

	commits map[git.ID]*git.Commit

	now  entries
	put  []*snapshot.Entry
	gone []manifest.Key
	todo []*snapshot.Entry // entries whose declaration has to be prepared
}

// source is a repository at the revision that is to be published.
type source struct {
	verified signing.Verified
	fetched  time.Time
	lineage  *lineage // at least up to verified
	history  signing.History
	// ancestor is an earlier commit of the line, of which lineage says that it is one.
	ancestor func(context.Context, git.ID) (signing.Verified, error)
	vouched  bool // lineage holds the verified commit alone, whatever led there

	// What the builder makes of it.
	revision *snapshot.Revision
	moved    bool // it is another revision than before
}

// pinned is a commit of the verified line, not after the verified one.
func (s *source) pinned(ctx context.Context, id git.ID) (signing.Verified, error) {
	at, ok := s.lineage.index[id]
	if s.vouched {
		at, ok = 0, true // the line begins at the revision
	}
	if !ok || at > s.lineage.index[s.verified.Commit().ID] {
		return signing.Verified{}, fmt.Errorf("commit %s %w of branch %s", id.Short(), signing.ErrNotOnLine, s.verified.Branch())
	}
	return s.ancestor(ctx, id)
}

// commit reads a commit of the verified line.
func (s *source) commit(ctx context.Context, id git.ID) (*git.Commit, error) {
	if c := s.verified.Commit(); c.ID == id {
		return c, nil
	}
	raw, err := s.history.Commit(ctx, id)
	if err != nil {
		return nil, err
	}
	return git.ParseCommit(id, raw)
}

type kind struct{ group, kind string }

func kindOf(k manifest.Key) kind { return kind{k.Group, k.Kind} }

var customResourceDefinition = kind{"apiextensions.k8s.io", "CustomResourceDefinition"}

// entries are declared objects, sorted by key, and at the same places their entries.
type entries struct {
	objects []*manifest.Object
	list    []*snapshot.Entry
}

// run sorts the objects into what is new, what stays and what is gone, and prepares what is new.
func (a *assembly) run(objects []*manifest.Object) error {
	a.now = entries{objects, make([]*snapshot.Entry, len(objects))}
	a.commits = make(map[git.ID]*git.Commit)
	if err := a.takeOver(); err != nil {
		return err
	}
	if err := a.retype(objects); err != nil {
		return err
	}
	for i, o := range objects {
		e, err := a.entry(o, a.now.list[i])
		if err != nil {
			return fmt.Errorf("%s in %s: %w", o.Key, place(o), err)
		}
		a.now.list[i] = e
	}
	return a.prepare()
}

// takeOver gives the objects that were declared before the entries that they had, and finds what is gone. Both lists are sorted, so that keys are
// compared only where the objects are others.
func (a *assembly) takeOver() error {
	var errs []error
	was, objects := a.was, a.now.objects
	for i, o := range objects {
		for len(was.objects) > 0 && was.objects[0] != o {
			c := was.objects[0].Key.Compare(o.Key)
			if c > 0 {
				break
			}
			if c < 0 {
				a.gone = append(a.gone, was.objects[0].Key)
			}
			was = was.rest()
		}
		if len(was.objects) > 0 && was.objects[0] == o {
			a.now.list[i] = was.list[0]
			was = was.rest()
		} else if i > 0 && objects[i-1].Key == o.Key {
			errs = append(errs, fmt.Errorf("%s is declared twice: in %s and in %s", o.Key, place(objects[i-1]), place(o)))
		}
	}
	for _, o := range was.objects {
		a.gone = append(a.gone, o.Key)
	}
	return errors.Join(errs...)
}

func (e entries) rest() entries { return entries{e.objects[1:], e.list[1:]} }

// place says where an object is declared: shop:apps/cart.yaml:12.
func place(o *manifest.Object) string {
	at := o.Source.Repository + ":" + string(o.Source.Path)
	if o.Source.Line > 0 {
		at += fmt.Sprintf(":%d", o.Source.Line)
	}
	return at
}

// retype makes the types anew if a CRD came, went or changed, and says which kinds that concerns.
func (a *assembly) retype(objects []*manifest.Object) error {
	a.retyped = make(map[kind]bool)
	crds := a.redefine()
	for _, o := range ofKind(objects, customResourceDefinition) {
		crds = append(crds, o.Content.Map())
		if old := a.before(o.Key); old == nil || old.Content != o.Content {
			a.retyped[described(o.Content.Map())] = true
			if old != nil {
				a.retyped[described(old.Content.Map())] = true
			}
		}
	}
	if a.old != nil {
		for _, old := range a.old.OfKind(customResourceDefinition.group, customResourceDefinition.kind) {
			if slices.Contains(a.gone, old.Key) {
				a.retyped[described(old.Content.Map())] = true
			}
		}
		a.types = a.old.Types
	}
	if a.types != nil && len(a.retyped) == 0 {
		return nil
	}
	types, err := account.NewTypes(crds)
	if types == nil {
		return fmt.Errorf("schemas: %w", err)
	}
	a.types = types // a CRD that is not understood leaves its kind without a schema, which the API server will not take either
	return nil
}

// ofKind are the objects of a kind, of a list that is sorted by key.
func ofKind(objects []*manifest.Object, k kind) []*manifest.Object {
	at := sort.Search(len(objects), func(i int) bool { return objects[i].Key.Compare(manifest.Key{Group: k.group, Kind: k.kind}) >= 0 })
	n := at
	for n < len(objects) && kindOf(objects[n].Key) == k {
		n++
	}
	return objects[at:n]
}

// redefine lists the CRDs beside those of Git, which come later and so count if both have one, and notes the kinds of which one came, went or changed.
func (a *assembly) redefine() []map[string]any {
	crds := make([]map[string]any, 0, len(a.defined))
	for _, name := range slices.Sorted(maps.Keys(a.defined)) {
		crd := a.defined[name]
		crds = append(crds, crd)
		if was := a.wasDefined[name]; was == nil || !reflect.DeepEqual(was["spec"], crd["spec"]) {
			a.retyped[described(crd)] = true
		}
	}
	for name, was := range a.wasDefined {
		if a.defined[name] == nil {
			a.retyped[described(was)] = true
		}
	}
	return crds
}

// described is the kind that a CRD makes.
func described(crd map[string]any) kind {
	spec, _ := crd["spec"].(map[string]any)
	names, _ := spec["names"].(map[string]any)
	group, _ := spec["group"].(string)
	name, _ := names["kind"].(string)
	return kind{group, name}
}

func (a *assembly) before(k manifest.Key) *snapshot.Entry {
	if a.old == nil {
		return nil
	}
	return a.old.Lookup(k)
}

// entry finds or makes the entry of an object; old is the one that it had in the snapshot before, nil if it is new.
func (a *assembly) entry(o *manifest.Object, old *snapshot.Entry) (*snapshot.Entry, error) {
	src := a.sources[o.Source.Repository]
	if src == nil {
		return nil, fmt.Errorf("repository %s is not configured", o.Source.Repository)
	}
	retyped := a.retyped[kindOf(o.Key)]
	if old != nil && !src.moved && !retyped {
		return old, nil
	}
	revision := src.verified.Commit().ID
	if o.Source.Commit != "" {
		revision = o.Source.Commit
	}
	changed := src.lineage.last(revision, &o.Source)
	if old != nil && !retyped && old.Changed.ID == changed.id {
		return old, nil
	}
	if old == nil {
		old = a.before(o.Key)
	}
	if old != nil && !retyped && old.Changed.ID == changed.id && reflect.DeepEqual(old.Object, *o) {
		return old, nil
	}
	commit, err := a.commit(src, changed.id)
	if err != nil {
		return nil, err
	}
	e := &snapshot.Entry{Object: *o, Revision: src.revision, Changed: commit, Signatures: changed.signatures}
	if changed.list != nil {
		e.SignerList = changed.list.Digest
	}
	for _, list := range changed.merged {
		e.MergedSignerLists = append(e.MergedSignerLists, list.Digest)
	}
	if o.Otherwise != nil {
		other := *e
		other.Object, e.Otherwise = *o.Otherwise, &other
	}
	if old != nil && !retyped && sameForms(old, e) {
		for i, form := range e.Forms() {
			form.Content, form.Account = old.Forms()[i].Content, old.Forms()[i].Account // one copy of the content, prepared once
		}
	} else {
		a.todo = append(a.todo, e.Forms()...)
	}
	a.put = append(a.put, e)
	return e, nil
}

// sameForms tells whether two entries are the same for accounting.
func sameForms(a, b *snapshot.Entry) bool {
	return slices.EqualFunc(a.Forms(), b.Forms(), func(a, b *snapshot.Entry) bool { return sameDeclaration(&a.Object, &b.Object) })
}

// commit reads a commit once for all the objects that it changed.
func (a *assembly) commit(src *source, id git.ID) (*git.Commit, error) {
	if c := a.commits[id]; c != nil {
		return c, nil
	}
	c, err := src.commit(a.ctx, id)
	if err != nil {
		return nil, err
	}
	a.commits[id] = c
	return c, nil
}

// sameDeclaration tells whether two objects are the same for accounting.
func sameDeclaration(a, b *manifest.Object) bool {
	return a.Apply.LastApplied == b.Apply.LastApplied && slices.Equal(a.Apply.Ignored, b.Apply.Ignored) && slices.Equal(a.Opaque, b.Opaque) &&
		reflect.DeepEqual(a.Sealed, b.Sealed) &&
		reflect.DeepEqual(a.Adds, b.Adds) && a.Content == b.Content
}

// prepare does the dear half of the accounting, on all cores.
func (a *assembly) prepare() error {
	g, ctx := errgroup.WithContext(a.ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, e := range a.todo {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			prepared, err := a.types.Declare(account.Declaration{
				Content: e.Content, Labels: e.Adds.Labels, Annotations: e.Adds.Annotations, Loose: e.Adds.Loose, Finalizers: e.Adds.Finalizers,
				LastApplied: e.Apply.LastApplied, Ignored: e.Apply.Ignored, Opaque: e.Opaque, Sealed: e.Sealed,
				Normal: agent.Normal(e.Group, e.Kind),
			})
			if err != nil && !errors.Is(err, account.ErrNoSchema) {
				return fmt.Errorf("%s in %s: %w", e.Key, place(&e.Object), err)
			}
			e.Account = prepared
			return nil
		})
	}
	return g.Wait()
}
