package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"go.etcd.io/bbolt"
)

// bbolt begins its file with two pages that each describe a whole tree: the one with
// the higher transaction holds, the other is what was before. Both are
//
//	page header | magic | version | page size | flags | root, sequence | free list | pages | transaction | checksum
//	16            4       4         4           4       8, 8             8           8       8             8
//
// in the byte order of the machine.
type metaPage struct {
	offset      int64
	pageSize    int64
	pages       int64 // the tree lies within so many pages
	transaction uint64
}

const (
	metaHeader = 16
	metaSize   = 64
	metaMagic  = 0xED0CDAED
)

// inspect says whether bbolt may map the file: its tree must lie within it.
func inspect(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	metas, err := readMetas(f)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if m := metas[0]; m.pages*m.pageSize > info.Size() {
		return fmt.Errorf("%w: %d bytes long, %d are missing", ErrDamaged, info.Size(), m.pages*m.pageSize-info.Size())
	}
	return nil
}

// readMetas returns the one or two descriptions that are whole, the newest first.
func readMetas(f io.ReaderAt) ([]metaPage, error) {
	first, ok := readMeta(f, 0)
	if ok {
		second, ok := readMeta(f, first.pageSize)
		if !ok {
			return []metaPage{first}, nil
		}
		if second.transaction > first.transaction {
			first, second = second, first
		}
		return []metaPage{first, second}, nil
	}
	for size := int64(1 << 10); size <= 1<<24; size <<= 1 {
		if second, ok := readMeta(f, size); ok && second.pageSize == size {
			return []metaPage{second}, nil
		}
	}
	return nil, fmt.Errorf("%w: it has no beginning", ErrDamaged)
}

func readMeta(f io.ReaderAt, offset int64) (metaPage, bool) {
	var b [metaSize]byte
	if _, err := f.ReadAt(b[:], offset+metaHeader); err != nil {
		return metaPage{}, false
	}
	sum := fnv.New64a()
	sum.Write(b[:56]) //nolint:errcheck // never fails
	order := binary.NativeEndian
	if order.Uint32(b[:]) != metaMagic || order.Uint64(b[56:]) != sum.Sum64() {
		return metaPage{}, false
	}
	return metaPage{
		offset:      offset,
		pageSize:    int64(order.Uint32(b[8:])),
		pages:       int64(order.Uint64(b[40:])),
		transaction: order.Uint64(b[48:]),
	}, true
}

// repair goes back to what the file was one transaction ago, if that is whole, and keeps
// the damaged file beside it. Otherwise it leaves everything as it is.
func repair(path string, o Options, cause error) (*file, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	if err := lock(f, o.LockTimeout); err != nil {
		return nil, err
	}
	metas, err := readMetas(f)
	if err != nil || len(metas) < 2 {
		return nil, beyondRepair(cause)
	}
	older, err := revert(f, path, metas[0])
	if err != nil {
		return nil, errors.Join(beyondRepair(cause), err)
	}
	kept := fmt.Sprintf("%s.damaged-%d", path, time.Now().Unix())
	if err := copyFile(f, kept); err != nil {
		return nil, errors.Join(cause, err, os.Remove(older))
	}
	if runtime.GOOS == "windows" { // which renames no open file
		f.Close()
	}
	if err := errors.Join(os.Rename(older, path), syncDir(filepath.Dir(path))); err != nil {
		return nil, errors.Join(cause, err)
	}
	o.Logger.Warn("store: the file was damaged; its last transaction is lost", "file", path, "kept", kept, "error", cause)
	f.Close()
	return readFile(path, o)
}

func beyondRepair(cause error) error {
	return fmt.Errorf("%w; restore a snapshot with `wherry snapshot restore`, or move the file away to begin with an empty store", cause)
}

// revert writes a copy of the file without the newest description and checks it in full.
func revert(f *os.File, path string, newest metaPage) (string, error) {
	name := path + ".repair"
	err := copyFile(f, name)
	if err == nil {
		err = invalidate(name, newest)
	}
	if err == nil {
		err = checkFile(name)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(name))
	}
	return name, nil
}

func checkFile(name string) error {
	f, err := readFile(name, Options{LockTimeout: time.Second})
	if err != nil {
		return err
	}
	err = guarded(func() error { return f.db.View(checkAll) })
	return errors.Join(err, f.db.Close())
}

// checkAll reads every page and every record.
func checkAll(tx *bbolt.Tx) error {
	var found error
	for err := range tx.Check() {
		found = err
	}
	if found != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, found)
	}
	return tx.Bucket(bucketRecords).ForEach(func(k, v []byte) error {
		if _, err := verifyRecord(v); err != nil {
			return fmt.Errorf("%w: record %x: %w", ErrDamaged, k, err)
		}
		return nil
	})
}

// invalidate spoils the checksum of a description.
func invalidate(name string, m metaPage) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, 8), m.offset+metaHeader+metaSize-8)
	return errors.Join(err, f.Sync(), f.Close())
}

// copyFile writes all of f to a file that is new or replaced.
func copyFile(f *os.File, name string) error {
	to, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, io.NewSectionReader(f, 0, 1<<62))
	return errors.Join(err, to.Sync(), to.Close())
}
