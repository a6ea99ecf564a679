// Package storetest says what a store.Store does, as named behaviours that every
// implementation passes.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wherry/orchestrator/store"
)

// Run runs every behaviour on a store of its own. open returns an empty one, whose
// history ends after 100,000 commits at the latest; Run closes it.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, group := range []struct {
		name       string
		behaviours []behaviour
	}{
		{"commit", commits},
		{"list", lists},
		{"watch", watches},
		{"history", histories},
		{"bounds", bounds},
		{"concurrent", concurrents},
		{"close", closes},
	} {
		for _, b := range group.behaviours {
			t.Run(group.name+"/"+b.name, func(t *testing.T) {
				b.run(start(t, open(t)))
			})
		}
	}
}

type behaviour struct {
	name string
	run  func(h *harness)
}

// harness is a store with the words in which behaviours are told. Whatever fails ends
// the test.
type harness struct {
	*testing.T
	store.Store
	ctx context.Context
}

func start(t *testing.T, s store.Store) *harness {
	// A behaviour that hangs ends by this deadline, with a context error that says where.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(func() {
		cancel()
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &harness{t, s, ctx}
}

func put(key, value string) store.Op { return store.Op{Key: key, Value: []byte(value)} }

func putAt(key, value string, rev store.Revision) store.Op {
	return store.Op{Key: key, Value: []byte(value), If: store.At(rev)}
}

func remove(key string) store.Op { return store.Op{Key: key} }

func removeAt(key string, rev store.Revision) store.Op {
	return store.Op{Key: key, If: store.At(rev)}
}

func lazy(key, value string) store.Op {
	return store.Op{Key: key, Value: []byte(value), Lazy: true}
}

// commit must succeed.
func (h *harness) commit(ops ...store.Op) store.Revision {
	h.Helper()
	rev, err := h.Commit(h.ctx, ops...)
	if err != nil {
		h.Fatalf("commit: %v", err)
	}
	return rev
}

// refused commits and wants a conflict that names key with its present entry.
func (h *harness) refused(key string, present store.Entry, ops ...store.Op) {
	h.Helper()
	before := h.Revision()
	_, err := h.Commit(h.ctx, ops...)
	var conflict *store.ConflictError
	if !errors.As(err, &conflict) || !errors.Is(err, store.ErrConflict) {
		h.Fatalf("commit: %v, want a *ConflictError", err)
	}
	if conflict.Key != key {
		h.Errorf("conflict names %q, want %q", conflict.Key, key)
	}
	present.Key = key
	h.equal("present entry of the conflict", conflict.Present, present)
	h.equal("revision after a refused commit", h.Revision(), before)
}

func (h *harness) get(key string) store.Entry {
	h.Helper()
	e, err := h.Get(h.ctx, key)
	if err != nil {
		h.Fatalf("get %q: %v", key, err)
	}
	return e
}

func (h *harness) absent(key string) {
	h.Helper()
	if e, err := h.Get(h.ctx, key); !errors.Is(err, store.ErrNotFound) {
		h.Fatalf("get %q: %+v, %v, want ErrNotFound", key, e, err)
	}
}

func (h *harness) list(prefix string, o store.ListOptions) store.Page {
	h.Helper()
	p, err := h.List(h.ctx, prefix, o)
	if err != nil {
		h.Fatalf("list %q %+v: %v", prefix, o, err)
	}
	return p
}

// watch is closed with the test.
func (h *harness) watch(prefix string, after store.Revision) *watch {
	h.Helper()
	w, err := h.Watch(h.ctx, prefix, after)
	if err != nil {
		h.Fatalf("watch %q after %d: %v", prefix, after, err)
	}
	h.Cleanup(w.Close)
	return &watch{h, w, after, nil}
}

// fails wants err to be want.
func (h *harness) fails(what string, err, want error) {
	h.Helper()
	if !errors.Is(err, want) {
		h.Fatalf("%s: %v, want %v", what, err, want)
	}
}

func (h *harness) equal(what string, got, want any) {
	h.Helper()
	if d := cmp.Diff(want, got); d != "" {
		h.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

// watch checks at every batch what holds for all of them: revisions grow, no commit is
// split, no batch is empty, and nothing is older than what was promised as complete.
type watch struct {
	h     *harness
	w     store.Watcher
	after store.Revision
	seen  []store.Event
}

func (w *watch) next() []store.Event {
	w.h.Helper()
	events, through, err := w.w.Next(w.h.ctx)
	if err != nil {
		w.h.Fatalf("next after %d: %v", w.after, err)
	}
	if len(events) == 0 {
		w.h.Fatalf("next after %d returned no events", w.after)
	}
	last := w.after
	for i, e := range events {
		if e.Entry.Revision <= w.after || e.Entry.Revision < last {
			w.h.Fatalf("event %d of a batch after %d is out of order: %+v", i, w.after, e)
		}
		last = e.Entry.Revision
	}
	if last > through {
		w.h.Fatalf("a batch through %d holds revision %d", through, last)
	}
	w.after = through
	w.seen = append(w.seen, events...)
	return events
}

// until reads on until n events have been seen since the last call.
func (w *watch) until(n int) []store.Event {
	w.h.Helper()
	for len(w.seen) < n {
		w.next()
	}
	if len(w.seen) != n {
		w.h.Fatalf("%d events, want %d: %v", len(w.seen), n, tell(w.seen))
	}
	seen := w.seen
	w.seen = nil
	return seen
}

// tell writes events as "revision key=value" or "revision key deleted=last value".
func tell(events []store.Event) []string {
	out := make([]string, len(events))
	for i, e := range events {
		what := "="
		if e.Deleted {
			what = " deleted="
		}
		out[i] = fmt.Sprintf("%d %s%s%s", e.Entry.Revision, e.Entry.Key, what, e.Entry.Value)
		if e.Prev.Revision != 0 {
			out[i] += fmt.Sprintf(" (was %s at %d)", e.Prev.Value, e.Prev.Revision)
		}
	}
	return out
}

// show writes entries as "key=value@revision".
func show(entries []store.Entry) []string {
	out := make([]string, len(entries))
	for i, e := range entries {
		out[i] = fmt.Sprintf("%s=%s@%d", e.Key, e.Value, e.Revision)
	}
	return out
}
