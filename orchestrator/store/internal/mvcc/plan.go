package mvcc

import (
	"fmt"

	"wherry/orchestrator/store"
)

// Change is what one operation of a commit does, once its condition holds.
type Change struct {
	Key     string
	Value   []byte // nil deletes
	Prev    Version
	Existed bool // Prev is meant
}

// Check refuses operations that no store takes, whatever it holds.
func Check(ops []store.Op) error {
	if len(ops) > store.MaxOps {
		return fmt.Errorf("%w: %d operations in one commit, at most %d", store.ErrTooLarge, len(ops), store.MaxOps)
	}
	for i, op := range ops {
		switch {
		case op.Key == "":
			return fmt.Errorf("store: operation %d has no key", i)
		case len(op.Key) > store.MaxKey:
			return fmt.Errorf("%w: key of %d bytes, at most %d", store.ErrTooLarge, len(op.Key), store.MaxKey)
		case len(op.Value) > store.MaxValue:
			return fmt.Errorf("%w: value of %d bytes, at most %d", store.ErrTooLarge, len(op.Value), store.MaxValue)
		}
	}
	return unique(ops)
}

func unique(ops []store.Op) error {
	if len(ops) < 2 {
		return nil
	}
	seen := make(map[string]bool, len(ops))
	for _, op := range ops {
		if seen[op.Key] {
			return fmt.Errorf("store: key %q twice in one commit", op.Key)
		}
		seen[op.Key] = true
	}
	return nil
}

// Lazy says whether a commit of ops may be acknowledged before it is durable.
func Lazy(ops []store.Op) bool {
	for _, op := range ops {
		if !op.Lazy {
			return false
		}
	}
	return len(ops) > 0
}

// Plan judges the conditions of ops on what newest knows and returns the changes to
// make, which may be none. If a condition fails it returns the operation that has it,
// and the key's present version in the only change.
func Plan(newest func(key string) (Version, bool), ops []store.Op) ([]Change, *store.Op) {
	changes := make([]Change, 0, len(ops))
	for i := range ops {
		op := &ops[i]
		prev, ok := newest(op.Key)
		if !ok || prev.Deleted {
			prev, ok = Version{}, false
		}
		c := Change{Key: op.Key, Value: op.Value, Prev: prev, Existed: ok}
		if op.If != nil && *op.If != prev.Revision {
			return []Change{c}, op
		}
		if op.Value != nil || ok {
			changes = append(changes, c)
		}
	}
	return changes, nil
}

// Version is the version that the change makes in the commit rev.
func (c *Change) Version(rev store.Revision, ordinal int) Version {
	created := rev
	if c.Existed {
		created = c.Prev.Created
	}
	return Version{Created: created, Revision: rev, Ordinal: uint16(ordinal), Deleted: c.Value == nil, Value: c.Value}
}

// Event is what watchers see of the change that made v. Prev.Value must be filled in.
func (c *Change) Event(v Version) store.Event {
	e := store.Event{Deleted: v.Deleted, Entry: v.Entry(c.Key)}
	if c.Existed {
		e.Prev = c.Prev.Entry(c.Key)
	}
	if v.Deleted {
		e.Entry.Value = e.Prev.Value
	}
	return e
}
