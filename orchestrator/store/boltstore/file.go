package boltstore

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"wherry/orchestrator/store/internal/mvcc"
)

// format is the only one that this package reads and writes.
const format = 1

var (
	keyFormat   = []byte("format")
	keyID       = []byte("id")
	keyCounters = []byte("counters")
)

// file is an open file and what has been read from it.
type file struct {
	db *bbolt.DB
	id string
	counters
	gaps   []gap
	index  mvcc.Index
	events int   // records behind swept
	bytes  int64 // what they will free
}

// openFile opens the file at path, made or repaired if need be, for writing.
func openFile(path string, o Options) (*file, error) {
	if err := ensure(path); err != nil {
		return nil, err
	}
	f, err := readFile(path, o)
	if errors.Is(err, ErrDamaged) {
		f, err = repair(path, o, err)
	}
	if err != nil {
		return nil, err
	}
	if err := f.begin(); err != nil {
		return nil, errors.Join(err, f.db.Close())
	}
	return f, nil
}

// ensure makes the file if there is none. It appears whole or not at all.
func ensure(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := makeFile(dir, filepath.Base(path))
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	if err := publish(tmp, path); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	return syncDir(dir)
}

// publish gives a complete file its name, unless another process has been faster.
func publish(tmp, path string) error {
	err := os.Link(tmp, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return os.Remove(tmp)
	}
	// The file system knows no links.
	return os.Rename(tmp, path)
}

// makeFile writes an empty store under a name of its own.
func makeFile(dir, base string) (name string, err error) {
	f, err := os.CreateTemp(dir, base+".new-*")
	if err != nil {
		return "", err
	}
	name = f.Name()
	if err := f.Close(); err != nil {
		return "", err
	}
	db, err := bbolt.Open(name, 0o600, boltOptions(Options{}))
	if err != nil {
		return "", err
	}
	if err := errors.Join(db.Update(initialize), db.Close()); err != nil {
		return "", errors.Join(err, os.Remove(name))
	}
	return name, nil
}

func initialize(tx *bbolt.Tx) error {
	for _, name := range [][]byte{bucketMeta, bucketGaps, bucketRecords} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	id := make([]byte, 16)
	rand.Read(id) //nolint:errcheck // never fails
	meta := tx.Bucket(bucketMeta)
	return errors.Join(
		meta.Put(keyFormat, binary.BigEndian.AppendUint32(nil, format)),
		meta.Put(keyID, id),
		meta.Put(keyCounters, counters{}.bytes()),
	)
}

func boltOptions(o Options) *bbolt.Options {
	return &bbolt.Options{Timeout: o.LockTimeout, FreelistType: bbolt.FreelistMapType, NoStatistics: true}
}

// readFile opens the file and reads it into memory, all but the values.
// Errors: ErrInUse, ErrDamaged, ErrFormat.
func readFile(path string, o Options) (*file, error) {
	if err := inspect(path); err != nil {
		return nil, err
	}
	f := &file{}
	var held *os.File
	options := boltOptions(o)
	options.OpenFile = func(name string, flag int, perm fs.FileMode) (opened *os.File, err error) {
		held, err = os.OpenFile(name, flag, perm)
		return held, err
	}
	err := guarded(func() (err error) {
		if f.db, err = bbolt.Open(path, 0o600, options); err != nil {
			return err
		}
		return f.db.View(f.read)
	})
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, berrors.ErrTimeout):
		return nil, ErrInUse
	case f.db != nil:
		return nil, errors.Join(err, f.db.Close())
	case errors.Is(err, ErrDamaged) && held != nil:
		// bbolt gave up half-way: what it maps is lost, the lock must not be.
		return nil, errors.Join(err, unlock(held), held.Close())
	}
	return nil, err
}

// guarded runs do on a file that may be torn. bbolt trusts its file: where that is wrong
// it panics, or reads memory behind the file's end.
func guarded(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	return do()
}

func (f *file) read(tx *bbolt.Tx) error {
	if err := f.readMeta(tx); err != nil {
		return err
	}
	if err := f.readGaps(tx); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return tx.Bucket(bucketRecords).ForEach(func(k, v []byte) error {
		if err := f.readRecord(k, v); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return nil
	})
}

func (f *file) readMeta(tx *bbolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	if meta == nil || tx.Bucket(bucketGaps) == nil || tx.Bucket(bucketRecords) == nil {
		return fmt.Errorf("%w: it is not a store", ErrFormat)
	}
	if b := meta.Get(keyFormat); len(b) != 4 || binary.BigEndian.Uint32(b) != format {
		return fmt.Errorf("%w: %x instead of %d; use the release that wrote it", ErrFormat, b, format)
	}
	var err error
	if f.counters, err = parseCounters(meta.Get(keyCounters)); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	id := meta.Get(keyID)
	if len(id) != 16 {
		return fmt.Errorf("%w: it has no id", ErrDamaged)
	}
	f.id = hex.EncodeToString(id)
	return nil
}

func (f *file) readGaps(tx *bbolt.Tx) error {
	return tx.Bucket(bucketGaps).ForEach(func(k, v []byte) error {
		g, err := parseGap(k, v)
		f.gaps = append(f.gaps, g)
		return err
	})
}

func (f *file) readRecord(k, v []byte) error {
	p, err := parsePlace(k)
	if err != nil {
		return err
	}
	r, err := parseRecord(v)
	if err != nil {
		return fmt.Errorf("record %d.%d: %w", p.revision, p.ordinal, err)
	}
	if p.revision > f.newest {
		return fmt.Errorf("record %d.%d lies in the future", p.revision, p.ordinal)
	}
	f.index.Put(string(r.key), mvcc.Version{Created: r.created, Revision: p.revision, Ordinal: p.ordinal, Deleted: r.deleted})
	if p.revision > f.swept {
		f.events++
		f.bytes += int64(r.prevSize)
	}
	return nil
}

// begin steps over the revisions that may have been shown and lost, and reserves those
// that may be shown from now on.
func (f *file) begin() error {
	if f.ceiling != f.newest {
		f.lose()
	}
	f.ceiling = f.newest + reserve
	err := f.db.Update(func(tx *bbolt.Tx) error {
		if n := len(f.gaps); n > 0 {
			if err := tx.Bucket(bucketGaps).Put(f.gaps[n-1].key(), f.gaps[n-1].value()); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketMeta).Put(keyCounters, f.counters.bytes())
	})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	return nil
}

// lose makes the revisions up to ceiling a gap, joined with the last one if there has been
// no commit since: a store that crashes again and again does not collect gaps.
func (f *file) lose() {
	lost := gap{f.newest + 1, f.ceiling}
	if n := len(f.gaps); n > 0 && f.gaps[n-1].last+1 == f.newest {
		lost.first = f.gaps[n-1].first
		f.gaps = f.gaps[:n-1]
	}
	f.gaps = append(f.gaps, lost)
	f.newest = f.ceiling + 1
}

// ID names the file's history for its whole life: 32 hexadecimal digits.
func (s *Store) ID() string { return s.id }
