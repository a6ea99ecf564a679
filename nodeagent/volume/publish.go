package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const dataLink = "..data"

// publish makes the directory show exactly these files, all of them changed at once: a new
// set is written beside the old one, and the link ..data turned to it by a rename. Readers
// that go through ..data see one set or the other. Nothing is written if nothing changed.
func publish(dir string, files map[string]file) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && same(filepath.Join(dir, old), files) {
		return nil
	}
	set, err := writeSet(dir, files)
	if err != nil {
		return fmt.Errorf("writing files: %w", err)
	}
	if err := turn(dir, set); err != nil {
		return fmt.Errorf("publishing files: %w", err)
	}
	if err := linkNames(dir, files); err != nil {
		return fmt.Errorf("linking files: %w", err)
	}
	if old != "" {
		return os.RemoveAll(filepath.Join(dir, old))
	}
	return nil
}

func writeSet(dir string, files map[string]file) (string, error) {
	set, err := os.MkdirTemp(dir, "..set-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(set, 0o755); err != nil {
		return "", err
	}
	for path, f := range files {
		full := filepath.Join(set, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(full, f.data, 0o600); err != nil {
			return "", err
		}
		if err := os.Chmod(full, fs.FileMode(f.mode)&fs.ModePerm); err != nil {
			return "", err
		}
	}
	return filepath.Base(set), nil
}

func turn(dir, set string) error {
	tmp := filepath.Join(dir, "..data_tmp")
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(set, tmp); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, dataLink))
}

// linkNames links the first element of every path, and removes links to what is gone.
func linkNames(dir string, files map[string]file) error {
	want := map[string]bool{}
	for path := range files {
		first, _, _ := strings.Cut(filepath.ToSlash(path), "/")
		want[first] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if want[name] {
			delete(want, name)
		} else if !strings.HasPrefix(name, "..") {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	for name := range want {
		if err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// same says whether the directory holds exactly the files.
func same(dir string, files map[string]file) bool {
	found := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		found++
		return sameFile(dir, path, files)
	})
	return err == nil && found == len(files)
}

var errDiffers = errors.New("the file differs")

func sameFile(dir, path string, files map[string]file) error {
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	f, ok := files[filepath.ToSlash(rel)]
	if !ok {
		return errDiffers
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() != int64(len(f.data)) {
		return errors.Join(errDiffers, err)
	}
	have, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(have, f.data) {
		return errors.Join(errDiffers, err)
	}
	return nil
}
