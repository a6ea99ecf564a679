package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/store"
)

// write is what a commit does to one object and its claims.
type write struct {
	table *table
	key   string
	live  *Entry          // nil: the object must not exist
	obj   Object          // nil: delete
	data  []byte          // obj, encoded
	at    *store.Revision // what live must be at; nil: as it is here
	// beside are writes of other objects in the same commit.
	beside []write
}

// encoded prepares to write obj over live.
func (t *table) encoded(live *Entry, obj Object) (write, error) {
	as := t.as.Load()
	data, err := as.codec.encode(obj)
	if err != nil {
		return write{}, apierrors.NewInternalError(fmt.Errorf("encoding %s %s: %w", as.kind.Kind, obj.GetName(), err))
	}
	return write{table: t, key: key(obj.GetNamespace(), obj.GetName()), live: live, obj: obj, data: data}, nil
}

// ops are the write's operations: the object's, then its claims'.
func (w *write) ops() []store.Op {
	k := w.table.kind()
	op := store.Op{Key: w.table.prefix + w.key, Value: w.data, If: store.At(0), Lazy: k.Lazy}
	switch {
	case w.at != nil:
		op.If = w.at
	case w.live != nil:
		op.If = store.At(w.live.revision)
	}
	ops := []store.Op{op}
	for i := range w.beside {
		ops = append(ops, w.beside[i].ops()...)
	}
	if k.Claims == nil {
		return ops
	}
	var before, after []string
	if w.live != nil {
		before = k.Claims(w.live.Object())
	}
	if w.obj != nil {
		after = k.Claims(w.obj)
	}
	for _, c := range after {
		if !slices.Contains(before, c) {
			ops = append(ops, store.Op{Key: claimPrefix + c, Value: []byte(w.obj.GetUID()), If: store.At(0), Lazy: k.Lazy})
		}
	}
	for _, c := range before {
		if !slices.Contains(after, c) {
			ops = append(ops, store.Op{Key: claimPrefix + c, Lazy: k.Lazy})
		}
	}
	return ops
}

// verdict says how a commit went.
type verdict int

const (
	failed verdict = iota
	written
	raced     // the object is no longer what it was taken for
	claimLost // somebody else took a claim, or changed what was to be written beside
)

// commit writes, with what admission wants written beside, and returns the object as it
// then is, as k shows it: for a deletion, as it last was. After raced and claimLost reads
// see what was in the way.
func (s *State) commit(ctx context.Context, k *resource.Kind, w write, c *Commit) (Object, verdict, error) {
	w.beside = c.beside
	revision, err := s.store.Commit(ctx, w.ops()...)
	var lost *store.ConflictError
	if errors.As(err, &lost) {
		if err := s.waitFor(ctx, lost); err != nil {
			return nil, failed, err
		}
		if lost.Key == w.table.prefix+w.key {
			return nil, raced, nil
		}
		return nil, claimLost, nil
	}
	if err != nil {
		return nil, failed, commitError(err)
	}
	if err := s.wait(ctx, revision); err != nil {
		return nil, failed, err
	}
	obj, err := s.result(w, revision)
	if err == nil {
		obj, err = s.shows(ctx, k, obj)
	}
	if err != nil {
		return nil, failed, err
	}
	return obj, written, nil
}

// result is what was written at revision, shared if it is still there.
func (s *State) result(w write, revision store.Revision) (Object, error) {
	if w.obj == nil {
		return w.live.at(revision).Object(), nil
	}
	s.mu.RLock()
	e, ok := w.table.entries.Get(w.key)
	s.mu.RUnlock()
	if ok && e.revision == revision {
		return e.Object(), nil
	}
	e, err := w.table.entry(w.key, w.data, revision)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("reading what was written: %w", err))
	}
	return e.Object(), nil
}

// maxClaimsLost bounds how often an allocation is tried again.
const maxClaimsLost = 64

// allocate completes obj with what must be unique.
func (s *State) allocate(k *resource.Kind, obj, old Object) error {
	if k.Allocate == nil {
		return nil
	}
	return k.Allocate(obj, old, s.taken)
}

func (s *State) taken(claim string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.claims[claim]
	return ok
}

// invalid is the status error of validation errors, nil if there are none.
func invalid(k *resource.Kind, name string, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(k.Stored().GroupVersionKind.GroupKind(), name, errs)
}

// checkPreconditions compares with what a client believes of the live object.
func checkPreconditions(k *resource.Kind, live Object, p *metav1.Preconditions) error {
	if p == nil {
		return nil
	}
	if p.UID != nil && *p.UID != live.GetUID() {
		return conflict(k, live.GetName(), fmt.Sprintf(
			"Precondition failed: UID in precondition: %v, UID in object meta: %v", *p.UID, live.GetUID()))
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != live.GetResourceVersion() {
		return conflict(k, live.GetName(), fmt.Sprintf(
			"Precondition failed: ResourceVersion in precondition: %v, ResourceVersion in object meta: %v",
			*p.ResourceVersion, live.GetResourceVersion()))
	}
	return nil
}

// now is the time as objects hold it.
func now() metav1.Time { return metav1.NewTime(time.Now().UTC().Truncate(time.Second)) }

func clone(obj Object) Object { return obj.DeepCopyObject().(Object) }
