package state

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/store"
)

// EventType as Kubernetes' watch words it.
type EventType string

const (
	Added    EventType = "ADDED"
	Modified EventType = "MODIFIED"
	Deleted  EventType = "DELETED"
	Bookmark EventType = "BOOKMARK"
)

// Event is one change. For Deleted, Entry is the last state that was selected, at the
// revision of the deletion, which is also the resourceVersion that it shows. Prev is nil
// for a key that did not exist before, and in watches of a View. For Bookmark, Entry is nil.
type Event struct {
	Type        EventType
	Entry, Prev *Entry
	Revision    store.Revision
}

// WatchOptions say where a watch begins.
type WatchOptions struct {
	Selector
	// After is the revision to go on from; 0 is now. With Initial, everything that is
	// selected comes first as Added (as it is at After or later), then one Bookmark, then
	// the changes.
	After   store.Revision
	Initial bool
}

// Watch hands out the changes of one kind. It is pulled and buffers nothing beyond
// the store's history. Next is called by one goroutine at a time, Close by anyone.
type Watch struct {
	state   *State
	kind    *resource.Kind
	table   *table
	matcher *matcher
	pos     store.Revision // everything up to it has been handed out, or waits in pending
	pending []Event        // to be shown and handed out next
	told    store.Revision // what Next last returned
	closed  chan struct{}

	mu      sync.Mutex
	done    bool
	history store.Watcher // while pos is below the table's window; else nil
}

// Watch begins a watch. Errors: Expired; Timeout if After is not reached in a few seconds.
func (s *State) Watch(ctx context.Context, k *resource.Kind, o WatchOptions) (*Watch, error) {
	if err := s.reachRevision(ctx, o.After); err != nil {
		return nil, err
	}
	w := &Watch{
		state: s, kind: k, table: s.table(k), matcher: newMatcher(k, o.Selector),
		pos: o.After, told: o.After, closed: make(chan struct{}),
	}
	switch {
	case o.Initial:
		if err := s.fresh(ctx); err != nil {
			return nil, err
		}
		w.begin()
	case o.After == 0:
		if err := s.fresh(ctx); err != nil {
			return nil, err
		}
		w.pos = s.Revision()
	case s.floor(w.table) > o.After:
		if err := w.rewind(ctx); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (s *State) floor(t *table) store.Revision {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return t.recent.floor
}

// begin prepares the initial events.
func (w *Watch) begin() {
	v, revision := w.state.view(w.table, w.matcher)
	v.scan(w.matcher, "", func(e *Entry) bool {
		w.pending = append(w.pending, Event{Type: Added, Entry: e, Revision: e.revision})
		return true
	})
	w.pending = append(w.pending, Event{Type: Bookmark, Revision: revision})
	w.pos = revision
}

// rewind goes on from the store's history.
func (w *Watch) rewind(ctx context.Context) error {
	h, err := w.state.store.Watch(ctx, w.table.prefix, w.pos)
	if errors.Is(err, store.ErrCompacted) {
		return watchExpired(w.pos, w.state.floor(w.table))
	}
	if err != nil {
		return fmt.Errorf("state: reading the store's history: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		h.Close()
		return store.ErrClosed
	}
	w.history = h
	return nil
}

// Next waits for changes in revision order. Entry into and exit out of the selection
// are Added and Deleted. The revision says how far the watch has come: nothing up to it
// is missing. It is also right when Next returns the error of its context, so that a
// caller that waits with a deadline can send a bookmark and call Next again.
// Errors: Expired when the reader fell behind the history, ErrWithdrawn when the kind is defined no more,
// store.ErrClosed after Close or when the state has stopped, the context's.
func (w *Watch) Next(ctx context.Context) ([]Event, store.Revision, error) {
	var err error
	if w.pending == nil {
		w.pending, err = w.next(ctx)
	}
	if w.pending != nil {
		events, err := w.show(ctx, w.pending)
		if err != nil {
			return nil, w.told, err // they stay pending
		}
		w.pending, w.told = nil, w.pos
		return events, w.told, nil
	}
	w.told = w.pos
	return nil, w.told, err
}

// next waits for what is selected: some events, or an error.
func (w *Watch) next(ctx context.Context) ([]Event, error) {
	for last := false; ; {
		events, changed, err := w.collect(ctx)
		if err != nil {
			return nil, err
		}
		if len(events) > 0 {
			return events, nil
		}
		if changed == nil {
			continue
		}
		if last {
			return nil, ctx.Err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			last = true
		case <-w.closed:
			return nil, store.ErrClosed
		case <-w.state.ended:
			return nil, store.ErrClosed
		}
	}
}

// show returns events as the watch's kind shows them.
func (w *Watch) show(ctx context.Context, events []Event) ([]Event, error) {
	if w.kind.View == nil {
		return events, nil
	}
	var entries []*Entry
	for _, e := range events {
		if e.Entry != nil {
			entries = append(entries, e.Entry)
		}
	}
	entries, err := w.state.show(ctx, w.kind, entries...)
	if err != nil {
		return nil, err
	}
	shown := make([]Event, len(events))
	for i, e := range events {
		shown[i] = Event{Type: e.Type, Revision: e.Revision}
		if e.Entry != nil {
			shown[i].Entry, entries = entries[0], entries[1:]
		}
	}
	return shown, nil
}

// Behind says that Ready has something to return. It must not run beside Next or Ready.
func (w *Watch) Behind() bool {
	w.state.mu.RLock()
	defer w.state.mu.RUnlock()
	return w.pending != nil || w.pos < max(w.table.newest, w.table.recent.floor)
}

// Ready is Next without waiting: the changes so far, perhaps none. Errors: Next's, but for the context's.
func (w *Watch) Ready(ctx context.Context) ([]Event, error) {
	if w.pending == nil {
		events, _, err := w.collect(ctx)
		if err != nil {
			return nil, err
		}
		w.pending = events
	}
	events, err := w.show(ctx, w.pending)
	if err != nil {
		return nil, err // they stay pending
	}
	w.pending, w.told = nil, w.pos
	return events, nil
}

// collect moves pos forward as far as it can and returns what was selected on the way,
// and what will be closed when there is more (nil: there may be more at once).
func (w *Watch) collect(ctx context.Context) ([]Event, <-chan struct{}, error) {
	s := w.state
	s.mu.RLock()
	floor, changed, revision, withdrawn := w.table.recent.floor, w.table.changed, s.revision, w.table.withdrawn
	var records []*record
	if w.pos >= floor {
		records = w.table.recent.since(w.pos)
	}
	s.mu.RUnlock()
	if w.pos < floor {
		events, err := w.past(ctx)
		return events, nil, err
	}
	w.leaveHistory()
	w.pos = max(w.pos, revision)
	events := w.matcher.filter(records)
	if withdrawn && len(events) == 0 {
		return nil, nil, ErrWithdrawn
	}
	return events, changed, nil
}

// past returns the next batch of the store's history.
func (w *Watch) past(ctx context.Context) ([]Event, error) {
	if w.history == nil {
		if err := w.rewind(ctx); err != nil {
			return nil, err
		}
	}
	stored, revision, err := w.history.Next(ctx)
	if errors.Is(err, store.ErrCompacted) {
		return nil, watchExpired(w.pos, w.state.floor(w.table))
	}
	if err != nil {
		return nil, err
	}
	records := make([]*record, len(stored))
	for i, e := range stored {
		if records[i], err = w.table.record(e); err != nil {
			return nil, err
		}
	}
	w.pos = revision
	return w.matcher.filter(records), nil
}

func (w *Watch) leaveHistory() {
	if w.history == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.history.Close()
	w.history = nil
}

// record reads an event of the store's history.
func (t *table) record(e store.Event) (*record, error) {
	k := e.Entry.Key[len(t.prefix):]
	entry, err := t.entry(k, e.Entry.Value, e.Entry.Revision)
	if err != nil {
		return nil, fmt.Errorf("state: reading %s: %w", e.Entry.Key, err)
	}
	r := &record{Event: Event{Type: Added, Entry: entry, Revision: e.Entry.Revision}}
	if e.Prev.Revision != 0 {
		r.Type = Modified
		if r.Prev, err = t.entry(k, e.Prev.Value, e.Prev.Revision); err != nil {
			return nil, fmt.Errorf("state: reading %s: %w", e.Entry.Key, err)
		}
	}
	if e.Deleted {
		r.Type = Deleted
	}
	return r, nil
}

// filter turns records into what a watcher with this selection sees.
func (m *matcher) filter(records []*record) []Event {
	if len(records) == 0 {
		return nil
	}
	events := make([]Event, 0, len(records))
	for _, r := range records {
		was := r.Prev != nil && m.matches(r.Prev)
		is := r.Type != Deleted && m.matches(r.Entry)
		e := r.Event
		switch {
		case was && is:
			e.Type = Modified
		case is:
			e.Type = Added
		case was:
			e = r.leaving()
		default:
			continue
		}
		events = append(events, e)
	}
	return events
}

// Close ends the watch.
func (w *Watch) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return
	}
	w.done = true
	close(w.closed)
	if w.history != nil {
		w.history.Close()
	}
}
