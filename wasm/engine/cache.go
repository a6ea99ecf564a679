package engine

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
)

// maxCache is how large the cache may be when an engine starts; the oldest files go first.
const maxCache = 2 << 30

// abandoned is the age of a temporary file that nobody is writing any more.
const abandoned = time.Hour

// openCache opens the cache of compiled code in dir, or one in memory.
func openCache(dir string, shared bool) (wazero.CompilationCache, error) {
	if dir == "" {
		return wazero.NewCompilationCache(), nil
	}
	if shared {
		return wazero.NewCompilationCacheWithDir(dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := pruneCache(dir, maxCache); err != nil {
		return nil, err
	}
	return wazero.NewCompilationCacheWithDir(dir)
}

type cached struct {
	path string
	fs.FileInfo
}

// listCache returns the files of the cache.
func listCache(dir string) (files []cached, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		files = append(files, cached{path, info})
		return err
	})
	return files, err
}

// pruneCache removes the oldest files beyond limit bytes, and what an unclean end left.
func pruneCache(dir string, limit int64) error {
	files, err := listCache(dir)
	if err != nil {
		return err
	}
	slices.SortFunc(files, func(a, b cached) int { return cmp.Compare(b.ModTime().UnixNano(), a.ModTime().UnixNano()) })
	for _, f := range files {
		left := strings.HasSuffix(f.path, ".tmp") && time.Since(f.ModTime()) > abandoned
		if limit -= f.Size(); limit < 0 || left {
			if err := os.Remove(f.path); err != nil {
				return err
			}
		}
	}
	return nil
}

// clearCache removes all files.
func clearCache(dir string) error { return pruneCache(dir, -1) }
