package boltstore_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"wherry/orchestrator/store"
	"wherry/orchestrator/store/boltstore"
)

const page = 4096

// twoStates returns the file before and after its last commit.
func twoStates(t *testing.T) (before, after []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, path, boltstore.Options{})
	read := func() []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	value := strings.Repeat("v", 1000)
	for i := range 50 {
		commit(t, s, put("k/"+string(rune('A'+i)), value))
	}
	before = read()
	commit(t, s, put("last", value))
	after = read()
	if os.Getpagesize() != page {
		t.Skipf("pages of %d bytes", os.Getpagesize())
	}
	return before, after
}

// onlyNew spoils the pages that the last commit wrote, but not the metas.
func onlyNew(before, after []byte) []byte {
	b := bytes.Clone(after)
	for at := 2 * page; at < len(b); at += page {
		if at >= len(before) || !bytes.Equal(before[at:at+page], after[at:at+page]) {
			spoil(b, at)
		}
	}
	return b
}

func spoil(b []byte, at int) {
	for i := at; i < at+page; i++ {
		b[i] ^= 0x5a
	}
}

// newestMeta is the offset of the description that holds.
func newestMeta(b []byte) int {
	if binary.NativeEndian.Uint64(b[16+48:]) > binary.NativeEndian.Uint64(b[page+16+48:]) {
		return 0
	}
	return page
}

func TestATornFileIsRepairedOrRefused(t *testing.T) {
	before, after := twoStates(t)
	for _, c := range []struct {
		name   string
		damage func() []byte
		want   error
		keys   int // that are still there
	}{
		{"whole", func() []byte { return after }, nil, 51},
		{"the last meta page is torn", func() []byte {
			b := bytes.Clone(after)
			b[newestMeta(b)+40]++
			return b
		}, nil, 50},
		{"the pages of the last commit are torn", func() []byte { return onlyNew(before, after) }, nil, 50},
		{"the meta page says more than there is", func() []byte {
			return after[:len(after)/3]
		}, boltstore.ErrDamaged, 0},
		{"every page is torn", func() []byte {
			b := bytes.Clone(after)
			for at := 2 * page; at < len(b); at += page {
				spoil(b, at)
			}
			return b
		}, boltstore.ErrDamaged, 0},
		{"both meta pages are torn", func() []byte {
			b := bytes.Clone(after)
			spoil(b, 0)
			spoil(b, page)
			return b
		}, boltstore.ErrDamaged, 0},
		{"empty", func() []byte { return nil }, boltstore.ErrDamaged, 0},
		{"text", func() []byte { return bytes.Repeat([]byte("hello\n"), 5000) }, boltstore.ErrDamaged, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.db")
			damaged := c.damage()
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := boltstore.Open(path, boltstore.Options{Logger: slog.New(slog.DiscardHandler)})
			if !errors.Is(err, c.want) {
				t.Fatalf("open: %v, want %v", err, c.want)
			}
			if c.want != nil {
				refused(t, path, damaged, err)
				return
			}
			defer s.Close()
			usable(t, s, c.keys)
		})
	}
}

func refused(t *testing.T, path string, damaged []byte, err error) {
	t.Helper()
	if !strings.Contains(err.Error(), "restore a snapshot") || !strings.Contains(err.Error(), path) {
		t.Errorf("the error does not say what to do with which file: %v", err)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, damaged) {
		t.Errorf("the file was changed, or is gone: %v", err)
	}
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func usable(t *testing.T, s *boltstore.Store, keys int) {
	t.Helper()
	p, err := s.List(t.Context(), "", store.ListOptions{})
	if err != nil || len(p.Entries) != keys {
		t.Errorf("%d keys, want %d: %v", len(p.Entries), keys, err)
	}
	if rev := commit(t, s, put("new", "1")); rev <= 51 {
		t.Errorf("revision %d is given a second time", rev)
	}
}

func TestTheDamagedFileIsKept(t *testing.T) {
	before, after := twoStates(t)
	path := filepath.Join(t.TempDir(), "store.db")
	torn := onlyNew(before, after)
	if err := os.WriteFile(path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	open(t, path, boltstore.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	kept, err := filepath.Glob(path + ".damaged-*")
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept: %v, %v", kept, err)
	}
	if b, err := os.ReadFile(kept[0]); err != nil || !bytes.Equal(b, torn) {
		t.Errorf("what is kept is not the damaged file: %v", err)
	}
	if !strings.Contains(log.String(), kept[0]) {
		t.Errorf("the log does not name it: %s", &log)
	}
}

func TestAnotherFormatIsRefused(t *testing.T) {
	for name, change := range map[string]func(tx *bbolt.Tx) error{
		"a newer one": func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("meta")).Put([]byte("format"), []byte{0, 0, 0, 2})
		},
		"somebody else's": func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("records")) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.db")
			s, err := boltstore.Open(path, boltstore.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			db, err := bbolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(db.Update(change), db.Close()); err != nil {
				t.Fatal(err)
			}
			if _, err := boltstore.Open(path, boltstore.Options{}); !errors.Is(err, boltstore.ErrFormat) {
				t.Errorf("open: %v, want ErrFormat", err)
			}
		})
	}
}
