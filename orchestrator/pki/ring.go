package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A ring is a directory of keys, one file each, numbered in the order in which they were
// made: the highest number is the newest. Keys are added and never removed: what was made
// with an old one may still be about, in the history of the state or in a snapshot.

const (
	keySuffix = ".key"
	// maxKeys bounds a ring; maxKeyFile one file, in bytes.
	maxKeys    = 1000
	maxKeyFile = 16 << 10
)

// readRing returns the files' content, oldest first, and the highest number. A directory that does not exist
// is an empty ring.
func readRing(dir string) (keys [][]byte, newest int, err error) {
	entries, err := os.ReadDir(dir) // sorted by name, and names are of one length
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the keys: %w", err)
	}
	for _, e := range entries {
		n, ok := ringNumber(e.Name())
		if !ok {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, 0, fmt.Errorf("read a key: %w", err)
		}
		if len(data) > maxKeyFile || len(keys) == maxKeys {
			return nil, 0, fmt.Errorf("%s: too many keys, or %s is no key", dir, e.Name())
		}
		keys, newest = append(keys, data), n
	}
	return keys, newest, nil
}

func ringNumber(name string) (int, bool) {
	number, ok := strings.CutSuffix(name, keySuffix)
	if !ok || len(number) != 6 {
		return 0, false
	}
	n, err := strconv.Atoi(number)
	return n, err == nil && n > 0
}

// addToRing keeps a key under the next number. It is on the disk when addToRing returns.
func addToRing(dir string, number int, key []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of the keys: %w", err)
	}
	if err := writeFile(filepath.Join(dir, fmt.Sprintf("%06d%s", number, keySuffix)), key); err != nil {
		return fmt.Errorf("write a key: %w", err)
	}
	if err := errors.Join(syncDir(dir), syncDir(filepath.Dir(dir))); err != nil {
		return fmt.Errorf("write a key: %w", err)
	}
	return nil
}
