package boltstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"wherry/orchestrator/store"
	"wherry/orchestrator/store/internal/mvcc"
)

var (
	// ErrInUse says that another process, or another Store of this one, has the file open.
	ErrInUse = errors.New("the data directory is in use by another process")
	// ErrDamaged says that the file cannot be read. It has been left as it was.
	ErrDamaged = errors.New("store is damaged")
	// ErrFormat says that the file was written by another release, or is something else.
	ErrFormat = errors.New("store has another format")
)

// Options configure Open. The zero value is good.
type Options struct {
	// HistoryEvents and HistoryBytes bound the history that is kept for watches to
	// resume and for lists at older revisions: how many changes of a key, and how many
	// bytes of replaced and deleted values. 0 means 20,000 and 64 MiB.
	HistoryEvents int
	HistoryBytes  int64
	// LazyDelay is how long lazy commits may stay in memory. 0 means a second.
	LazyDelay time.Duration
	// LockTimeout is how long Open waits for another process to let go of the file.
	// 0 means a second.
	LockTimeout time.Duration
	// Logger may be nil, for slog.Default().
	Logger *slog.Logger
}

func (o *Options) fill() {
	if o.HistoryEvents <= 0 {
		o.HistoryEvents = 20_000
	}
	if o.HistoryBytes <= 0 {
		o.HistoryBytes = 64 << 20
	}
	if o.LazyDelay <= 0 {
		o.LazyDelay = time.Second
	}
	if o.LockTimeout <= 0 {
		o.LockTimeout = time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// The newest events are kept in memory, so that live watchers need not read the file.
const (
	recentEvents = 4096
	recentBytes  = 2 << 20
)

// Store is a store.Store in a file. Values are read from the file, which the system
// caches; memory holds the keys, the recent events, and lazy commits until they are
// written.
type Store struct {
	o    Options
	path string
	id   string
	db   *bbolt.DB

	requests chan *request // to the writer; received means that it will be answered
	control  chan func()   // run by the writer between two transactions
	closing  chan struct{} // closed by Close
	close    sync.Once
	closed   error // of Close, once writing is done
	writing  sync.WaitGroup
	writer   writer

	// mu guards what readers see. Who reads the file, too, begins the bbolt transaction
	// before letting go of mu: the file is then at or behind the index, and has all that
	// the index does not hold itself.
	mu      sync.RWMutex
	index   mvcc.Index
	recent  mvcc.Log // has all commits that are not yet in the file
	newest  store.Revision
	floor   store.Revision
	gaps    []gap         // in order
	changed chan struct{} // closed and replaced whenever newest grows
	ended   bool
}

var _ store.Store = (*Store)(nil)

// Open opens the store in the file path, or creates it, with its folder.
// Errors: ErrInUse, ErrDamaged, ErrFormat.
func Open(path string, o Options) (*Store, error) {
	o.fill()
	s := &Store{
		o:        o,
		path:     path,
		requests: make(chan *request),
		control:  make(chan func()),
		closing:  make(chan struct{}),
		changed:  make(chan struct{}),
	}
	f, err := openFile(path, o)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	s.db, s.id = f.db, f.id
	s.index, s.gaps = f.index, f.gaps
	s.newest, s.floor, s.recent.From = f.newest, f.floor, f.newest
	s.writer = newWriter(f)
	s.writing.Go(s.write)
	return s, nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	s.mu.RLock()
	if err := s.usable(ctx); err != nil {
		s.mu.RUnlock()
		return store.Entry{}, err
	}
	v, ok := s.index.Live(key)
	if !ok || v.Value != nil {
		s.mu.RUnlock()
		if !ok {
			return store.Entry{}, store.ErrNotFound
		}
		return v.Entry(key), nil
	}
	tx, err := s.db.Begin(false)
	s.mu.RUnlock()
	if err != nil {
		return store.Entry{}, fmt.Errorf("read %s: %w", s.path, err)
	}
	e, err := readEntry(tx, placeOf(v))
	return e, errors.Join(err, tx.Rollback())
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, o store.ListOptions) (store.Page, error) {
	page, found, tx, err := s.find(ctx, prefix, o)
	if err != nil {
		return store.Page{}, err
	}
	page.Entries = make([]store.Entry, len(found))
	for i, f := range found {
		if f.Value != nil {
			page.Entries[i] = f.Entry(f.Key)
			continue
		}
		if page.Entries[i], err = readEntry(tx, placeOf(f.Version)); err != nil {
			break
		}
	}
	if err := errors.Join(err, tx.Rollback()); err != nil {
		return store.Page{}, err
	}
	return page, nil
}

// find is the part of List under the lock. The caller ends the transaction.
func (s *Store) find(ctx context.Context, prefix string, o store.ListOptions) (store.Page, []mvcc.Found, *bbolt.Tx, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return store.Page{}, nil, nil, err
	}
	at := o.Revision
	if at == 0 {
		at = s.newest
	}
	if err := s.reachable(at); err != nil {
		return store.Page{}, nil, nil, err
	}
	found, remaining := s.index.List(prefix, o.After, o.Limit, at)
	tx, err := s.db.Begin(false)
	if err != nil {
		return store.Page{}, nil, nil, fmt.Errorf("read %s: %w", s.path, err)
	}
	return store.Page{Revision: at, Remaining: remaining}, found, tx, nil
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, after store.Revision) (store.Watcher, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	if err := s.reachable(after); err != nil {
		return nil, err
	}
	return mvcc.NewWatcher(after, func(after store.Revision) ([]store.Event, store.Revision, <-chan struct{}, error) {
		return s.poll(prefix, after)
	}), nil
}

// poll is an mvcc.Poll: from the recent events, or, for who is behind them, from the
// file.
func (s *Store) poll(prefix string, after store.Revision) ([]store.Event, store.Revision, <-chan struct{}, error) {
	for {
		s.mu.RLock()
		if err := s.following(after); err != nil {
			s.mu.RUnlock()
			return nil, 0, nil, err
		}
		through := s.recent.From
		if after >= through {
			events, through := s.recent.Scan(prefix, after, s.newest)
			changed := s.changed
			s.mu.RUnlock()
			return events, through, changed, nil
		}
		tx, err := s.db.Begin(false)
		s.mu.RUnlock()
		if err != nil {
			return nil, 0, nil, fmt.Errorf("read %s: %w", s.path, err)
		}
		events, through, err := readEvents(tx, prefix, after, through)
		if err := errors.Join(err, tx.Rollback()); err != nil {
			return nil, 0, nil, err
		}
		if len(events) > 0 {
			return events, through, nil, nil
		}
		after = through
	}
}

// following says whether a watcher that has seen everything up to after can go on.
func (s *Store) following(after store.Revision) error {
	if s.ended {
		return store.ErrClosed
	}
	return s.reachable(after)
}

// Revision implements store.Store.
func (s *Store) Revision() store.Revision {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.newest
}

func (s *Store) usable(ctx context.Context) error {
	if s.ended {
		return store.ErrClosed
	}
	return ctx.Err()
}

// reachable says whether the history at and after rev is known.
func (s *Store) reachable(rev store.Revision) error {
	if rev > s.newest {
		return store.ErrFuture
	}
	if rev < s.floor {
		return store.ErrCompacted
	}
	n := sort.Search(len(s.gaps), func(i int) bool { return rev <= s.gaps[i].last })
	if n < len(s.gaps) && s.gaps[n].first <= rev {
		return store.ErrCompacted
	}
	return nil
}

// Close implements store.Store: it writes what is lazy and lets go of the file.
func (s *Store) Close() error {
	s.close.Do(func() {
		close(s.closing)
		s.writing.Wait()
		s.mu.Lock()
		s.ended = true
		close(s.changed)
		s.mu.Unlock()
		if err := errors.Join(s.writer.last, s.db.Close()); err != nil {
			s.closed = fmt.Errorf("close store %s: %w", s.path, err)
		}
	})
	return s.closed
}
