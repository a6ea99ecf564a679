package wasip1

import (
	"errors"
	"io/fs"
	"os"
	pathpkg "path"
	"path/filepath"
	"strings"
	"time"
)

const (
	followSymlink = 1 // lookupflags

	oflagCreate    = 1 << 0
	oflagDirectory = 1 << 1
	oflagExclusive = 1 << 2
	oflagTruncate  = 1 << 3

	newFileMode = 0o644
	newDirMode  = 0o755
)

// place resolves the directory in argument fd and the path in arguments path and path+1.
func (c call) place(fd, path int, need rights) (*descriptor, *dir, place, errno) {
	desc, d, e := c.dir(fd, need)
	if e != success {
		return nil, nil, place{}, e
	}
	name, e := c.mem.path(c.u32(path), c.u32(path+1))
	if e != success {
		return nil, nil, place{}, e
	}
	p, e := d.at(name)
	return desc, d, p, e
}

func pathCreateDirectory(c call) errno {
	_, _, p, e := c.place(0, 1, rightCreateDirectory)
	if e != success {
		return e
	}
	if _, err := p.stat(false); err == nil {
		return eexist
	}
	if p.readOnly {
		return erofs
	}
	return errnoOf(p.root.Mkdir(p.name, newDirMode))
}

func pathFilestatGet(c call) errno {
	_, _, p, e := c.place(0, 2, rightPathFilestatGet)
	if e != success {
		return e
	}
	info, err := p.stat(c.u32(1)&followSymlink != 0)
	if err != nil {
		return errnoOf(err)
	}
	st := statOf(info)
	identifyPlace(p, &st)
	st.put(c.mem, c.u32(4))
	return success
}

func pathFilestatSetTimes(c call) errno {
	_, _, p, e := c.place(0, 2, rightPathFilestatSetTimes)
	if e != success {
		return e
	}
	atim, mtim, e := timesToSet(c, 4)
	if e != success {
		return e
	}
	if c.u32(1)&followSymlink == 0 && p.symlink() {
		return p.setLinkTimes(atim, mtim)
	}
	return p.setTimes(atim, mtim)
}

// setLinkTimes changes the times of a symbolic link itself.
func (p place) setLinkTimes(atim, mtim time.Time) errno {
	if p.readOnly {
		return erofs
	}
	parent, err := p.root.Open(pathpkg.Dir(p.name))
	if err != nil {
		return errnoOf(err)
	}
	return errnoOf(errors.Join(setLinkTimes(parent, pathpkg.Base(p.name), atim, mtim), parent.Close()))
}

func (p place) symlink() bool {
	info, err := p.stat(false)
	return err == nil && info.Mode().Type() == fs.ModeSymlink
}

func pathLink(c call) errno {
	_, d, old, e := c.place(0, 2, rightLinkSource)
	if e != success {
		return e
	}
	_, newDir, created, e := c.place(4, 5, rightLinkTarget)
	if e != success {
		return e
	}
	if c.u32(1)&followSymlink != 0 {
		return einval
	}
	if e := created.changeable(); e != success {
		return e
	}
	if info, err := old.stat(false); err == nil && info.IsDir() {
		return eperm
	}
	if _, err := created.stat(false); err == nil {
		return eexist
	}
	old, created, e = together(d, old, newDir, created)
	if e != success {
		return e
	}
	return errnoOf(old.root.Link(old.name, created.name))
}

// opening is a path_open.
type opening struct {
	place
	follow           bool
	oflags           uint32
	base, inheriting rights
	flags            fdflags
}

func pathOpen(c call) errno {
	desc, d, p, e := c.place(0, 2, rightOpen)
	if e != success {
		return e
	}
	o := opening{
		place:  p,
		follow: c.u32(1)&followSymlink != 0,
		oflags: c.u32(4),
		// More than the directory passes on is not granted; use then fails, not the opening.
		base:       rights(c.u64(5)) & desc.inheriting,
		inheriting: rights(c.u64(6)) & desc.inheriting,
		flags:      fdflags(c.u32(7)),
	}
	if e := o.check(desc); e != success {
		return e
	}
	if c.sys.table.full() {
		return emfile
	}
	opened, e := o.open(d)
	if e != success {
		return e
	}
	fd, e := c.sys.open(opened)
	if e != success {
		return e
	}
	c.mem.putU32(c.u32(8), fd)
	return success
}

func (o *opening) writes() bool { return o.base&(rightWrite|rightAllocate) != 0 }

// check judges flags and rights, before anything is changed.
func (o *opening) check(dir *descriptor) errno {
	switch {
	case o.flags > flagsAll || o.oflags > oflagCreate|oflagDirectory|oflagExclusive|oflagTruncate:
		return einval
	case o.oflags&oflagDirectory != 0 && o.oflags&(oflagCreate|oflagExclusive|oflagTruncate) != 0:
		return einval
	case o.oflags&oflagDirectory != 0 && o.writes():
		return eisdir
	case o.oflags&oflagCreate != 0 && dir.rights&rightCreateFile == 0:
		return enotcapable
	case o.oflags&oflagTruncate != 0 && dir.rights&rightPathFilestatSetSize == 0:
		return enotcapable
	}
	if !o.readOnly {
		return success
	}
	return o.checkReadOnly()
}

func (o *opening) checkReadOnly() errno {
	_, err := o.stat(o.follow)
	switch {
	case err == nil && o.oflags&(oflagCreate|oflagExclusive) == oflagCreate|oflagExclusive:
		return eexist
	case err != nil && o.oflags&oflagCreate == 0:
		return success // opening says why
	case err != nil, o.writes(), o.oflags&oflagTruncate != 0:
		return erofs
	}
	o.oflags &^= oflagCreate
	return success
}

func (o *opening) open(d *dir) (*descriptor, errno) {
	exclusive := o.oflags&(oflagCreate|oflagExclusive) == oflagCreate|oflagExclusive
	if !o.follow && !exclusive && o.symlink() {
		return nil, eloop
	}
	if o.root == nil || o.oflags&oflagDirectory != 0 {
		return o.openDir(d)
	}
	f, err := o.root.OpenFile(o.name, o.systemFlags(), newFileMode)
	if err != nil {
		return nil, errnoOf(err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		_ = f.Close() // the first error is the one to tell
		return nil, errnoOf(err)
	case info.IsDir():
		if err := f.Close(); err != nil {
			return nil, errnoOf(err)
		}
		return o.openDir(d)
	case !info.Mode().IsRegular():
		_ = f.Close() // nothing was done with it
		return nil, enotsup
	}
	return o.openFile(f)
}

func (o *opening) systemFlags() int {
	flags := openFlags
	switch truncates := o.oflags&oflagTruncate != 0; {
	case o.base&rightRead == 0 && o.writes():
		flags |= os.O_WRONLY
	case o.writes() || truncates:
		flags |= os.O_RDWR
	}
	if o.oflags&oflagCreate != 0 {
		flags |= os.O_CREATE
	}
	if o.oflags&oflagExclusive != 0 {
		flags |= os.O_EXCL
	}
	if o.oflags&oflagTruncate != 0 {
		flags |= os.O_TRUNC
	}
	if o.flags&flagsSync != 0 {
		flags |= os.O_SYNC
	}
	return flags
}

func (o *opening) openDir(d *dir) (*descriptor, errno) {
	if info, err := o.stat(true); err == nil && !info.IsDir() {
		return nil, enotdir
	}
	opened, err := d.open(o.place)
	if err != nil {
		return nil, errnoOf(err)
	}
	return &descriptor{object: opened, flags: o.flags, rights: o.base & dirRights, inheriting: o.inheriting}, success
}

func (o *opening) openFile(f *os.File) (*descriptor, errno) {
	opened := &file{File: f, readOnly: o.readOnly}
	if o.flags&flagAppend != 0 {
		if err := opened.setAppend(true); err != nil {
			_ = f.Close() // the first error is the one to tell
			return nil, errnoOf(err)
		}
	}
	return &descriptor{object: opened, flags: o.flags, rights: o.base & fileRights, inheriting: o.inheriting}, success
}

func pathReadlink(c call) errno {
	_, _, p, e := c.place(0, 1, rightReadlink)
	if e != success {
		return e
	}
	if p.root == nil || p.pinned {
		return einval
	}
	target, err := p.root.Readlink(p.name)
	if err != nil {
		return errnoOf(err)
	}
	n := copy(c.mem.bytes(c.u32(3), c.u32(4)), filepath.ToSlash(target))
	c.mem.putU32(c.u32(5), uint32(n))
	return success
}

func pathRemoveDirectory(c call) errno {
	_, _, p, e := c.place(0, 1, rightRemoveDirectory)
	if e != success {
		return e
	}
	p.name = strings.TrimRight(p.name, "/") // a slash must not make it follow a link
	return p.remove(true)
}

func pathUnlinkFile(c call) errno {
	_, _, p, e := c.place(0, 1, rightUnlinkFile)
	if e != success {
		return e
	}
	return p.remove(false)
}

// remove removes an entry that is a directory, or one that is not.
func (p place) remove(directory bool) errno {
	if e := p.changeable(); e != success {
		return e
	}
	info, err := p.stat(false)
	switch {
	case err != nil:
		return errnoOf(err)
	case directory && !info.IsDir():
		return enotdir
	case !directory && info.IsDir():
		return eisdir
	}
	return errnoOf(p.root.Remove(p.name))
}

func pathRename(c call) errno {
	_, d, old, e := c.place(0, 1, rightRenameSource)
	if e != success {
		return e
	}
	_, newDir, renamed, e := c.place(3, 4, rightRenameTarget)
	if e != success {
		return e
	}
	if e := old.changeable(); e != success {
		return e
	}
	if e := renamed.changeable(); e != success {
		return e
	}
	old, renamed, e = together(d, old, newDir, renamed)
	if e != success {
		return e
	}
	return rename(old, renamed)
}

// rename is rename(2). An empty directory that is in the way goes first, as os.Root does not replace it.
func rename(old, renamed place) errno {
	from, err := old.stat(false)
	if err != nil {
		return errnoOf(err)
	}
	to, err := renamed.stat(false)
	if err == nil {
		switch {
		case os.SameFile(from, to):
			return success
		case to.IsDir() && !from.IsDir():
			return eisdir
		case !to.IsDir() && from.IsDir():
			return enotdir
		case to.IsDir():
			if err := renamed.root.Remove(strings.TrimRight(renamed.name, "/")); err != nil {
				return errnoOf(err)
			}
		}
	}
	return errnoOf(old.root.Rename(old.name, renamed.name))
}

func pathSymlink(c call) errno {
	target, e := c.mem.path(c.u32(0), c.u32(1))
	if e != success {
		return e
	}
	_, _, p, e := c.place(2, 3, rightSymlink)
	if e != success {
		return e
	}
	if pathpkg.IsAbs(target) || filepath.IsAbs(target) {
		return enotcapable
	}
	switch _, err := p.stat(false); {
	case err == nil:
		return eexist
	case !errors.Is(err, fs.ErrNotExist):
		return errnoOf(err)
	case p.readOnly:
		return erofs
	case strings.HasSuffix(p.name, "/"):
		return enoent
	}
	return errnoOf(p.root.Symlink(target, p.name))
}
