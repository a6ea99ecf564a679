// Package sealed encrypts some of a store's values before they reach it, and decrypts them on the way back. Everybody
// above sees plain values; whoever reads the file sees none.
//
// A value that is stored plainly, or encrypted with an older key, is read all the same. Reseal writes all such values
// anew; it is called at each start, and after the keys have changed.
//
// A sealed value is a little larger than the plain one, and store.MaxValue bounds what is stored.
package sealed

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"wherry/orchestrator/store"
)

// Sealer encrypts values, each for the key that it is stored under.
type Sealer interface {
	Seal(key string, plain []byte) []byte
	// Open returns a value that is not sealed as it is. sealed and fresh say that it was, and with the newest key.
	Open(key string, value []byte) (plain []byte, sealed, fresh bool, err error)
}

// Store is a store.Store over another one, which it closes.
type Store struct {
	store.Store
	sealer  Sealer
	secrets func(key string) bool
}

// New returns a Store that encrypts the values of the keys for which secrets says so.
func New(inner store.Store, sealer Sealer, secrets func(key string) bool) *Store {
	return &Store{inner, sealer, secrets}
}

// open decrypts an entry. Prev of an event may be none at all.
func (s *Store) open(e *store.Entry) error {
	if e.Value == nil {
		return nil
	}
	plain, _, _, err := s.sealer.Open(e.Key, e.Value)
	if err != nil {
		return fmt.Errorf("store: reading %s: %w", e.Key, err)
	}
	e.Value = plain
	return nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	e, err := s.Store.Get(ctx, key)
	if err != nil {
		return e, err
	}
	return e, s.open(&e)
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, o store.ListOptions) (store.Page, error) {
	page, err := s.Store.List(ctx, prefix, o)
	if err != nil {
		return page, err
	}
	for i := range page.Entries {
		if err := s.open(&page.Entries[i]); err != nil {
			return store.Page{}, err
		}
	}
	return page, nil
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, after store.Revision) (store.Watcher, error) {
	w, err := s.Store.Watch(ctx, prefix, after)
	if err != nil {
		return nil, err
	}
	return &watcher{w, s}, nil
}

type watcher struct {
	store.Watcher
	s *Store
}

// Next implements store.Watcher.
func (w *watcher) Next(ctx context.Context) ([]store.Event, store.Revision, error) {
	events, revision, err := w.Watcher.Next(ctx)
	if err != nil {
		return nil, revision, err
	}
	opened := make([]store.Event, len(events)) // the others' may be shared
	for i, e := range events {
		if err := errors.Join(w.s.open(&e.Entry), w.s.open(&e.Prev)); err != nil {
			return nil, 0, err
		}
		opened[i] = e
	}
	return opened, revision, nil
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, ops ...store.Op) (store.Revision, error) {
	copied := false
	for i, op := range ops {
		if op.Value == nil || !s.secrets(op.Key) {
			continue
		}
		if !copied {
			ops, copied = append([]store.Op(nil), ops...), true
		}
		ops[i].Value = s.sealer.Seal(op.Key, op.Value)
	}
	revision, err := s.Store.Commit(ctx, ops...)
	var lost *store.ConflictError
	if errors.As(err, &lost) {
		present := lost.Present
		if err := s.open(&present); err != nil {
			return 0, err
		}
		return 0, &store.ConflictError{Key: lost.Key, Present: present}
	}
	return revision, err
}

// How many values are looked at, and written anew, at once: the store makes one transaction of those that wait.
const (
	pageSize = 500
	atOnce   = 64
)

// Reseal writes every value anew that is not stored as a new one would be: with the newest key, or plainly. Then it
// has the store forget the history, in which the old ones still are. It returns how many it wrote. Writes go on
// meanwhile; one call at a time.
func (s *Store) Reseal(ctx context.Context) (written int, err error) {
	o := store.ListOptions{Limit: pageSize}
	var last store.Revision
	for more := true; more; {
		page, err := s.Store.List(ctx, "/", o)
		if err != nil {
			return written, fmt.Errorf("encrypting anew: %w", err)
		}
		n, revision, err := s.resealPage(ctx, page.Entries)
		written, last = written+n, max(last, revision)
		if err != nil {
			return written, err
		}
		if more = page.Remaining > 0; more {
			o.After = page.Entries[len(page.Entries)-1].Key
		}
	}
	if last != 0 {
		if err := s.Store.Compact(ctx, last); err != nil && !errors.Is(err, store.ErrCompacted) {
			return written, fmt.Errorf("forgetting the history of old values: %w", err)
		}
	}
	return written, nil
}

// resealPage writes those of the entries anew that need it, and returns how many and the last one's revision.
func (s *Store) resealPage(ctx context.Context, entries []store.Entry) (written int, last store.Revision, err error) {
	revisions := make([]store.Revision, len(entries))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, e := range entries {
		group.Go(func() (err error) {
			if revisions[i], err = s.resealOne(ctx, e); err != nil {
				return fmt.Errorf("encrypting %s anew: %w", e.Key, err)
			}
			return nil
		})
	}
	err = group.Wait()
	for _, r := range revisions {
		if r != 0 {
			written++
		}
		last = max(last, r)
	}
	return written, last, err
}

// resealOne writes a value anew if need be; 0 means that there was none. Who else writes the key, seals it as it
// should be.
func (s *Store) resealOne(ctx context.Context, e store.Entry) (store.Revision, error) {
	plain, sealed, fresh, err := s.sealer.Open(e.Key, e.Value)
	if err != nil {
		return 0, err
	}
	if want := s.secrets(e.Key); fresh == want && sealed == want {
		return 0, nil
	}
	revision, err := s.Commit(ctx, store.Op{Key: e.Key, Value: plain, If: store.At(e.Revision)})
	if errors.Is(err, store.ErrConflict) {
		return 0, nil
	}
	return revision, err
}
