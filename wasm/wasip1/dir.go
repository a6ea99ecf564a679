package wasip1

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	pathpkg "path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// mount is a directory of the host that guests reach below a preopened descriptor.
type mount struct {
	root     *os.Root
	readOnly bool
}

// dir is an open directory.
type dir struct {
	// root ends every lookup at this directory. It is nil for one that only has single-file mounts.
	root  *os.Root
	mount *mount
	// path is where below the mount the directory was when it was opened.
	path string
	// files are the single-file mounts of a preopened directory, by name. They hide what root has there.
	files map[string]place
	list  listing
}

// place is where a path of the guest leads: a name to be looked up below root, which refuses to leave itself.
type place struct {
	root     *os.Root
	name     string
	readOnly bool
	// pinned names a single-file mount: it cannot be removed, renamed or replaced.
	pinned bool
}

// openMounts opens the mounts: a descriptor for each directory, and one for each directory of the guest that
// has nothing but single files.
func (s *System) openMounts(mounts []Mount) ([]*descriptor, error) {
	var dirs []*descriptor
	byPath := map[string]*dir{}
	preopened := func(path string) *dir {
		path = pathpkg.Clean("/" + path)
		d := byPath[path]
		if d == nil {
			d = &dir{path: "."}
			byPath[path] = d
			dirs = append(dirs, &descriptor{object: d, rights: dirRights, inheriting: dirRights | fileRights, preopen: path})
		}
		return d
	}
	for _, m := range mounts {
		host, err := filepath.EvalSymlinks(m.Host)
		if err != nil {
			return nil, fmt.Errorf("wasip1: mount %s: %w", m.Guest, err)
		}
		info, err := os.Stat(host)
		if err != nil {
			return nil, fmt.Errorf("wasip1: mount %s: %w", m.Guest, err)
		}
		parent := host
		if !info.IsDir() {
			parent = filepath.Dir(host)
		}
		opened, err := s.openMount(parent, m.ReadOnly)
		if err != nil {
			return nil, fmt.Errorf("wasip1: mount %s: %w", m.Guest, err)
		}
		if info.IsDir() {
			d := preopened(m.Guest)
			if d.root != nil {
				return nil, fmt.Errorf("wasip1: mount %s: mounted twice", m.Guest)
			}
			d.root, d.mount = opened.root, opened
			continue
		}
		d := preopened(pathpkg.Dir(pathpkg.Clean("/" + m.Guest)))
		if d.files == nil {
			d.files = map[string]place{}
		}
		d.files[pathpkg.Base(m.Guest)] = place{opened.root, filepath.Base(host), m.ReadOnly, true}
	}
	return dirs, nil
}

func (s *System) openMount(host string, readOnly bool) (*mount, error) {
	root, err := os.OpenRoot(host)
	if err != nil {
		return nil, err
	}
	m := &mount{root, readOnly}
	s.mounts = append(s.mounts, m)
	return m, nil
}

func (d *dir) filetype() filetype { return typeDirectory }

func (d *dir) close() errno {
	d.list.reset()
	if d.root == nil || d.root == d.mount.root {
		return success // the System closes its mounts
	}
	return errnoOf(d.root.Close())
}

// at tells where a path leads. A place without a root is d itself, without anything of the host.
func (d *dir) at(path string) (place, errno) {
	if strings.HasPrefix(path, "/") {
		return place{}, enotcapable
	}
	if p, ok := d.files[pathpkg.Clean(path)]; ok {
		if strings.HasSuffix(path, "/") {
			return place{}, enotdir
		}
		return p, success
	}
	if d.root != nil {
		return place{root: d.root, name: path, readOnly: d.mount.readOnly}, success
	}
	switch clean := pathpkg.Clean(path); {
	case clean == ".":
		return place{readOnly: true, pinned: true}, success
	case strings.HasPrefix(clean, ".."):
		return place{}, enotcapable
	}
	return place{}, enoent
}

func (p place) stat(follow bool) (fs.FileInfo, error) {
	switch {
	case p.root == nil:
		return emptyDir{}, nil
	case follow:
		return p.root.Stat(p.name)
	}
	return p.root.Lstat(p.name)
}

// changeable tells whether the entry may be created, removed or renamed.
func (p place) changeable() errno {
	switch last := pathpkg.Base(p.name); {
	case p.readOnly:
		return erofs
	case p.pinned:
		return ebusy
	case last == "." || last == "..":
		return einval
	}
	return success
}

// emptyDir describes a directory that is not on the host.
type emptyDir struct{}

func (emptyDir) Name() string       { return "." }
func (emptyDir) Size() int64        { return 0 }
func (emptyDir) Mode() fs.FileMode  { return fs.ModeDir | 0o555 }
func (emptyDir) ModTime() time.Time { return time.Time{} }
func (emptyDir) IsDir() bool        { return true }
func (emptyDir) Sys() any           { return nil }

// open opens a directory below d.
func (d *dir) open(p place) (*dir, error) {
	if p.root == nil {
		return &dir{path: ".", files: d.files}, nil
	}
	root, err := p.root.OpenRoot(p.name)
	if err != nil {
		return nil, err
	}
	opened := &dir{root: root, mount: d.mount, path: pathpkg.Join(d.path, p.name)}
	if pathpkg.Clean(p.name) == "." {
		opened.files = d.files
	}
	return opened, nil
}

// below returns p as a place of the mount, so that it can be used together with one of another directory of the
// mount. It fails with EXDEV when the directory was moved since it was opened.
func (d *dir) below(p place) (place, errno) {
	here, err := d.root.Stat(".")
	if err != nil {
		return place{}, errnoOf(err)
	}
	there, err := d.mount.root.Stat(d.path)
	if err != nil || !os.SameFile(here, there) {
		return place{}, exdev
	}
	if !filepath.IsLocal(filepath.FromSlash(p.name)) {
		return place{}, enotcapable
	}
	slash := ""
	if strings.HasSuffix(p.name, "/") {
		slash = "/"
	}
	p.root, p.name = d.mount.root, pathpkg.Join(d.path, p.name)+slash
	return p, success
}

// together makes two places comparable, so that one system call can name both.
func together(d *dir, p place, e *dir, q place) (place, place, errno) {
	if p.root == q.root {
		return p, q, success
	}
	if p.root == nil || q.root == nil || p.pinned || q.pinned || d.mount != e.mount {
		return p, q, exdev
	}
	p, err := d.below(p)
	if err != success {
		return p, q, err
	}
	q, err = e.below(q)
	return p, q, err
}

// listing reads a directory in windows, so that its size has no bound. A cookie is the index of an entry: ".", "..",
// single-file mounts, then the host's entries in the host's order.
type listing struct {
	names  []string // single-file mounts, sorted
	f      *os.File
	window []fs.DirEntry
	base   uint64 // index of window[0]
	ended  bool
}

const listingWindow = 256

// entry is one of a listing.
type entry struct {
	name string
	kind filetype
}

func (l *listing) reset() {
	if l.f != nil {
		_ = l.f.Close() // it was only read
	}
	*l = listing{}
}

// entry returns the entry with an index, or false after the last.
func (d *dir) entry(index uint64) (entry, bool, error) {
	if index == 0 || d.list.names == nil {
		d.list.reset()
		d.list.names = make([]string, 0, len(d.files))
		for name := range d.files {
			d.list.names = append(d.list.names, name)
		}
		slices.Sort(d.list.names)
	}
	mounted := uint64(len(d.list.names))
	switch {
	case index < 2:
		return entry{[...]string{".", ".."}[index], typeDirectory}, true, nil
	case index-2 < mounted:
		return entry{d.list.names[index-2], typeRegular}, true, nil
	case d.root == nil:
		return entry{}, false, nil
	}
	return d.hostEntry(index - 2 - mounted)
}

func (d *dir) hostEntry(index uint64) (entry, bool, error) {
	l := &d.list
	if l.f == nil || index < l.base {
		if err := d.rewind(); err != nil {
			return entry{}, false, err
		}
	}
	for index >= l.base+uint64(len(l.window)) {
		if l.ended {
			return entry{}, false, nil
		}
		l.base += uint64(len(l.window))
		window, err := l.f.ReadDir(listingWindow)
		l.window = slices.DeleteFunc(window, func(e fs.DirEntry) bool { _, hidden := d.files[e.Name()]; return hidden })
		if errors.Is(err, io.EOF) {
			l.ended = true
		} else if err != nil {
			return entry{}, false, err
		}
	}
	e := l.window[index-l.base]
	return entry{e.Name(), typeOf(e.Type())}, true, nil
}

// rewind starts to read the host's directory again.
func (d *dir) rewind() error {
	names := d.list.names
	d.list.reset()
	f, err := d.root.Open(".")
	if err != nil {
		return err
	}
	d.list.names, d.list.f = names, f
	return nil
}

// inode is the serial number that filestat of the entry would show, 0 if it is gone.
func (d *dir) inode(name string) uint64 {
	if name == ".." {
		name = "." // what is above a directory does not concern who holds it
	}
	p, e := d.at(name)
	if e != success {
		return 0
	}
	info, err := p.stat(false)
	if err != nil {
		return 0
	}
	return statOf(info).ino
}
