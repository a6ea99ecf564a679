package downlink

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"wherry/orchestrator/state"
	"wherry/proto/nodelink"
)

// feed is one node's picture: what it has, and what may have changed.
type feed struct {
	node string
	wake chan struct{} // has one element when dirty is not empty

	mu    sync.Mutex
	dirty map[key]struct{}
	named map[key]int // how many of the node's pods name the object

	// Only the session's own goroutines, one after the other, use what follows.
	sent map[key]sent
	pods map[key][]key // what each pod names
}

// sent is what the agent has of an object.
type sent struct {
	uid      string
	revision uint64
}

func newFeed(node string) *feed {
	return &feed{
		node:  node,
		wake:  make(chan struct{}, 1),
		dirty: map[key]struct{}{},
		named: map[key]int{},
		sent:  map[key]sent{},
		pods:  map[key][]key{},
	}
}

// remember notes what the agent has. It is called before the feed begins.
func (f *feed) remember(have []*nodelink.Have) {
	for _, h := range have {
		f.sent[key{h.Kind, h.Namespace, h.Name}] = sent{h.Uid, h.Revision}
	}
}

// mark notes keys whose objects may have changed.
func (f *feed) mark(keys ...key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range keys {
		f.dirty[k] = struct{}{}
	}
	f.signal()
}

// signal wakes the teller; f.mu is held.
func (f *feed) signal() {
	if len(f.dirty) == 0 {
		return
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// markEvents notes those of a batch of changes that concern the node.
func (f *feed) markEvents(kind nodelink.Kind, events []state.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range events {
		k := key{kind, e.Entry.Namespace(), e.Entry.Name()}
		if f.concerns(k, e) {
			f.dirty[k] = struct{}{}
		}
	}
	f.signal()
}

// concerns says whether a change is of something that the node sees; f.mu is held.
func (f *feed) concerns(k key, e state.Event) bool {
	if k.kind == nodelink.Kind_KIND_POD {
		return f.bound(e.Entry) || e.Prev != nil && f.bound(e.Prev)
	}
	return f.shows(k)
}

// shows says whether the node sees an object that is not a pod; f.mu is held.
func (f *feed) shows(k key) bool {
	switch k.kind {
	case nodelink.Kind_KIND_SERVICE, nodelink.Kind_KIND_ENDPOINT_SLICE:
		return true
	case nodelink.Kind_KIND_NODE:
		return k.name == f.node
	}
	return f.named[k] > 0
}

func (f *feed) bound(e *state.Entry) bool {
	return e.Object().(*corev1.Pod).Spec.NodeName == f.node
}

// markAll notes everything that the node has or should have.
func (f *feed) markAll(s *session) {
	keys := []key{{kind: nodelink.Kind_KIND_NODE, name: f.node}}
	for _, kind := range []nodelink.Kind{nodelink.Kind_KIND_POD, nodelink.Kind_KIND_SERVICE, nodelink.Kind_KIND_ENDPOINT_SLICE} {
		selector := state.Selector{}
		if kind == nodelink.Kind_KIND_POD {
			selector.Node = f.node
		}
		keys = append(keys, s.names(kind, selector)...)
	}
	f.mark(keys...)
	f.mu.Lock()
	defer f.mu.Unlock()
	for k := range f.named {
		f.dirty[k] = struct{}{}
	}
}

// take empties the set of marked keys.
func (f *feed) take() map[key]struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	dirty := f.dirty
	f.dirty = map[key]struct{}{}
	return dirty
}

// names lists keys of a kind.
func (s *session) names(kind nodelink.Kind, selector state.Selector) []key {
	page, err := s.State.List(s.link.Context(), s.kinds[kind], state.ListOptions{Selector: selector})
	if err != nil {
		// A list of the newest state fails only when the session or the process ends.
		s.log.Debug("list for the feed", "error", err)
		return nil
	}
	keys := make([]key, len(page.Entries))
	for i, e := range page.Entries {
		keys[i] = key{kind, e.Namespace(), e.Name()}
	}
	return keys
}

// tell sends the difference to what the agent has, then every change.
func (s *session) tell(ctx context.Context) error {
	s.feed.mark(slices.Collect(maps.Keys(s.feed.sent))...)
	s.feed.markAll(s)
	if err := s.flush(ctx, true); err != nil {
		return err
	}
	for {
		renew := s.granted.renewals()
		select {
		case <-s.feed.wake:
		case <-renew.C:
		case <-ctx.Done():
			renew.Stop()
			return nil
		}
		renew.Stop()
		if err := s.flush(ctx, false); err != nil {
			return err
		}
	}
}

// maxFeed is about how large one Feed gets, in bytes, unless one object is larger.
const maxFeed = 1 << 20

// flush sends what is marked. Several keys of one batch go together.
func (s *session) flush(ctx context.Context, synced bool) error {
	revision := s.State.Revision()
	dirty := s.feed.take()
	changes, err := s.changes(ctx, dirty)
	if err != nil {
		return err
	}
	if err := s.grant(ctx, dirty); err != nil {
		return err
	}
	s.granted.forget(changes)
	for {
		size, n := 0, 0
		for n < len(changes) && (n == 0 || size+len(changes[n].Object) < maxFeed) {
			size += len(changes[n].Object) + 200
			n++
		}
		last := n == len(changes)
		if n > 0 || synced {
			feed := &nodelink.Feed{Revision: revision, Change: changes[:n], Synced: synced && last}
			if err := s.send(ctx, &nodelink.ServerMessage{Body: &nodelink.ServerMessage_Feed{Feed: feed}}); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
		changes = changes[n:]
	}
}

// changes are the differences of the marked objects to what the agent has, in order.
func (s *session) changes(ctx context.Context, dirty map[key]struct{}) ([]*nodelink.Change, error) {
	f := s.feed
	found := make(map[key]*state.Entry, len(dirty))
	look := func(k key) error {
		if _, ok := s.kinds[k.kind]; !ok {
			return nil // an agent of the future has it; it is not shown
		}
		e, err := s.State.Get(ctx, s.kinds[k.kind], k.namespace, k.name)
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("read %s/%s for the feed: %w", k.namespace, k.name, err)
		}
		found[k] = e
		return nil
	}
	for k := range dirty {
		if k.kind != nodelink.Kind_KIND_POD {
			continue
		}
		if err := look(k); err != nil {
			return nil, err
		}
		if e := found[k]; e != nil && !f.bound(e) {
			found[k] = nil
		}
		for _, other := range f.rename(k, found[k]) {
			dirty[other] = struct{}{}
		}
	}
	var changes []*nodelink.Change
	for _, k := range slices.SortedFunc(maps.Keys(dirty), key.compare) {
		if k.kind != nodelink.Kind_KIND_POD && f.visible(k) {
			if err := look(k); err != nil {
				return nil, err
			}
		}
		more, err := f.difference(k, found[k])
		if err != nil {
			return nil, err
		}
		changes = append(changes, more...)
	}
	return changes, nil
}

func (f *feed) visible(k key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.shows(k)
}

// rename notes what the pod names now (nil: it is gone) and returns the objects that are seen
// from now on or no longer.
func (f *feed) rename(pod key, e *state.Entry) []key {
	var names []key
	if e != nil {
		names = namedBy(e.Object().(*corev1.Pod))
	}
	before := f.pods[pod]
	f.mu.Lock()
	defer f.mu.Unlock()
	var changed []key
	for _, k := range names {
		if f.named[k]++; f.named[k] == 1 {
			changed = append(changed, k)
		}
	}
	for _, k := range before {
		if f.named[k]--; f.named[k] == 0 {
			delete(f.named, k)
			changed = append(changed, k)
		}
	}
	if f.pods[pod] = names; e == nil {
		delete(f.pods, pod)
	}
	return changed
}

// difference is what brings the agent from what it has to e (nil: nothing).
func (f *feed) difference(k key, e *state.Entry) ([]*nodelink.Change, error) {
	has, ok := f.sent[k]
	var changes []*nodelink.Change
	if ok && (e == nil || string(e.UID()) != has.uid) {
		changes = append(changes, &nodelink.Change{Kind: k.kind, Namespace: k.namespace, Name: k.name, Uid: has.uid, Revision: has.revision})
		delete(f.sent, k)
		ok = false
	}
	if e == nil || ok && has.revision == e.Revision() {
		return changes, nil
	}
	object, err := encode(e.Object())
	if err != nil {
		return nil, fmt.Errorf("encode %s/%s: %w", k.namespace, k.name, err)
	}
	f.sent[k] = sent{string(e.UID()), e.Revision()}
	return append(changes, &nodelink.Change{
		Kind: k.kind, Namespace: k.namespace, Name: k.name, Uid: string(e.UID()), Revision: e.Revision(), Object: object,
	}), nil
}

// encode makes Kubernetes protobuf without the managed fields, which no node needs.
func encode(obj state.Object) ([]byte, error) {
	shallow := reflect.New(reflect.TypeOf(obj).Elem())
	shallow.Elem().Set(reflect.ValueOf(obj).Elem())
	obj = shallow.Interface().(state.Object)
	obj.SetManagedFields(nil)
	m, ok := obj.(interface{ Marshal() ([]byte, error) })
	if !ok {
		return nil, fmt.Errorf("%T has no protobuf", obj)
	}
	b, err := m.Marshal()
	if err == nil && b == nil {
		b = []byte{} // nil would mean that it is gone
	}
	return b, err
}
