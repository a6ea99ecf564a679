package boltstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/bbolt"

	"wherry/orchestrator/store"
)

// leap is how many revisions a restored store steps over. A copy does not know what was given
// after it was made; at a million commits a second it would be out of date after twelve days, and
// 2^64 revisions have room for millions of restores.
const leap = 1 << 40

// Snapshot copies the store, as readers see it at the returned revision, into a new file that
// Open reads. Others go on reading and writing meanwhile. Errors: store.ErrClosed, the context's.
func (s *Store) Snapshot(ctx context.Context, path string) (store.Revision, error) {
	tx, at, err := s.freeze(ctx)
	if err != nil {
		return 0, fmt.Errorf("snapshot of store: %w", err)
	}
	err = writeSnapshot(tx, path)
	if err := errors.Join(err, tx.Rollback()); err != nil {
		return 0, fmt.Errorf("snapshot of store: %w", err)
	}
	return at, nil
}

// freeze begins a transaction that sees everything that has been shown. While it is open the file
// can only grow as far as it is mapped: the caller does not keep it for others.
func (s *Store) freeze(ctx context.Context) (tx *bbolt.Tx, at store.Revision, err error) {
	err = s.between(ctx, func() error {
		if len(s.writer.lazy) > 0 {
			if err := s.persist(nil, s.floor, s.newest+reserve); err != nil {
				return err
			}
		}
		at = s.newest
		tx, err = s.db.Begin(false)
		return err
	})
	return tx, at, err
}

func writeSnapshot(tx *bbolt.Tx, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = tx.WriteTo(f)
	return errors.Join(err, f.Sync(), f.Close())
}

// Restored checks the copy at path, every page of it, and has it step over all revisions that may
// have been given since it was made: from a revision of that time List and Watch answer
// store.ErrCompacted. It is called once for each copy that is to be opened in place of a lost
// store. Errors: ErrDamaged, ErrFormat, ErrInUse.
func Restored(path string) error {
	f, err := readFile(path, Options{LockTimeout: time.Second})
	if err != nil {
		return fmt.Errorf("restoring store %s: %w", path, err)
	}
	err = guarded(func() error { return f.db.View(checkAll) })
	if err == nil {
		f.ceiling = max(f.ceiling, f.newest) + leap
		err = f.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyCounters, f.counters.bytes()) })
	}
	if err := errors.Join(err, f.db.Close()); err != nil {
		return fmt.Errorf("restoring store %s: %w", path, err)
	}
	return nil
}

// Hold keeps everybody from opening the store at path, until release is called. A store that does
// not exist is held by nobody. Errors: ErrInUse.
func Hold(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	if err := lock(f, time.Second); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}
