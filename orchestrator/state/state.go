// Package state keeps the cluster's objects over a store, and the one in-memory copy
// that everybody reads: apiserver, scheduler, controllers, downlink.
//
// Objects handed out are shared and immutable: copy before changing (DeepCopyObject).
// Reads see every write that was answered before them. Errors are Kubernetes' status
// errors (k8s.io/apimachinery/pkg/api/errors): NotFound, AlreadyExists, Conflict,
// Invalid, Expired.
//
// In the store an object is at /<group or "core">/<plural>/<namespace>/<name>, as a
// Kubernetes protobuf message with its magic prefix (as JSON, if its type has no
// protobuf), without resourceVersion: that is the revision of the commit. A claim is at
// /claims/<claim>; its value is the uid of the object that holds it.
package state

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/store"
)

// Object is a Kubernetes object in its external, versioned type.
type Object = resource.Object

// Options configure Open.
type Options struct {
	Kinds *resource.Registry
	// Admission may be nil.
	Admission Admission
	// Managers note who owns which field; nil: nobody does.
	Managers Managers
	// CacheBytes bounds the encoded forms kept beside the stored bytes; 0 means 40 MiB: JSON and rows of some
	// 10,000 pods.
	CacheBytes int
}

// State is the cluster's objects. See Open.
type State struct {
	store     store.Store
	kinds     *resource.Registry
	admission Admission
	managers  Managers
	turns     turns
	cache     *encodings
	tables    atomic.Pointer[tables]

	mu       sync.RWMutex // guards what follows and what is in the tables
	revision store.Revision
	claims   map[string]types.UID
	waiters  []waiter
	ended    chan struct{} // closed when Run has returned
}

// waiter waits for the copy to reach a revision.
type waiter struct {
	revision store.Revision
	reached  chan struct{}
}

// Open reads everything from the store. Run must be called for State to follow it:
// without it writes wait for their own effect.
func Open(ctx context.Context, st store.Store, o Options) (*State, error) {
	if o.CacheBytes == 0 {
		o.CacheBytes = 40 << 20
	}
	s := &State{
		store: st, kinds: o.Kinds, admission: o.Admission, managers: o.Managers,
		cache:  &encodings{budget: o.CacheBytes},
		claims: make(map[string]types.UID),
		ended:  make(chan struct{}),
	}
	s.tables.Store(newTables(o.Kinds.Stored(), s.cache))
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Run follows the store until ctx ends, and then returns nil.
func (s *State) Run(ctx context.Context) error {
	defer close(s.ended)
	for {
		err := s.follow(ctx)
		for errors.Is(err, store.ErrCompacted) {
			err = s.load(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Kinds are the kinds that the state was opened with.
func (s *State) Kinds() *resource.Registry { return s.kinds }

// Managers are what the state was opened with, or nil.
func (s *State) Managers() Managers { return s.managers }

// Revision is the newest revision that reads see.
func (s *State) Revision() store.Revision {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.revision
}

// Count is how many objects of a kind there are.
func (s *State) Count(k *resource.Kind) int {
	t := s.table(k)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return t.entries.Len()
}

// Changed is the revision of the last change of a kind's objects.
func (s *State) Changed(k *resource.Kind) store.Revision {
	t := s.table(k)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return t.newest
}

// Check returns nil if everything that was answered can be read here in time: the state follows its store.
func (s *State) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := s.store.List(ctx, claimPrefix, store.ListOptions{Limit: 1}); err != nil {
		return fmt.Errorf("reading the store: %w", err)
	}
	return s.fresh(ctx)
}
