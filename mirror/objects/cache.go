package objects

import (
	"container/list"
	"sync"
)

// place names an entry of a pack.
type place struct {
	pack   uint32
	offset int64
}

// bases keeps recently read entries of packs, because neighbours in history are deltas of each other. Bounded in bytes,
// least recently used first out. What it holds has not been hashed.
type bases struct {
	mu      sync.Mutex
	bound   int64
	held    int64
	entries map[place]*list.Element
	order   list.List // of *baseEntry, most recent first
}

type baseEntry struct {
	place   place
	kind    Kind
	content []byte
}

func newBases(bound int64) *bases {
	return &bases{bound: bound, entries: make(map[place]*list.Element)}
}

func (b *bases) get(pack uint32, offset int64) (Kind, []byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.entries[place{pack, offset}]
	if !ok {
		return 0, nil, false
	}
	b.order.MoveToFront(e)
	v := e.Value.(*baseEntry)
	return v.kind, v.content, true
}

func (b *bases) put(pack uint32, offset int64, kind Kind, content []byte) {
	if int64(len(content)) > b.bound/8 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at := place{pack, offset}
	if _, ok := b.entries[at]; ok {
		return
	}
	b.entries[at] = b.order.PushFront(&baseEntry{at, kind, content})
	b.held += int64(len(content))
	for b.held > b.bound {
		last := b.order.Back()
		v := b.order.Remove(last).(*baseEntry)
		delete(b.entries, v.place)
		b.held -= int64(len(v.content))
	}
}
