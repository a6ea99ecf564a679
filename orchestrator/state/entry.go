package state

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
	"weak"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/store"
)

// Entry is one stored object at one revision: its bytes, the fields that select it, and
// what was made of them on demand. All methods may be called concurrently.
type Entry struct {
	table    *table
	key      string // "<namespace>/<name>"
	data     []byte // as stored; shared with the store
	revision store.Revision
	uid      types.UID
	labels   labels.Set
	owners   []types.UID
	node     string // a pod's

	mu     sync.Mutex         // held while a form is made, so that each is made once
	object weak.Pointer[byte] // the first byte of the decoded object
	json   form
	cells  form
	shown  time.Time    // when cells were first made; guarded by mu
	fresh  atomic.Int64 // until when cells are, in nanoseconds of Unix time
}

// form is something made of an entry that the cache may keep.
type form struct {
	bytes atomic.Pointer[[]byte]
	used  atomic.Bool // it was asked for since the cache last looked
}

// get is the form as it was kept, or nil.
func (f *form) get() []byte {
	b := f.bytes.Load()
	if b == nil {
		return nil
	}
	f.used.Store(true)
	return *b
}

// entry decodes stored bytes.
func (t *table) entry(key string, data []byte, revision store.Revision) (*Entry, error) {
	e := &Entry{table: t, key: key, data: data, revision: revision}
	obj, err := e.decode()
	if err != nil {
		return nil, err
	}
	if obj.GetNamespace()+"/"+obj.GetName() != key {
		return nil, fmt.Errorf("it says that it is %s/%s", obj.GetNamespace(), obj.GetName())
	}
	e.uid = obj.GetUID()
	e.labels = obj.GetLabels()
	e.owners = ownerUIDs(obj)
	if pod, ok := obj.(*corev1.Pod); ok {
		e.node = strings.Clone(pod.Spec.NodeName)
	}
	e.object = weakly(obj)
	return e, nil
}

// at is the same object at another revision.
func (e *Entry) at(revision store.Revision) *Entry {
	return &Entry{
		table: e.table, key: e.key, data: e.data, revision: revision,
		uid: e.uid, labels: e.labels, owners: e.owners, node: e.node,
	}
}

// shareLabels keeps one map for many versions of an object.
func (e *Entry) shareLabels(prev *Entry) {
	if maps.Equal(e.labels, prev.labels) {
		e.labels = prev.labels
	}
}

// Object decodes the entry; the result is shared and cached weakly. Its apiVersion, kind
// and resourceVersion are set.
func (e *Entry) Object() Object {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.object.Value(); p != nil {
		return e.strongly(p)
	}
	obj, err := e.decode()
	if err != nil {
		panic(fmt.Sprintf("state: bytes of %s%s that were decoded before no longer are: %v", e.table.prefix, e.key, err))
	}
	e.object = weakly(obj)
	return obj
}

func (e *Entry) decode() (Object, error) {
	obj, err := e.table.as.Load().codec.decode(e.data)
	if err != nil {
		return nil, err
	}
	obj.SetResourceVersion(formatRevision(e.revision))
	return obj, nil
}

// forget drops what was made of the bytes: they are to be read otherwise from now on.
func (e *Entry) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.object = weak.Pointer[byte]{}
}

// weakly points at an object, which must be a pointer, without keeping it.
func weakly(obj Object) weak.Pointer[byte] {
	return weak.Make((*byte)(reflect.ValueOf(obj).UnsafePointer()))
}

// strongly is the object of the table's type whose first byte is p.
func (e *Entry) strongly(p *byte) Object {
	return reflect.NewAt(e.table.as.Load().codec.typ, unsafe.Pointer(p)).Interface().(Object)
}

// JSON is the object as the API shows it (one line without its end, apiVersion and kind
// set); shared.
func (e *Entry) JSON() []byte {
	if b := e.json.get(); b != nil {
		return b
	}
	as := e.table.as.Load()
	obj := e.Object()
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.json.get(); b != nil {
		return b
	}
	b, err := encodeJSON(obj)
	if err != nil {
		panic(fmt.Sprintf("state: %s%s was decoded but cannot be encoded: %v", e.table.prefix, e.key, err))
	}
	e.table.cache.keep(e, &e.json, b, as)
	return b
}

// Rows are made anew after a hundredth of the time for which they have been shown, and a second at least: the ages in
// them are right to a hundredth, and a change of the object makes a new entry.
const (
	cellsAge   = 100
	cellsLeast = time.Second
)

// Row is what resource.Kind.EncodeRow makes of the entry; shared.
func (e *Entry) Row() []byte {
	now := time.Now()
	if now.UnixNano() < e.fresh.Load() {
		if b := e.cells.get(); b != nil {
			return b
		}
	}
	as := e.table.as.Load()
	if as.kind.Row == nil {
		return nil
	}
	obj := e.Object()
	b, err := as.kind.EncodeRow(obj)
	if err != nil {
		panic(fmt.Sprintf("state: the row of %s%s cannot be encoded: %v", e.table.prefix, e.key, err))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shown.IsZero() {
		e.shown = now
	}
	e.fresh.Store(now.Add(max(cellsLeast, now.Sub(e.shown)/cellsAge)).UnixNano())
	e.table.cache.keep(e, &e.cells, b, as)
	return b
}

// Proto is the object as a Kubernetes protobuf message with its magic prefix; nil if
// its type has no protobuf.
func (e *Entry) Proto() []byte {
	return addRevision(e.data, e.revision, true)
}

// Message is Proto without the prefix and the envelope: the bare message, as it stands
// among a list's items.
func (e *Entry) Message() []byte {
	return addRevision(e.data, e.revision, false)
}

// Revision is the commit that wrote the entry; for a deleted one, that deleted it.
func (e *Entry) Revision() store.Revision { return e.revision }

// Namespace, Name, UID and Labels are known without decoding.
func (e *Entry) Namespace() string  { return e.key[:strings.IndexByte(e.key, '/')] }
func (e *Entry) Name() string       { return e.key[strings.IndexByte(e.key, '/')+1:] }
func (e *Entry) UID() types.UID     { return e.uid }
func (e *Entry) Labels() labels.Set { return e.labels }

// encodings keeps forms within a budget. What has not been asked for since the cache last looked goes first.
type encodings struct {
	mu     sync.Mutex
	budget int
	bytes  int
	queue  []kept // oldest first; each has bytes
}

// kept is a form in the queue.
type kept struct {
	*form
	of *Entry
}

// keep lets e keep b, which was made while its table had the shape as, in place of what f was. e.mu is held.
func (c *encodings) keep(e *Entry, f *form, b []byte, as *shape) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(b) > c.budget || e.table.as.Load() != as {
		return
	}
	for c.bytes+len(b) > c.budget {
		c.evict()
	}
	c.bytes += len(b)
	if before := f.bytes.Swap(&b); before != nil {
		c.bytes -= len(*before)
		return // it is in the queue
	}
	c.queue = append(c.queue, kept{f, e})
}

// drop forgets what was kept of a table, whose shape has changed.
func (c *encodings) drop(t *table) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = slices.DeleteFunc(c.queue, func(k kept) bool {
		if k.of.table != t {
			return false
		}
		c.bytes -= len(*k.bytes.Swap(nil))
		return true
	})
}

// evict looks at the oldest form: it goes, or to the end of the queue if it was used.
func (c *encodings) evict() {
	k := c.queue[0]
	c.queue[0] = kept{}
	c.queue = c.queue[1:]
	if k.used.Swap(false) {
		c.queue = append(c.queue, k)
		return
	}
	c.bytes -= len(*k.bytes.Swap(nil))
}
