package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Restore puts a snapshot into the data directory of a control plane that does not run: a new
// directory, or one whose state it replaces. What it replaces is kept in DIR/replaced-TIME. ready is called
// with the path of the extracted state, to check it and to make it fit to be opened. Until everything has been
// checked nothing in the directory is changed. Errors: ErrDamaged; ready's.
func Restore(archive, dir string, ready func(state string) error) (Manifest, error) {
	f, err := os.Open(archive)
	if err != nil {
		return Manifest{}, err
	}
	defer f.Close() // only read
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Manifest{}, err
	}
	work, err := os.MkdirTemp(dir, ".restoring-*")
	if err != nil {
		return Manifest{}, err
	}
	m, err := Extract(f, work)
	if err == nil {
		err = ready(filepath.Join(work, stateName))
	}
	if err == nil {
		err = replace(dir, work)
	}
	if err := errors.Join(err, os.RemoveAll(work)); err != nil {
		return m, fmt.Errorf("restoring %s: %w", archive, err)
	}
	return m, nil
}

// replace moves what is in work to dir, the state last: a directory without one is one that a
// restore did not finish, and has no state that could be taken for the whole.
func replace(dir, work string) error {
	kept := filepath.Join(dir, "replaced-"+time.Now().UTC().Format(nameFormat))
	if err := setAside(dir, kept, stateName); err != nil {
		return err
	}
	for _, name := range []string{"pki", "registry", stateName} {
		from := filepath.Join(work, name)
		if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
			continue // without images
		}
		if err := setAside(dir, kept, name); err != nil {
			return err
		}
		if err := os.Rename(from, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// setAside moves a file or folder of dir, if there is one, to kept.
func setAside(dir, kept, name string) error {
	from := filepath.Join(dir, name)
	if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.MkdirAll(kept, 0o700); err != nil {
		return err
	}
	return os.Rename(from, filepath.Join(kept, name))
}
