package state

import (
	"slices"
	"sort"
	"strings"
	"sync/atomic"

	"github.com/tidwall/btree"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/store"
)

// tree is an ordered map whose copies are cheap: they share what neither has changed.
type tree = btree.Map[string, *Entry]

// table holds the objects of one kind.
type table struct {
	prefix  string // of its keys in the store
	cache   *encodings
	definer string // who defines its kind; "" for built-in kinds
	as      atomic.Pointer[shape]

	*contents               // guarded by State.mu
	changed   chan struct{} // closed and replaced by every change; guarded by State.mu
	withdrawn bool          // its kind is defined no more: nothing follows; guarded by State.mu
}

// shape is how the objects of a table are read and written. It changes when a kind is defined anew.
type shape struct {
	kind  *resource.Kind
	codec codec
}

func newShape(k *resource.Kind) *shape { return &shape{kind: k, codec: newCodec(k)} }

func (t *table) kind() *resource.Kind { return t.as.Load().kind }

// contents are a table's objects, under "<namespace>/<name>", and what is known of their
// past.
type contents struct {
	entries tree
	owned   tree // under "<owner's uid>\x00<key>"
	onNode  tree // under "<node>\x00<key>"
	recent  window
	newest  store.Revision // of the last change
}

// Prefix is where objects of a resource are in the store.
func Prefix(r schema.GroupResource) string {
	group := r.Group
	if group == "" {
		group = "core"
	}
	return "/" + group + "/" + r.Resource + "/"
}

func newTable(k *resource.Kind, cache *encodings) *table {
	t := &table{
		prefix: Prefix(k.GroupResource()), cache: cache,
		contents: &contents{}, changed: make(chan struct{}),
	}
	t.as.Store(newShape(k))
	return t
}

// key is where an object is in its table.
func key(namespace, name string) string { return namespace + "/" + name }

// apply writes one change. Its revision is not older than any before it.
func (t *contents) apply(c change) {
	prev, _ := t.entries.Get(c.key)
	if prev != nil {
		t.unindex(c.key, prev)
	}
	event := Event{Type: Added, Entry: c.entry, Prev: prev, Revision: c.entry.revision}
	switch {
	case c.gone:
		t.entries.Delete(c.key)
		event.Type = Deleted
	case prev != nil:
		c.entry.shareLabels(prev)
		event.Type = Modified
		fallthrough
	default:
		t.entries.Set(c.key, c.entry)
		t.index(c.key, c.entry)
	}
	t.newest = c.entry.revision
	t.recent.add(&record{Event: event})
}

func (t *contents) index(key string, e *Entry) {
	for _, owner := range e.owners {
		t.owned.Set(string(owner)+"\x00"+key, e)
	}
	if e.node != "" {
		t.onNode.Set(e.node+"\x00"+key, e)
	}
}

func (t *contents) unindex(key string, e *Entry) {
	for _, owner := range e.owners {
		t.owned.Delete(string(owner) + "\x00" + key)
	}
	if e.node != "" {
		t.onNode.Delete(e.node + "\x00" + key)
	}
}

func (t *table) wake() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// ownerUIDs are the distinct owners of an object.
func ownerUIDs(obj Object) []types.UID {
	refs := obj.GetOwnerReferences()
	if len(refs) == 0 {
		return nil
	}
	uids := make([]types.UID, 0, len(refs))
	for _, r := range refs {
		if !slices.Contains(uids, r.UID) {
			uids = append(uids, r.UID)
		}
	}
	return uids
}

// ascend walks the entries of a tree that start with prefix and come after a key.
func ascend(t *tree, prefix, after string, visit func(*Entry) bool) {
	from := prefix
	if after > from {
		from = after
	}
	t.Ascend(from, func(k string, e *Entry) bool {
		if !strings.HasPrefix(k, prefix) {
			return false
		}
		return k == after || visit(e)
	})
}

// record is an event as the window keeps it.
type record struct {
	Event
	// leaves is Prev at this event's revision, for those whose selection it leaves; made
	// when first needed, guarded by Prev.mu.
	leaves *Entry
}

// leaving is the event as those see it who selected Prev and not Entry.
func (r *record) leaving() Event {
	e := r.Event
	e.Type = Deleted
	if r.Type != Deleted {
		r.Prev.mu.Lock()
		if r.leaves == nil {
			r.leaves = r.Prev.at(r.Revision)
		}
		e.Entry = r.leaves
		r.Prev.mu.Unlock()
	}
	return e
}

// windowEvents and windowBytes bound what a window keeps.
const (
	windowEvents = 1024
	windowBytes  = 2 << 20
)

// window is the newest events of a table: all with a revision above floor. What was
// handed out stays valid: slices are only appended to or replaced.
type window struct {
	floor   store.Revision
	records []*record
	start   int // records before it have been dropped
	bytes   int // of the entries in records[start:]
}

func (w *window) add(r *record) {
	w.records = append(w.records, r)
	w.bytes += len(r.Entry.data)
	for len(w.records)-w.start > windowEvents || w.bytes > windowBytes && w.start < len(w.records)-1 {
		old := w.records[w.start]
		w.bytes -= len(old.Entry.data)
		w.floor = old.Revision
		w.start++
	}
	if w.start > len(w.records)-w.start {
		w.records = slices.Clone(w.records[w.start:])
		w.start = 0
	}
}

// since returns the events after a revision that is not below floor.
func (w *window) since(revision store.Revision) []*record {
	live := w.records[w.start:]
	i := sort.Search(len(live), func(i int) bool { return live[i].Revision > revision })
	return live[i:len(live):len(live)]
}
