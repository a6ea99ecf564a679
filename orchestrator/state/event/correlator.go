package event

import (
	"container/list"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
)

// What client-go's correlator keeps to.
const (
	remembered    = 4096             // events, groups and sources, each
	similarWithin = 10 * time.Minute // events of one group are counted in such a span
	similarMax    = 10               // distinct messages of a group that are shown one by one
	burst         = 25               // events that one object may cause at once
	refill        = 5 * time.Minute  // and then one in
	combined      = "(combined from similar events): "
)

// verdict says what to do with an event.
type verdict int

const (
	show verdict = iota
	drop
)

// group is what similar events have in common; with the message it is one event.
type group struct {
	component, kind, namespace, name, uid, fieldPath, eventtype, reason string
}

type single struct {
	group
	message string
}

// source is who causes events about what.
type source struct{ component, kind, namespace, name, uid string }

// written is where an event was written; name is "" before that.
type written struct{ name string }

// similar are the messages of a group since a time.
type similar struct {
	since    time.Time
	messages map[string]bool
}

// correlator decides which events are the same. It is used by one goroutine.
type correlator struct {
	singles *recent[single, *written]
	groups  *recent[group, *similar]
	sources *recent[source, *rate.Limiter]
}

func newCorrelator() *correlator {
	return &correlator{
		singles: newRecent[single](func() *written { return &written{} }),
		groups:  newRecent[group](func() *similar { return &similar{} }),
		sources: newRecent[source](func() *rate.Limiter { return rate.NewLimiter(rate.Every(refill), burst) }),
	}
}

// observe says whether to write e, and where an equal one was written before. It changes
// the message of e if it is one of too many similar ones.
func (c *correlator) observe(e *corev1.Event) (*written, verdict) {
	o := &e.InvolvedObject
	if !c.sources.get(source{e.Source.Component, o.Kind, o.Namespace, o.Name, string(o.UID)}).Allow() {
		return nil, drop
	}
	g := group{
		e.Source.Component, o.Kind, o.Namespace, o.Name, string(o.UID), o.FieldPath, e.Type, e.Reason,
	}
	s := single{g, e.Message}
	if c.groups.get(g).tooMany(e.Message, e.LastTimestamp.Time) {
		s.message = combined
		e.Message = combined + e.Message
	}
	return c.singles.get(s), show
}

// tooMany counts a message.
func (s *similar) tooMany(message string, now time.Time) bool {
	if now.Sub(s.since) > similarWithin {
		s.since, s.messages = now, map[string]bool{}
	}
	if len(s.messages) < similarMax {
		s.messages[message] = true
	}
	return !s.messages[message]
}

// recent remembers the values of the keys that were last asked for.
type recent[K comparable, V any] struct {
	fresh  func() V
	order  list.List // of K, newest first
	values map[K]V
	places map[K]*list.Element
}

func newRecent[K comparable, V any](fresh func() V) *recent[K, V] {
	return &recent[K, V]{fresh: fresh, values: map[K]V{}, places: map[K]*list.Element{}}
}

// get returns the key's value, a fresh one if it is not remembered.
func (r *recent[K, V]) get(k K) V {
	if at, ok := r.places[k]; ok {
		r.order.MoveToFront(at)
		return r.values[k]
	}
	if r.order.Len() == remembered {
		oldest := r.order.Remove(r.order.Back()).(K)
		delete(r.values, oldest)
		delete(r.places, oldest)
	}
	r.values[k] = r.fresh()
	r.places[k] = r.order.PushFront(k)
	return r.values[k]
}
