package boltstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"wherry/orchestrator/store"
	"wherry/orchestrator/store/boltstore"
)

// A snapshot that is taken while others write holds every commit up to its revision, whole, and
// nothing later.
func TestSnapshotWhileOthersWrite(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "state.db"), boltstore.Options{})
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				pair := fmt.Sprint(n)
				_, _ = s.Commit(ctx, // it may have been stopped
					store.Op{Key: fmt.Sprintf("/left/%d", w), Value: []byte(pair)},
					store.Op{Key: fmt.Sprintf("/right/%d", w), Value: []byte(pair), Lazy: w%2 == 0})
			}
		})
	}
	for n := range 5 {
		copied := filepath.Join(dir, fmt.Sprint("copy-", n))
		at, err := s.Snapshot(t.Context(), copied)
		if err != nil {
			t.Fatal(err)
		}
		sameAt(t, s, open(t, copied, boltstore.Options{}), at)
	}
	stop()
	writers.Wait()
}

// sameAt compares a copy with the store at a revision.
func sameAt(t *testing.T, s, copied store.Store, at store.Revision) {
	t.Helper()
	want, err := s.List(t.Context(), "/", store.ListOptions{Revision: at})
	if err != nil {
		t.Fatal(err)
	}
	got, err := copied.List(t.Context(), "/", store.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Entries) != len(want.Entries) || len(got.Entries) == 0 && at > 0 {
		t.Fatalf("the copy at %d has %d entries, the store %d", at, len(got.Entries), len(want.Entries))
	}
	for i, e := range want.Entries {
		if g := got.Entries[i]; g.Key != e.Key || g.Revision != e.Revision || !bytes.Equal(g.Value, e.Value) {
			t.Errorf("at %d: got %s@%d, want %s@%d", at, g.Key, g.Revision, e.Key, e.Revision)
		}
	}
}

// What was given after the copy was made is never given again, and whoever has seen it is told.
func TestARestoredStoreGivesNoRevisionTwice(t *testing.T) {
	dir := t.TempDir()
	lost := open(t, filepath.Join(dir, "lost.db"), boltstore.Options{})
	commit(t, lost, put("/a", "1"))
	copied := filepath.Join(dir, "state.db")
	at, err := lost.Snapshot(t.Context(), copied)
	if err != nil {
		t.Fatal(err)
	}
	var seen store.Revision
	for n := range 100 {
		seen = commit(t, lost, put("/a", fmt.Sprint("later ", n)))
	}
	if err := boltstore.Restored(copied); err != nil {
		t.Fatal(err)
	}
	s := open(t, copied, boltstore.Options{})
	if _, err := s.Watch(t.Context(), "/", seen); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("a watch from revision %d, which is no longer known: %v", seen, err)
	}
	if e, err := s.Get(t.Context(), "/a"); err != nil || string(e.Value) != "1" || e.Revision != at {
		t.Errorf("/a is %q at %d, %v; want what it was at %d", e.Value, e.Revision, err, at)
	}
	if next := commit(t, s, put("/a", "2")); next <= seen+1<<20 {
		t.Errorf("the next revision is %d; %d had been given", next, seen)
	}
}

func TestADamagedSnapshotIsNotRestored(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "state.db"), boltstore.Options{})
	for n := range 50 {
		commit(t, s, put(fmt.Sprint("/key/", n), string(bytes.Repeat([]byte("x"), 1000))))
	}
	copied := filepath.Join(dir, "copy.db")
	if _, err := s.Snapshot(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, data[:len(data)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := boltstore.Restored(copied); !errors.Is(err, boltstore.ErrDamaged) {
		t.Errorf("half a file: %v", err)
	}
}

func TestHold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	release, err := boltstore.Hold(path)
	if err != nil {
		t.Fatalf("a store that does not exist: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	s := open(t, path, boltstore.Options{})
	if _, err := boltstore.Hold(path); !errors.Is(err, boltstore.ErrInUse) {
		t.Errorf("an open store: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if release, err = boltstore.Hold(path); err != nil {
		t.Fatal(err)
	}
	if _, err := boltstore.Open(path, boltstore.Options{LockTimeout: 1}); !errors.Is(err, boltstore.ErrInUse) {
		t.Errorf("a store that is held: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
}
