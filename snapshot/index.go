package snapshot

import (
	"hash/maphash"
	"iter"
	"slices"

	"github.com/commitgate/commitgate/manifest"
)

// shards is into how many parts an index is cut. The next index copies only the parts that change, so that the cost and the memory of
// a snapshot grow with what a push changed.
const shards = 1024

type kind struct{ group, kind string }

// index finds entries by key. It is immutable once its snapshot is made.
type index struct {
	seed   maphash.Seed
	shards [shards]map[manifest.Key]*Entry
	kinds  map[kind][]*Entry
	n      int
}

func (x *index) shard(k manifest.Key) int { return int(maphash.Comparable(x.seed, k) % shards) }

func (x *index) lookup(k manifest.Key) *Entry { return x.shards[x.shard(k)][k] }

func (x *index) all() iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for _, s := range x.shards {
			for _, e := range s {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// New makes a snapshot of these declared objects. Of two with the same key the last stays: that there are none is the caller's care.
func New(p Parts, entries []*Entry) *Snapshot {
	empty := &Snapshot{index: &index{seed: maphash.MakeSeed()}}
	return empty.Next(p, entries, nil)
}

// Next makes the snapshot after this one: with these entries in the place of those with the same key, and without the gone ones.
// What did not change is shared.
func (s *Snapshot) Next(p Parts, put []*Entry, gone []manifest.Key) *Snapshot {
	if len(put) == 0 && len(gone) == 0 {
		return &Snapshot{p, s.index}
	}
	b := builder{old: s.index, x: &index{seed: s.index.seed, shards: s.index.shards, n: s.index.n}, out: make(map[*Entry]bool), kinds: make(map[kind]bool)}
	for _, k := range gone {
		b.set(k, nil)
	}
	for _, e := range put {
		b.set(e.Key, e)
	}
	b.sortIntoKinds(put)
	return &Snapshot{p, b.x}
}

// Heard is the same truth, heard of again: with other times of the last fetch.
func (s *Snapshot) Heard(revisions map[string]*Revision) *Snapshot {
	p := s.Parts
	p.Revisions = revisions
	return &Snapshot{p, s.index}
}

// builder makes an index out of an old one.
type builder struct {
	old, x *index
	copied [shards]bool
	out    map[*Entry]bool // entries of the old index that are not in the new one
	kinds  map[kind]bool   // the kinds that lost or got an entry
}

// set puts an entry in the place of the one with this key; nil takes it away.
func (b *builder) set(k manifest.Key, e *Entry) {
	i := b.x.shard(k)
	if !b.copied[i] {
		b.copied[i] = true
		shard := make(map[manifest.Key]*Entry, len(b.x.shards[i])+1)
		for k, e := range b.x.shards[i] {
			shard[k] = e
		}
		b.x.shards[i] = shard
	}
	if was, ok := b.x.shards[i][k]; ok {
		b.out[was] = true
		b.x.n--
	}
	b.kinds[kind{k.Group, k.Kind}] = true
	if e == nil {
		delete(b.x.shards[i], k)
		return
	}
	b.x.shards[i][k] = e
	b.x.n++
}

func (b *builder) sortIntoKinds(put []*Entry) {
	b.x.kinds = make(map[kind][]*Entry, len(b.old.kinds)+len(b.kinds))
	for k, list := range b.old.kinds {
		if b.kinds[k] {
			list = slices.DeleteFunc(slices.Clone(list), func(e *Entry) bool { return b.out[e] })
		}
		if len(list) > 0 {
			b.x.kinds[k] = list
		}
	}
	for _, e := range put {
		if b.x.lookup(e.Key) == e { // the last of several with the same key
			k := kind{e.Group, e.Kind}
			b.x.kinds[k] = append(b.x.kinds[k], e)
		}
	}
}
