package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// file is one that is being written. It is discarded, unless it was committed before.
type file struct {
	*os.File
	done bool
}

func (i *Images) create() (*file, error) {
	f, err := os.CreateTemp(i.tmp(), "") // 0600
	if err != nil {
		return nil, fmt.Errorf("create a temporary file: %w", err)
	}
	return &file{File: f}, nil
}

// commit makes the file durable under its name, complete or not at all.
func (f *file) commit(name string) error {
	f.done = true
	err := errors.Join(f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err == nil {
		err = syncDir(filepath.Dir(name))
	}
	if err != nil {
		_ = os.Remove(f.Name()) // what is left is removed at the next start
		return fmt.Errorf("keep %s: %w", name, err)
	}
	return nil
}

func (f *file) discard() {
	if !f.done {
		// Nobody reads it any more, and the next start removes what is left.
		_ = f.Close()
		_ = os.Remove(f.Name())
	}
}
