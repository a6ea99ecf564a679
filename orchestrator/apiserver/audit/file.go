package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// file is a log that starts anew when it is full, and keeps some of its past: PATH, then PATH.1, the newest, to
// PATH.N. One goroutine uses it.
type file struct {
	path  string
	max   int64 // bytes of each
	keep  int   // how many there are beside PATH
	open  *os.File
	bytes int64
}

// write appends lines.
func (f *file) write(b []byte) error {
	if f.open == nil {
		if err := f.begin(); err != nil {
			return err
		}
	}
	if f.bytes > 0 && f.bytes+int64(len(b)) > f.max {
		if err := f.turn(); err != nil {
			return err
		}
	}
	n, err := f.open.Write(b)
	f.bytes += int64(n)
	if err != nil {
		return errors.Join(fmt.Errorf("write the audit log: %w", err), f.close())
	}
	return nil
}

func (f *file) begin() error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	open, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	info, err := open.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("open the audit log: %w", err), open.Close())
	}
	f.open, f.bytes = open, info.Size()
	return nil
}

// turn makes PATH PATH.1, and so on, and begins anew.
func (f *file) turn() error {
	if err := f.close(); err != nil {
		return err
	}
	for i := f.keep; i >= 1; i-- {
		from := f.path
		if i > 1 {
			from = f.old(i - 1)
		}
		if err := os.Rename(from, f.old(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("turn the audit log: %w", err)
		}
	}
	if f.keep == 0 {
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("turn the audit log: %w", err)
		}
	}
	return f.begin()
}

func (f *file) old(i int) string { return fmt.Sprintf("%s.%d", f.path, i) }

func (f *file) close() error {
	if f.open == nil {
		return nil
	}
	open := f.open
	f.open = nil
	if err := open.Close(); err != nil {
		return fmt.Errorf("close the audit log: %w", err)
	}
	return nil
}
