package state

import (
	"context"
	"fmt"
	"maps"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/store"
)

// tables are where the objects of all kinds are at one moment. They do not change: kinds that are
// defined and withdrawn at run time make new ones.
type tables struct {
	byKind     map[*resource.Kind]*table
	byResource map[schema.GroupResource]*table
	byPrefix   map[string]*table // "/core/pods/"
	definers   []*table          // of kinds whose objects define kinds
}

func newTables(kinds []*resource.Kind, cache *encodings) *tables {
	ts := &tables{
		byKind: make(map[*resource.Kind]*table), byResource: make(map[schema.GroupResource]*table), byPrefix: make(map[string]*table),
	}
	for _, k := range kinds {
		ts.add(newTable(k, cache))
	}
	return ts
}

func (ts *tables) add(t *table) {
	k := t.kind()
	ts.byKind[k], ts.byResource[k.GroupResource()], ts.byPrefix[t.prefix] = t, t, t
	if k.Defines != nil {
		ts.definers = append(ts.definers, t)
	}
}

func (ts *tables) remove(t *table) {
	k := t.kind()
	delete(ts.byKind, k)
	delete(ts.byResource, k.GroupResource())
	delete(ts.byPrefix, t.prefix)
}

func (ts *tables) clone() *tables {
	return &tables{
		byKind: maps.Clone(ts.byKind), byResource: maps.Clone(ts.byResource), byPrefix: maps.Clone(ts.byPrefix), definers: ts.definers,
	}
}

// table is the table of a kind. A kind that was defined and is no more has an empty one, from which
// nothing comes; asking for a kind that was never registered is a mistake of the program.
func (s *State) table(k *resource.Kind) *table {
	ts, k := s.tables.Load(), k.Stored()
	if t, ok := ts.byKind[k]; ok {
		return t
	}
	if k.Custom == nil {
		panic(fmt.Sprintf("state: kind %s is not registered", k.GroupVersionKind))
	}
	if t, ok := ts.byResource[k.GroupResource()]; ok {
		return t // the kind was defined anew since it was asked for
	}
	t := newTable(k, s.cache)
	t.withdrawn = true
	return t
}

// writable is the table of a kind that is to be written to. Errors: NotFound for a kind that is defined no more.
func (s *State) writable(k *resource.Kind) (*table, error) {
	t := s.table(k)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t.withdrawn {
		return nil, apierrors.NewNotFound(k.GroupResource(), "")
	}
	return t, nil
}

// locate finds the table of a store key and the key in it; nil for keys that hold no
// object of a known kind.
func (s *State) locate(key string) (*table, string) {
	group := strings.IndexByte(key[1:], '/') + 1
	if group == 0 {
		return nil, ""
	}
	plural := strings.IndexByte(key[group+1:], '/') + group + 1
	if plural == group {
		return nil, ""
	}
	return s.tables.Load().byPrefix[key[:plural+1]], key[plural+1:]
}

// definer names who defines kinds: an object.
func definer(t *table, key string) string { return t.prefix + key }

// define makes the tables and the registry follow an object that defines kinds. Only who follows the
// store calls it. The new tables hold what the store had at revision; nothing if that is 0.
func (s *State) define(ctx context.Context, c change, revision store.Revision) error {
	var kinds []*resource.Kind
	if !c.gone {
		kinds = c.table.kind().Defines(c.entry.Object())
	}
	before := s.tables.Load()
	after := before.clone()
	by := definer(c.table, c.key)
	kept := make(map[*table]bool)
	for _, k := range kinds {
		if k.View != nil {
			continue // its objects are where its stored kind's are
		}
		if there, ok := before.byResource[k.GroupResource()]; ok && there.definer != by {
			continue // somebody else's
		}
		t, err := s.tableFor(ctx, after, k, by, revision)
		if err != nil {
			return err
		}
		kept[t] = true
	}
	for _, t := range before.byResource {
		if t.definer == by && !kept[t] {
			after.remove(t)
			defer s.withdraw(t)
		}
	}
	s.tables.Store(after)
	s.kinds.Define(by, kinds...)
	return nil
}

// tableFor puts the kind's table into ts: the one that it had, or a new one.
func (s *State) tableFor(ctx context.Context, ts *tables, k *resource.Kind, by string, revision store.Revision) (*table, error) {
	if t, ok := ts.byResource[k.GroupResource()]; ok {
		delete(ts.byKind, t.kind())
		s.redefine(t, k)
		ts.byKind[k] = t
		return t, nil
	}
	t := newTable(k, s.cache)
	t.definer = by
	ts.add(t)
	if revision == 0 {
		return t, nil
	}
	return t, s.fill(ctx, t, revision)
}

// redefine makes a table read its objects as k says. What was made of them before is forgotten.
func (s *State) redefine(t *table, k *resource.Kind) {
	t.as.Store(newShape(k))
	s.cache.drop(t)
	s.mu.RLock()
	defer s.mu.RUnlock()
	t.entries.Scan(func(_ string, e *Entry) bool {
		e.forget()
		return true
	})
}

// fill reads into a new table what lies in its place.
func (s *State) fill(ctx context.Context, t *table, revision store.Revision) error {
	page, err := s.store.List(ctx, t.prefix, store.ListOptions{Revision: revision})
	if err != nil {
		return fmt.Errorf("state: reading %s: %w", t.prefix, err)
	}
	for _, e := range page.Entries {
		key := strings.TrimPrefix(e.Key, t.prefix)
		entry, err := t.entry(key, e.Value, e.Revision)
		if err != nil {
			return fmt.Errorf("state: reading %s: %w", e.Key, err)
		}
		t.apply(change{table: t, key: key, entry: entry})
	}
	t.recent = window{floor: revision}
	t.newest = revision
	return nil
}

// undefine withdraws what objects of a table defined that are no more.
func (s *State) undefine(definers *table, present map[string]bool) {
	before := s.tables.Load()
	after := before.clone()
	for _, t := range before.byResource {
		if strings.HasPrefix(t.definer, definers.prefix) && !present[t.definer] {
			after.remove(t)
			s.kinds.Define(t.definer)
			defer s.withdraw(t)
		}
	}
	s.tables.Store(after)
}

// withdraw ends the watches of a table that has no kind any more.
func (s *State) withdraw(t *table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.withdrawn = true
	t.wake()
}
