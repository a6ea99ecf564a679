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

// advance applies the events and then lets readers see revision.
func (s *State) advance(events []store.Event, revision store.Revision) error {
	changes := make([]change, 0, len(events))
	for _, e := range events {
		c, err := s.read(e)
		if err != nil {
			return err
		}
		if c.table != nil {
			changes = append(changes, c)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		s.claim(e)
	}
	for _, c := range changes {
		c.table.apply(c)
	}
	for _, c := range changes {
		c.table.wake()
	}
	s.revision = max(s.revision, revision)
	s.waiters = slices.DeleteFunc(s.waiters, func(w waiter) bool {
		if w.revision > s.revision {
			return false
		}
		close(w.reached)
		return true
	})
	return nil
}

// apply is advance for one event that no reader can see yet.
func (s *State) apply(e store.Event) error {
	c, err := s.read(e)
	if err != nil {
		return err
	}
	s.claim(e)
	if c.table != nil {
		c.table.apply(c)
	}
	return nil
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

func (s *State) claim(e store.Event) {
	claim, ok := strings.CutPrefix(e.Entry.Key, claimPrefix)
	switch {
	case !ok:
	case e.Deleted:
		delete(s.claims, claim)
	default:
		s.claims[claim] = types.UID(e.Entry.Value)
	}
}

// wait returns when reads see the revision. Errors: the context's, store.ErrClosed when
// the state no longer follows the store.
func (s *State) wait(ctx context.Context, revision store.Revision) error {
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

// fresh waits until reads see everything that has been answered, by whomever.
func (s *State) fresh(ctx context.Context) error {
	return s.wait(ctx, s.store.Revision())
}
