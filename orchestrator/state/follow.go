package state

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/store"
)

// claimPrefix is where claims are in the store.
const claimPrefix = "/claims/"

// change is a store event, read: what it does to a table.
type change struct {
	table *table
	key   string
	entry *Entry // as written; for a deletion the last state at the deletion's revision
	gone  bool
}

// openPage is how many entries are read from the store at once.
const openPage = 1000

// load makes the copy anew of one consistent reading of the store. Watches from before it
// go on from the store's history, or expire.
func (s *State) load(ctx context.Context) error {
	revision, err := s.loadDefined(ctx)
	if err != nil {
		return err
	}
	known := s.tables.Load()
	tables := make(map[*table]*contents, len(known.byPrefix))
	for _, t := range known.byPrefix {
		tables[t] = &contents{}
	}
	claims := make(map[string]types.UID)
	o := store.ListOptions{Limit: openPage, Revision: revision}
	for more := true; more; {
		page, err := s.store.List(ctx, "/", o)
		if err != nil {
			return fmt.Errorf("state: reading the store: %w", err)
		}
		for _, e := range page.Entries {
			c, err := s.read(store.Event{Entry: e})
			if err != nil {
				return err
			}
			if c.table != nil {
				tables[c.table].apply(c)
			}
			claim(claims, store.Event{Entry: e})
			o.After = e.Key
		}
		o.Revision = page.Revision
		more = page.Remaining > 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for t, c := range tables {
		c.recent = window{floor: o.Revision}
		t.contents = c
		t.wake()
	}
	s.claims = claims
	s.reached(o.Revision)
	return nil
}

// follow applies what happens in the store after the copy was made.
func (s *State) follow(ctx context.Context) error {
	w, err := s.store.Watch(ctx, "/", s.Revision())
	if err != nil {
		return fmt.Errorf("state: following the store: %w", err)
	}
	defer w.Close()
	for {
		events, revision, err := w.Next(ctx)
		if err != nil {
			return fmt.Errorf("state: following the store: %w", err)
		}
		if err := s.advance(ctx, events, revision); err != nil {
			return err
		}
	}
}

// loadDefined makes the tables and the registry follow the objects that define kinds, and returns the
// revision at which they were read; 0 if the newest may be read.
func (s *State) loadDefined(ctx context.Context) (store.Revision, error) {
	o := store.ListOptions{}
	for _, t := range s.tables.Load().definers {
		page, err := s.store.List(ctx, t.prefix, o)
		if err != nil {
			return 0, fmt.Errorf("state: reading the store: %w", err)
		}
		o.Revision = page.Revision
		defined := make(map[string]bool)
		for _, e := range page.Entries {
			c, err := s.read(store.Event{Entry: e})
			if err != nil {
				return 0, err
			}
			defined[definer(t, c.key)] = true
			if err := s.define(ctx, c, 0); err != nil {
				return 0, err
			}
		}
		s.undefine(t, defined)
	}
	return o.Revision, nil
}

// advance applies the events and then lets readers see revision.
func (s *State) advance(ctx context.Context, events []store.Event, revision store.Revision) error {
	changes := make([]change, 0, len(events))
	for _, e := range events {
		c, err := s.read(e)
		if err != nil {
			return err
		}
		if c.table == nil {
			continue
		}
		changes = append(changes, c)
		if c.table.kind().Defines != nil {
			if err := s.define(ctx, c, e.Entry.Revision); err != nil {
				return err
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		claim(s.claims, e)
	}
	for _, c := range changes {
		c.table.apply(c)
	}
	for _, c := range changes {
		c.table.wake()
	}
	s.reached(revision)
	return nil
}

// reached lets readers see revision, and those go on who waited for it.
func (s *State) reached(revision store.Revision) {
	s.revision = max(s.revision, revision)
	s.waiters = slices.DeleteFunc(s.waiters, func(w waiter) bool {
		if w.revision > s.revision {
			return false
		}
		close(w.reached)
		return true
	})
}

// read decodes the event; it needs no lock.
func (s *State) read(e store.Event) (change, error) {
	t, key := s.locate(e.Entry.Key)
	if t == nil {
		return change{}, nil
	}
	entry, err := t.entry(key, e.Entry.Value, e.Entry.Revision)
	if err != nil {
		return change{}, fmt.Errorf("state: reading %s: %w", e.Entry.Key, err)
	}
	return change{table: t, key: key, entry: entry, gone: e.Deleted}, nil
}

// claim takes note of a claim that was made or given back.
func claim(claims map[string]types.UID, e store.Event) {
	name, ok := strings.CutPrefix(e.Entry.Key, claimPrefix)
	switch {
	case !ok:
	case e.Deleted:
		delete(claims, name)
	default:
		claims[name] = types.UID(e.Entry.Value)
	}
}

// wait returns when reads see the revision. Errors: the context's, store.ErrClosed when
// the state no longer follows the store.
func (s *State) wait(ctx context.Context, revision store.Revision) error {
	if s.Revision() >= revision {
		return nil
	}
	s.mu.Lock()
	if s.revision >= revision {
		s.mu.Unlock()
		return nil
	}
	w := waiter{revision, make(chan struct{})}
	s.waiters = append(s.waiters, w)
	s.mu.Unlock()
	select {
	case <-w.reached:
		return nil
	case <-ctx.Done():
		s.forget(w)
		return ctx.Err()
	case <-s.ended:
		s.forget(w)
		return fmt.Errorf("state: no longer follows the store: %w", store.ErrClosed)
	}
}

func (s *State) forget(w waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiters = slices.DeleteFunc(s.waiters, func(o waiter) bool { return o == w })
}

// waitFor waits until reads see what a commit ran into.
func (s *State) waitFor(ctx context.Context, c *store.ConflictError) error {
	return s.wait(ctx, max(c.Present.Revision, s.store.Revision()))
}

// fresh waits until reads see everything that has been answered, by whomever.
func (s *State) fresh(ctx context.Context) error {
	return s.wait(ctx, s.store.Revision())
}
