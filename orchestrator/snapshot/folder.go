package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Folder keeps the snapshots that the control plane makes by itself, and those that are asked for.
type Folder struct {
	Path   string
	Source Source
	// Every is how often a snapshot is made; 0: never. Keep is how many are kept, at least 1.
	Every time.Duration
	Keep  int
	Log   *slog.Logger

	making sync.Mutex
}

// Entry is a snapshot in a folder.
type Entry struct {
	Name     string    `json:"name"`
	Revision uint64    `json:"revision"`
	Created  time.Time `json:"created"`
	Bytes    int64     `json:"bytes"`
}

const (
	suffix     = ".snapshot"
	nameFormat = "20060102T150405Z"
)

var nameForm = regexp.MustCompile(`^wherry-(\d{8}T\d{6}Z)-(\d{1,20})\.snapshot$`)

// parseName reads what the name of a snapshot says.
func parseName(name string) (Entry, bool) {
	m := nameForm.FindStringSubmatch(name)
	if m == nil {
		return Entry{}, false
	}
	created, err := time.Parse(nameFormat, m[1])
	if err != nil {
		return Entry{}, false
	}
	revision, err := strconv.ParseUint(m[2], 10, 64)
	return Entry{Name: name, Revision: revision, Created: created}, err == nil
}

// List returns the snapshots, the oldest first.
func (f *Folder) List() ([]Entry, error) {
	files, err := os.ReadDir(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing snapshots: %w", err)
	}
	var all []Entry
	for _, file := range files { // by name, so by time
		e, ok := parseName(file.Name())
		if !ok {
			continue
		}
		info, err := file.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("listing snapshots: %w", err)
		}
		e.Bytes = info.Size()
		all = append(all, e)
	}
	return all, nil
}

// Make adds a snapshot and removes those that are too many. Images are left out: they are on the
// same disk.
func (f *Folder) Make(ctx context.Context) (Entry, error) {
	f.making.Lock()
	defer f.making.Unlock()
	if err := os.MkdirAll(f.Path, 0o700); err != nil {
		return Entry{}, fmt.Errorf("making a snapshot: %w", err)
	}
	e, err := f.write(ctx)
	if err != nil {
		return Entry{}, err
	}
	return e, f.prune()
}

func (f *Folder) write(ctx context.Context) (Entry, error) {
	tmp, err := os.CreateTemp(f.Path, ".new-*")
	if err != nil {
		return Entry{}, fmt.Errorf("making a snapshot: %w", err)
	}
	m, err := f.Source.Write(ctx, tmp, f.Path, false)
	info, statErr := tmp.Stat()
	if err := errors.Join(err, statErr, tmp.Sync(), tmp.Close()); err != nil {
		return Entry{}, errors.Join(err, os.Remove(tmp.Name()))
	}
	e := Entry{Revision: m.Revision, Created: m.Created, Bytes: info.Size()}
	e.Name = fmt.Sprintf("wherry-%s-%d%s", m.Created.Format(nameFormat), m.Revision, suffix)
	if err := os.Rename(tmp.Name(), filepath.Join(f.Path, e.Name)); err != nil {
		return Entry{}, errors.Join(fmt.Errorf("making a snapshot: %w", err), os.Remove(tmp.Name()))
	}
	return e, nil
}

func (f *Folder) prune() error {
	all, err := f.List()
	if err != nil {
		return err
	}
	for len(all) > max(f.Keep, 1) {
		if err := os.Remove(filepath.Join(f.Path, all[0].Name)); err != nil {
			return fmt.Errorf("removing an old snapshot: %w", err)
		}
		all = all[1:]
	}
	return nil
}

// Open opens a snapshot of the folder. Errors: fs.ErrNotExist.
func (f *Folder) Open(name string) (*os.File, error) {
	if _, ok := parseName(name); !ok {
		return nil, fmt.Errorf("%q is no name of a snapshot: %w", name, fs.ErrNotExist)
	}
	return os.Open(filepath.Join(f.Path, name))
}

// Stream writes a new snapshot to w and keeps nothing.
func (f *Folder) Stream(ctx context.Context, w io.Writer, images bool) error {
	if err := os.MkdirAll(f.Path, 0o700); err != nil {
		return fmt.Errorf("making a snapshot: %w", err)
	}
	_, err := f.Source.Write(ctx, w, f.Path, images)
	return err
}

// Run removes what an earlier process has left half made, and makes a snapshot whenever one is due, until
// ctx ends.
func (f *Folder) Run(ctx context.Context) error {
	if err := f.sweep(); err != nil {
		f.Log.Warn("what is left of unfinished snapshots cannot be removed", "error", err)
	}
	if f.Every <= 0 {
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(f.due()):
		}
		if e, err := f.Make(ctx); err != nil && ctx.Err() == nil {
			f.Log.Error("no snapshot could be made", "error", err)
		} else if err == nil {
			f.Log.Info("made a snapshot", "name", e.Name, "bytes", e.Bytes)
		}
	}
}

// settle is how long a control plane has after its start before it makes a snapshot.
const settle = time.Minute

// due is how long it is until the next snapshot. A newest one of the future is the work of a wrong
// clock, then or now.
func (f *Folder) due() time.Duration {
	all, err := f.List()
	if err != nil || len(all) == 0 {
		return min(settle, f.Every)
	}
	newest := slices.MaxFunc(all, func(a, b Entry) int { return a.Created.Compare(b.Created) })
	age := time.Since(newest.Created)
	if age < 0 {
		return f.Every
	}
	return max(f.Every-age, min(settle, f.Every))
}

func (f *Folder) sweep() error {
	var errs []error
	for _, pattern := range []string{".new-*", ".making-*"} {
		left, err := filepath.Glob(filepath.Join(f.Path, pattern))
		errs = append(errs, err)
		for _, name := range left {
			errs = append(errs, os.RemoveAll(name))
		}
	}
	return errors.Join(errs...)
}
