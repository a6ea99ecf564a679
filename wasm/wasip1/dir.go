package wasip1

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
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
	sys *System
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
		d := byPath[path]
		if d == nil {
			d = &dir{sys: s, path: "."}
			byPath[path] = d
			dirs = append(dirs, &descriptor{object: d, rights: dirRights, inheriting: dirRights | fileRights, preopen: path})
		}
		return d
	}
	for _, m := range mounts {
		m.Guest = pathpkg.Clean(m.Guest)
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
		d := preopened(pathpkg.Dir(m.Guest))
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
	d.reset()
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
		return &dir{sys: d.sys, path: ".", files: d.files}, nil
	}
	root, err := p.root.OpenRoot(p.name)
	if err != nil {
		return nil, err
	}
	opened := &dir{sys: d.sys, root: root, mount: d.mount, path: pathpkg.Join(d.path, p.name)}
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

// listing is what has been read of a directory since cookie 0, in the host's order: ".", "..", single-file mounts, then
// the host's entries. A cookie is an index, and stays good whatever is created or removed meanwhile. What is held
// counts as the guest's memory.
type listing struct {
	entries []entry
	held    int64
	f       *os.File // reads on; nil before the first window and after the last
	ended   bool
}

const (
	listingWindow = 256
	// entrySize is what an entry takes beside its name, in bytes.
	entrySize = 32
)

// entry is one of a listing.
type entry struct {
	name string
	kind filetype
}

// reset forgets the listing.
func (d *dir) reset() {
	if d.list.f != nil {
		_ = d.list.f.Close() // it was only read
	}
	d.sys.release(d.list.held)
	d.list = listing{}
}

// entry returns the entry with an index, or false after the last.
func (d *dir) entry(index uint64) (entry, bool, errno) {
	if index == 0 || d.list.entries == nil {
		d.reset()
		if e := d.begin(); e != success {
			return entry{}, false, e
		}
	}
	for index >= uint64(len(d.list.entries)) {
		if d.list.ended {
			return entry{}, false, success
		}
		if e := d.readWindow(); e != success {
			return entry{}, false, e
		}
	}
	return d.list.entries[index], true, success
}

// begin lists what is there without the host, and opens the host's directory.
func (d *dir) begin() errno {
	l := &d.list
	l.entries = []entry{{".", typeDirectory}, {"..", typeDirectory}}
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		l.entries = append(l.entries, entry{name, typeRegular})
	}
	if l.ended = d.root == nil; l.ended {
		return success
	}
	var err error
	l.f, err = d.root.Open(".")
	if err != nil {
		d.reset()
	}
	return errnoOf(err)
}

// readWindow reads on in the host's directory.
func (d *dir) readWindow() errno {
	l := &d.list
	window, err := l.f.ReadDir(listingWindow)
	switch {
	case errors.Is(err, io.EOF):
		l.ended = true
		err = l.f.Close()
		l.f = nil
		return errnoOf(err)
	case err != nil:
		return errnoOf(err)
	}
	size := int64(0)
	for _, e := range window {
		size += entrySize + int64(len(e.Name()))
	}
	if !d.sys.hold(size) {
		return enomem
	}
	l.held += size
	for _, e := range window {
		if _, hidden := d.files[e.Name()]; !hidden {
			l.entries = append(l.entries, entry{e.Name(), typeOf(e.Type())})
		}
	}
	return success
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
