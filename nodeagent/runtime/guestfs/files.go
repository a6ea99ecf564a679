package guestfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"wherry/nodeagent/runtime"
)

// FS is the files of a container.
type FS struct {
	dir    string  // where relative paths begin
	mounts []mount // the deepest first
}

// mount is a place where files of the host appear.
type mount struct {
	guest    string // clean and absolute
	root     *os.Root
	file     string // the only one in root that is mounted; "": the directory itself
	readOnly bool
}

// place is where a path of the container is.
type place struct {
	*mount
	name string // below root
}

// Open opens the mounts of a container. The caller closes it.
func Open(mounts []runtime.Mount, dir string) (*FS, error) {
	f := &FS{dir: path.Join("/", filepath.ToSlash(dir))}
	for _, m := range mounts {
		opened, err := open(m)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("mount %s: %w", m.Guest, err), f.Close())
		}
		f.mounts = append(f.mounts, opened)
	}
	slices.SortStableFunc(f.mounts, func(a, b mount) int { return len(b.guest) - len(a.guest) })
	return f, nil
}

func open(m runtime.Mount) (mount, error) {
	host, err := filepath.EvalSymlinks(m.Host)
	if err != nil {
		return mount{}, err
	}
	info, err := os.Stat(host)
	if err != nil {
		return mount{}, err
	}
	opened := mount{guest: path.Join("/", m.Guest), readOnly: m.ReadOnly}
	if !info.IsDir() {
		opened.file, host = filepath.Base(host), filepath.Dir(host)
	}
	opened.root, err = os.OpenRoot(host)
	return opened, err
}

// Close closes the mounts.
func (f *FS) Close() error {
	var errs []error
	for _, m := range f.mounts {
		errs = append(errs, m.root.Close())
	}
	return errors.Join(errs...)
}

// abs makes a path of the container absolute and clean: ".." ends at the root.
func (f *FS) abs(name string) string {
	if !path.IsAbs(name) {
		name = path.Join(f.dir, name)
	}
	return path.Clean(name)
}

// at finds an absolute path; fs.ErrNotExist: it is in no mount.
func (f *FS) at(abs string) (place, error) {
	for i := range f.mounts {
		m := &f.mounts[i]
		if abs == m.guest {
			return place{m, cmpOr(m.file, ".")}, nil
		}
		if rest, ok := strings.CutPrefix(abs, strings.TrimSuffix(m.guest, "/")+"/"); ok && m.file == "" {
			return place{m, rest}, nil
		}
	}
	return place{}, fs.ErrNotExist
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// between says whether a path is only on the way to a mount.
func (f *FS) between(abs string) bool {
	return slices.ContainsFunc(f.mounts, func(m mount) bool {
		return strings.HasPrefix(m.guest, strings.TrimSuffix(abs, "/")+"/")
	})
}

// writable finds a path that may be written to.
func (f *FS) writable(abs string) (place, error) {
	p, err := f.at(abs)
	switch {
	case err != nil:
		return p, fmt.Errorf("it is in no volume of the container: %w", syscall.EROFS)
	case p.readOnly:
		return p, syscall.EROFS
	}
	return p, nil
}

// isDir says whether a path is a directory, links followed.
func (f *FS) isDir(abs string) bool {
	info, err := f.stat(abs)
	return err == nil && info.IsDir() || err != nil && f.between(abs)
}

func (f *FS) stat(abs string) (fs.FileInfo, error) {
	p, err := f.at(abs)
	if err != nil {
		return nil, err
	}
	return p.root.Stat(p.name)
}

// names are those in a directory, with the mounts below it.
func (f *FS) names(abs string) ([]string, error) {
	var all []string
	if p, err := f.at(abs); err == nil {
		d, err := p.root.Open(p.name)
		if err == nil {
			all, err = d.Readdirnames(-1)
			_ = d.Close() // it was only read
		}
		if err != nil && !f.between(abs) {
			return nil, err
		}
	}
	for _, m := range f.mounts {
		if rest, ok := strings.CutPrefix(m.guest, strings.TrimSuffix(abs, "/")+"/"); ok {
			name, _, _ := strings.Cut(rest, "/")
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// ReadFile returns a regular file of the container that has no more than so many bytes.
func (f *FS) ReadFile(name string, most int64) ([]byte, error) {
	p, err := f.at(f.abs(name))
	if err != nil {
		return nil, fmt.Errorf("no such file in the container's mounts: %w", err)
	}
	info, err := p.root.Stat(p.name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is no regular file")
	case info.Size() > most:
		return nil, fmt.Errorf("it has more than %d bytes", most)
	}
	file, err := p.root.Open(p.name)
	if err != nil {
		return nil, err
	}
	defer file.Close() // it was only read
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("it has more than %d bytes", most)
	}
	return data, err
}
