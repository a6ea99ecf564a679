package boltstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"wherry/orchestrator/store"
	"wherry/orchestrator/store/boltstore"
	"wherry/orchestrator/store/storetest"
)

func open(t testing.TB, path string, o boltstore.Options) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func commit(t testing.TB, s store.Store, ops ...store.Op) store.Revision {
	t.Helper()
	rev, err := s.Commit(context.Background(), ops...)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func put(key, value string) store.Op { return store.Op{Key: key, Value: []byte(value)} }

func lazy(key, value string) store.Op {
	return store.Op{Key: key, Value: []byte(value), Lazy: true}
}

// crash returns the path of a copy of the file as a crash at this moment would leave it.
// The store must not be writing.
func crash(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(t.TempDir(), "store.db")
	if err := os.WriteFile(left, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return left
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, filepath.Join(t.TempDir(), "store.db"), boltstore.Options{HistoryEvents: 4000})
	})
	storetest.RunPersistent(t, func(t *testing.T, dir string) store.Store {
		return open(t, filepath.Join(dir, "new", "store.db"), boltstore.Options{HistoryEvents: 1000})
	})
}

func TestLazyCommitsAreWrittenWithinTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "store.db")
		s := open(t, path, boltstore.Options{LazyDelay: time.Second})
		commit(t, s, put("a", "1"))
		commit(t, s, lazy("e", "2"))
		time.Sleep(time.Second - time.Nanosecond)
		synctest.Wait()
		if _, err := open(t, crash(t, path), boltstore.Options{}).Get(t.Context(), "e"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("before the delay: %v, want ErrNotFound", err)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		e, err := open(t, crash(t, path), boltstore.Options{}).Get(t.Context(), "e")
		if err != nil || string(e.Value) != "2" || e.Revision != 2 {
			t.Errorf("after the delay: %+v, %v", e, err)
		}
	})
}

func TestADurableCommitCarriesTheLazyOnesBeforeIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, path, boltstore.Options{LazyDelay: time.Hour})
	commit(t, s, lazy("e", "1"))
	commit(t, s, lazy("e", "2"), lazy("f", "2"))
	commit(t, s, put("a", "3"))
	left := open(t, crash(t, path), boltstore.Options{})
	page, err := left.List(t.Context(), "", store.ListOptions{})
	if err != nil || len(page.Entries) != 3 {
		t.Errorf("after a crash: %v, %v", page, err)
	}
	if page, err = left.List(t.Context(), "", store.ListOptions{Revision: 1}); err != nil || string(page.Entries[0].Value) != "1" {
		t.Errorf("at 1: %v, %v", page, err)
	}
}

func TestTooManyLazyCommitsDoNotWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, path, boltstore.Options{LazyDelay: time.Hour})
	value := string(make([]byte, 100<<10))
	for i := range 30 {
		commit(t, s, lazy(fmt.Sprint("e/", i), value))
	}
	page, err := open(t, crash(t, path), boltstore.Options{}).List(t.Context(), "", store.ListOptions{})
	if err != nil || len(page.Entries) < 20 {
		t.Errorf("%d of 30 are in the file, %v", len(page.Entries), err)
	}
}

func TestAfterACrashNoRevisionIsGivenAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	shown := map[store.Revision]bool{}
	var lost []store.Revision
	for round := range 4 {
		s := open(t, path, boltstore.Options{LazyDelay: time.Hour})
		for _, rev := range lost {
			gone(t, s, rev)
		}
		durable := commit(t, s, put("a", fmt.Sprint(round)))
		last := commit(t, s, lazy("e", "lost"))
		for _, rev := range []store.Revision{durable, last} {
			if shown[rev] {
				t.Errorf("round %d: revision %d is given again", round, rev)
			}
			shown[rev] = true
		}
		lost = append(lost, last)
		path = crash(t, path)
		resumes(t, crash(t, path), durable)
	}
}

// gone wants no way to go on from a revision whose commit is lost.
func gone(t *testing.T, s store.Store, rev store.Revision) {
	t.Helper()
	if _, err := s.Watch(t.Context(), "", rev); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("watch after what was lost: %v, want ErrCompacted", err)
	}
	if _, err := s.List(t.Context(), "", store.ListOptions{Revision: rev}); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("list at what was lost: %v, want ErrCompacted", err)
	}
}

// resumes wants that who has seen everything that was durable goes on where he was.
func resumes(t *testing.T, path string, durable store.Revision) {
	t.Helper()
	s := open(t, path, boltstore.Options{})
	w, err := s.Watch(t.Context(), "", durable)
	if err != nil {
		t.Fatalf("watch after what was durable: %v", err)
	}
	page, err := s.List(t.Context(), "", store.ListOptions{})
	if err != nil || len(page.Entries) != 1 || page.Entries[0].Revision != durable {
		t.Errorf("list: %+v, %v", page, err)
	}
	if _, err := s.Watch(t.Context(), "", page.Revision); err != nil {
		t.Errorf("watch after a list: %v", err)
	}
	rev := commit(t, s, put("b", "1"))
	events, through, err := w.Next(t.Context())
	if err != nil || len(events) != 1 || events[0].Entry.Revision != rev || through != rev {
		t.Errorf("next: %v through %d, %v", events, through, err)
	}
}

func TestCrashesWithoutCommitsAreOneGap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, path, boltstore.Options{})
	durable := commit(t, s, put("a", "1"))
	for range 5 {
		path = crash(t, path)
		s = open(t, path, boltstore.Options{})
	}
	gone(t, s, durable+1)
	gone(t, s, s.Revision()-1)
	commit(t, s, put("a", "2"))
	if err := s.Compact(t.Context(), s.Revision()); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(crash(t, path), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		if n := tx.Bucket([]byte("gaps")).Stats().KeyN; n != 0 {
			t.Errorf("%d gaps are left before the compacted revision", n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheFileStaysSteady(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, path, boltstore.Options{HistoryEvents: 200})
	value := string(make([]byte, 1<<10))
	size := func() int64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	ops := make([]store.Op, 100)
	round := func() {
		for i := range 20 {
			for k := range ops {
				ops[k] = put(fmt.Sprint("k/", (i*len(ops)+k)%500), value)
			}
			commit(t, s, ops...)
		}
	}
	round()
	before := size()
	for range 5 {
		round()
	}
	if after := size(); after > before {
		t.Errorf("the file grew from %d to %d bytes while its contents did not", before, after)
	}
}

func TestHistoryIsBoundedByBytes(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store.db"), boltstore.Options{HistoryBytes: 1 << 20})
	value := string(make([]byte, 64<<10))
	for range 40 {
		commit(t, s, put("a", value))
	}
	if _, err := s.Watch(t.Context(), "", 10); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("40 values of 64 KiB in a history of 1 MiB: watch after 10: %v", err)
	}
	if _, err := s.Watch(t.Context(), "", 30); err != nil {
		t.Errorf("watch after 30: %v", err)
	}
}

func TestASecondOpenIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, path, boltstore.Options{})
	commit(t, s, put("a", "1"))
	if _, err := boltstore.Open(path, boltstore.Options{LockTimeout: 50 * time.Millisecond}); !errors.Is(err, boltstore.ErrInUse) {
		t.Errorf("second open: %v, want ErrInUse", err)
	}
	commit(t, s, put("a", "2"))
}

func TestManyCreateTheSameFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	const n = 8
	opened := make(chan *boltstore.Store, n)
	for range n {
		go func() {
			s, err := boltstore.Open(path, boltstore.Options{LockTimeout: 50 * time.Millisecond})
			if err != nil && !errors.Is(err, boltstore.ErrInUse) {
				t.Errorf("open: %v", err)
			}
			opened <- s
		}()
	}
	won := 0
	for range n {
		if s := <-opened; s != nil {
			won++
			commit(t, s, put("a", "1"))
			defer func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}()
		}
	}
	if won != 1 {
		t.Errorf("%d opened the same file", won)
	}
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
