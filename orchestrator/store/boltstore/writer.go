package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"wherry/orchestrator/store"
	"wherry/orchestrator/store/internal/mvcc"
)

// Bounds of one transaction, and of what may wait in memory for the next.
const (
	groupCommits = 1024
	groupBytes   = 8 << 20
	lazyCommits  = 4096
	lazyBytes    = 1 << 20

	// reserve is how far ceiling is set ahead of newest. It is more than all revisions of
	// a transaction and of the lazy commits behind it, so that even a file that has lost
	// its last transaction does not give one of them again.
	reserve = 1 << 16

	// sweepEach and sweepLeast bound what a transaction removes: that many records for
	// each one that it writes, and a few for nothing.
	sweepEach  = 2
	sweepLeast = 32
)

// request is a commit on its way to the writer and back.
type request struct {
	ctx  context.Context
	ops  []store.Op
	done chan struct{} // closed when rev and err are set
	rev  store.Revision
	err  error
}

// commit is what a request that holds becomes.
type commit struct {
	revision store.Revision
	changes  []mvcc.Change
	events   []store.Event
}

// writer is the state of the writing goroutine; nobody else reads it before it ended.
type writer struct {
	counters           // as they are in the file
	lazy      []commit // shown, in order, but not in the file
	lazyBytes int
	events    int   // records in the file behind swept
	bytes     int64 // what will be freed by sweeping them
	flush     *time.Timer
	broken    error // why nothing can be written any more
	last      error // of the last transaction, at Close
}

func newWriter(f *file) writer {
	flush := time.NewTimer(time.Hour)
	flush.Stop()
	return writer{counters: f.counters, events: f.events, bytes: f.bytes, flush: flush}
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, ops ...store.Op) (store.Revision, error) {
	if err := mvcc.Check(ops); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	r := &request{ctx: ctx, ops: ops, done: make(chan struct{})}
	select {
	case s.requests <- r:
	case <-s.closing:
		return 0, store.ErrClosed
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	select {
	case <-r.done:
		return r.rev, r.err
	case <-ctx.Done():
		return 0, fmt.Errorf("store: the outcome of a commit is unknown: %w", ctx.Err())
	}
}

// Compact implements store.Store. The floor is durable when it returns; the records go
// with later commits.
func (s *Store) Compact(ctx context.Context, rev store.Revision) error {
	return s.between(ctx, func() error {
		switch {
		case rev > s.newest:
			return store.ErrFuture
		case rev <= s.floor:
			return nil
		}
		return s.persist(nil, rev, s.newest+reserve)
	})
}

// between has the writer run do when it is between two transactions.
func (s *Store) between(ctx context.Context, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	select {
	case s.control <- func() { done <- do() }:
		return <-done
	case <-s.closing:
		return store.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write is the writing goroutine. It reads what mu guards without it, as only it writes
// that.
func (s *Store) write() {
	for {
		select {
		case r := <-s.requests:
			s.commit(s.gather(r))
		case do := <-s.control:
			do()
		case <-s.writer.flush.C:
			s.flush()
		case <-s.closing:
			s.writer.flush.Stop()
			s.writer.last = s.persist(nil, s.floor, s.newest)
			return
		}
	}
}

// gather adds to the first request those that are waiting. It lets others run as long as
// that brings more of them: after a transaction all that it answered want to go on.
func (s *Store) gather(first *request) []*request {
	group, size, yielded := []*request{first}, sizeOf(first.ops), 0
	for len(group) < groupCommits && size < groupBytes {
		select {
		case r := <-s.requests:
			group = append(group, r)
			size += sizeOf(r.ops)
		default:
			if yielded == len(group) {
				return group
			}
			yielded = len(group)
			runtime.Gosched()
		}
	}
	return group
}

func sizeOf(ops []store.Op) int {
	n := 0
	for i := range ops {
		n += recordSize(ops[i].Key, ops[i].Value)
	}
	return n
}

// flush writes the lazy commits that have waited long enough. If it fails they wait on.
func (s *Store) flush() {
	if err := s.persist(nil, s.floor, s.newest+reserve); err != nil {
		s.o.Logger.Error("store: lazy commits cannot be written", "file", s.path, "commits", len(s.writer.lazy), "error", err)
		s.writer.flush.Reset(s.o.LazyDelay)
	}
}

// commit judges, does and answers a group of requests.
func (s *Store) commit(requests []*request) {
	g := group{store: s, last: s.newest}
	for _, r := range requests {
		r.rev, r.err = g.judge(r)
	}
	if err := s.do(&g); err != nil {
		for _, r := range requests {
			r.rev, r.err = 0, err
		}
	}
	for _, r := range requests {
		close(r.done)
	}
}

// do makes the commits of the group happen: in the file if one of them is not lazy or
// too much is waiting, else in memory.
func (s *Store) do(g *group) error {
	if len(g.commits) == 0 {
		return nil
	}
	w := &s.writer
	if g.durable || w.lazyBytes+g.size > lazyBytes || len(w.lazy)+len(g.commits) > lazyCommits || g.last > w.ceiling {
		return s.persist(g.commits, s.floor, g.last+reserve)
	}
	if err := s.db.View(func(tx *bbolt.Tx) error { return tell(tx, g.commits) }); err != nil {
		return err
	}
	if len(w.lazy) == 0 {
		w.flush.Reset(s.o.LazyDelay)
	}
	w.lazy = append(w.lazy, g.commits...)
	w.lazyBytes += g.size
	s.mu.Lock()
	defer s.mu.Unlock()
	s.show(g.commits)
	return nil
}

// withoutPath is what the system says is wrong with the file at path: clients are told of it, and where
// the file is does not concern them. bbolt hands on the text of some errors only.
func withoutPath(err error, path string) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	if text := err.Error(); strings.Contains(text, path) {
		return errors.New(strings.ReplaceAll(text, " "+path, ""))
	}
	return err
}

// persist writes the lazy commits and then these, moves the floor up to at least the
// given revision, and shows it all when it is durable.
func (s *Store) persist(commits []commit, floor, ceiling store.Revision) error {
	w := &s.writer
	if w.broken != nil {
		return w.broken
	}
	t := transaction{store: s, counters: w.counters}
	t.newest, t.floor, t.ceiling = s.newest, max(s.floor, floor), ceiling
	if n := len(commits); n > 0 {
		t.newest = commits[n-1].revision
	}
	if err := s.db.Update(func(tx *bbolt.Tx) error { return t.fill(tx, commits) }); err != nil {
		s.failed(t.counters, err)
		return fmt.Errorf("the store cannot be written: %w", withoutPath(err, s.path))
	}
	settled := w.lazy
	w.counters, w.lazy, w.lazyBytes = t.counters, nil, 0
	w.events += t.events
	w.bytes += t.bytes
	w.flush.Stop()
	for _, c := range commits {
		for i := range c.changes {
			c.changes[i].Value = nil
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle(settled, t.swept)
	s.show(commits)
	return nil
}

// failed finds out whether the transaction that was to set these counters came into the
// file all the same. If so, bbolt goes on with it while the disk may not have it.
func (s *Store) failed(tried counters, cause error) {
	err := s.db.View(func(tx *bbolt.Tx) error {
		now, err := parseCounters(tx.Bucket(bucketMeta).Get(keyCounters))
		if err == nil && now == tried && now != s.writer.counters {
			err = errors.New("the last transaction is neither durable nor undone")
		}
		return err
	})
	if err != nil {
		s.writer.broken = fmt.Errorf("store: %s must be opened again: %w: %w", s.path, err, cause)
	}
}

// show makes commits visible. Changes without a value have it in the file. s.mu is held.
func (s *Store) show(commits []commit) {
	for _, c := range commits {
		for i := range c.changes {
			v := c.version(i)
			v.Deleted = c.events[i].Deleted
			s.index.Put(c.changes[i].Key, v)
		}
		s.recent.Append(mvcc.Commit{Revision: c.revision, Events: c.events})
		s.newest = c.revision
	}
	for s.recent.Exceeds(recentEvents, recentBytes) {
		if oldest, _ := s.recent.Oldest(); oldest.Revision > s.writer.newest {
			break
		}
		s.recent.Drop()
	}
	if len(commits) > 0 {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// settle takes out of the index what has come into the file and what has gone. s.mu is
// held.
func (s *Store) settle(written []commit, swept []remains) {
	for _, c := range written {
		for i := range c.changes {
			s.index.Settle(c.changes[i].Key, c.revision)
		}
	}
	for _, m := range swept {
		s.index.Trim(m.key, s.writer.swept)
	}
	for len(s.gaps) > 0 && s.gaps[0].last < s.floor {
		s.gaps = s.gaps[1:]
	}
}
