// Package memstore is a store that keeps everything in memory and nothing after it is
// closed: for tests, and to compare others with.
package memstore

import (
	"context"
	"sync"

	"wherry/orchestrator/store"
	"wherry/orchestrator/store/internal/mvcc"
)

// How much history is kept for watchers and for lists at older revisions.
const (
	historyEvents = 10_000
	historyBytes  = 64 << 20
)

// New returns an empty store.
func New() store.Store {
	return &memory{changed: make(chan struct{})}
}

// memory keeps in log exactly the commits in (floor, newest], and in index what is
// needed to answer at every one of them and at floor.
type memory struct {
	mu      sync.RWMutex
	index   mvcc.Index
	log     mvcc.Log
	floor   store.Revision // floor <= newest
	newest  store.Revision
	changed chan struct{} // closed and replaced by every commit
	closed  bool
}

func (m *memory) Get(ctx context.Context, key string) (store.Entry, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := m.usable(ctx); err != nil {
		return store.Entry{}, err
	}
	v, ok := m.index.Live(key)
	if !ok {
		return store.Entry{}, store.ErrNotFound
	}
	return v.Entry(key), nil
}

func (m *memory) List(ctx context.Context, prefix string, o store.ListOptions) (store.Page, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := m.usable(ctx); err != nil {
		return store.Page{}, err
	}
	at := o.Revision
	if at == 0 {
		at = m.newest
	}
	if err := m.reachable(at); err != nil {
		return store.Page{}, err
	}
	found, remaining := m.index.List(prefix, o.After, o.Limit, at)
	page := store.Page{Revision: at, Remaining: remaining, Entries: make([]store.Entry, len(found))}
	for i, f := range found {
		page.Entries[i] = f.Entry(f.Key)
	}
	return page, nil
}

func (m *memory) Watch(ctx context.Context, prefix string, after store.Revision) (store.Watcher, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := m.usable(ctx); err != nil {
		return nil, err
	}
	if err := m.reachable(after); err != nil {
		return nil, err
	}
	return mvcc.NewWatcher(after, func(after store.Revision) ([]store.Event, store.Revision, <-chan struct{}, error) {
		return m.poll(prefix, after)
	}), nil
}

func (m *memory) poll(prefix string, after store.Revision) ([]store.Event, store.Revision, <-chan struct{}, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return nil, 0, nil, store.ErrClosed
	}
	if err := m.reachable(after); err != nil {
		return nil, 0, nil, err
	}
	events, through := m.log.Scan(prefix, after, m.newest)
	return events, through, m.changed, nil
}

func (m *memory) Commit(ctx context.Context, ops ...store.Op) (store.Revision, error) {
	if err := mvcc.Check(ops); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return 0, err
	}
	changes, refused := mvcc.Plan(m.index.Newest, ops)
	if refused != nil {
		present := changes[0].Prev.Entry(refused.Key)
		return 0, &store.ConflictError{Key: refused.Key, Present: present}
	}
	if len(changes) > 0 {
		m.apply(changes)
	}
	return m.newest, nil
}

func (m *memory) apply(changes []mvcc.Change) {
	m.newest++
	c := mvcc.Commit{Revision: m.newest, Events: make([]store.Event, len(changes))}
	for i := range changes {
		v := changes[i].Version(m.newest, i)
		m.index.Put(changes[i].Key, v)
		c.Events[i] = changes[i].Event(v)
	}
	m.log.Append(c)
	for m.log.Exceeds(historyEvents, historyBytes) {
		m.forgetOldest()
	}
	m.wake()
}

// forgetOldest moves floor up by one commit.
func (m *memory) forgetOldest() {
	c, _ := m.log.Oldest()
	m.floor = c.Revision
	for i := range c.Events {
		m.index.Trim(c.Events[i].Entry.Key, m.floor)
	}
	m.log.Drop()
}

func (m *memory) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *memory) Revision() store.Revision {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.newest
}

func (m *memory) Compact(ctx context.Context, rev store.Revision) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return err
	}
	if rev > m.newest {
		return store.ErrFuture
	}
	for c, ok := m.log.Oldest(); ok && c.Revision <= rev; c, ok = m.log.Oldest() {
		m.forgetOldest()
	}
	m.floor = max(m.floor, rev)
	return nil
}

func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.closed = true
		m.wake()
	}
	return nil
}

func (m *memory) usable(ctx context.Context) error {
	if m.closed {
		return store.ErrClosed
	}
	return ctx.Err()
}

// reachable says whether the history at and after rev is known.
func (m *memory) reachable(rev store.Revision) error {
	switch {
	case rev < m.floor:
		return store.ErrCompacted
	case rev > m.newest:
		return store.ErrFuture
	}
	return nil
}
