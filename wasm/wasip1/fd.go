package wasip1

import (
	"encoding/binary"
	"errors"
	"io"
	"math"

	"time"
)

// descriptor returns the one that argument i names.
func (c call) descriptor(i int, need rights) (*descriptor, errno) {
	return c.sys.table.get(c.u32(i), need)
}

// dir returns a directory; ENOTDIR if it is something else.
func (c call) dir(i int, need rights) (*descriptor, *dir, errno) {
	d, e := c.descriptor(i, 0)
	if e != success {
		return nil, nil, e
	}
	o, ok := d.object.(*dir)
	if !ok {
		return nil, nil, enotdir
	}
	if d.rights&need != need {
		return nil, nil, enotcapable
	}
	return d, o, success
}

// file returns a regular file; EISDIR if it is a directory, ESPIPE if it is a stream.
func (c call) file(i int, need rights) (*file, errno) {
	d, e := c.descriptor(i, 0)
	if e != success {
		return nil, e
	}
	switch o := d.object.(type) {
	case *file:
		if d.rights&need != need {
			return nil, enotcapable
		}
		return o, success
	case *dir:
		return nil, eisdir
	}
	return nil, espipe
}

// vectors returns the buffers that arguments i and i+1 name. They are valid until the next call.
func (c call) vectors(i int) ([][]byte, errno) {
	bufs, e := c.mem.vectors(c.sys.vectors[:0], c.u32(i), c.u32(i+1))
	if e == success {
		c.sys.vectors = bufs
	}
	return bufs, e
}

func fdAdvise(c call) errno {
	if _, e := c.file(0, rightAdvise); e != success {
		return e
	}
	const lastAdvice = 5
	if c.u32(3) > lastAdvice || c.u64(1) > math.MaxInt64 || c.u64(2) > math.MaxInt64 {
		return einval
	}
	return success // advice may be ignored
}

func fdAllocate(c call) errno {
	f, e := c.file(0, rightAllocate)
	if e != success {
		return e
	}
	offset, length := c.u64(1), c.u64(2)
	if length == 0 || offset > math.MaxInt64 || length > math.MaxInt64-offset {
		return einval
	}
	return errnoOf(f.grow(int64(offset), int64(length)))
}

func fdClose(c call) errno {
	d, e := c.sys.table.remove(c.u32(0))
	if e != success {
		return e
	}
	return c.sys.drop(d)
}

func fdSync(c call) errno     { return synchronize(c, rightSync) }
func fdDatasync(c call) errno { return synchronize(c, rightDatasync) }

func synchronize(c call, need rights) errno {
	d, e := c.descriptor(0, need)
	if e != success {
		return e
	}
	switch o := d.object.(type) {
	case *file:
		return errnoOf(o.Sync())
	case *dir:
		return errnoOf(o.sync())
	}
	return einval
}

// sync makes entries durable, where directories can be synced.
func (d *dir) sync() error {
	if d.root == nil {
		return nil
	}
	f, err := d.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(syncDir(f), f.Close())
}

// fdFdstatGet writes the record, 24 bytes.
func fdFdstatGet(c call) errno {
	d, e := c.descriptor(0, 0)
	if e != success {
		return e
	}
	b := c.mem.bytes(c.u32(1), 24)
	clear(b)
	b[0] = byte(d.filetype())
	binary.LittleEndian.PutUint16(b[2:], uint16(d.flags))
	binary.LittleEndian.PutUint64(b[8:], uint64(d.rights))
	binary.LittleEndian.PutUint64(b[16:], uint64(d.inheriting))
	return success
}

func fdFdstatSetFlags(c call) errno {
	d, e := c.descriptor(0, rightSetFlags)
	if e != success {
		return e
	}
	flags := fdflags(c.u32(1))
	if c.u32(1) > uint32(flagsAll) {
		return einval
	}
	if (flags^d.flags)&flagsSync != 0 {
		return enotsup // decided when a file is opened
	}
	if f, ok := d.object.(*file); ok && (flags^d.flags)&flagAppend != 0 {
		if err := f.setAppend(flags&flagAppend != 0); err != nil {
			return errnoOf(err)
		}
	}
	d.flags = flags
	return success
}

func fdFdstatSetRights(c call) errno {
	d, e := c.descriptor(0, 0)
	if e != success {
		return e
	}
	base, inheriting := rights(c.u64(1)), rights(c.u64(2))
	if base&^d.rights != 0 || inheriting&^d.inheriting != 0 {
		return enotcapable
	}
	d.rights, d.inheriting = base, inheriting
	return success
}

func fdFilestatGet(c call) errno {
	d, e := c.descriptor(0, rightFilestatGet)
	if e != success {
		return e
	}
	st := filestat{kind: d.filetype(), links: 1}
	switch o := d.object.(type) {
	case *file:
		info, err := o.Stat()
		if err != nil {
			return errnoOf(err)
		}
		st = statOf(info)
		identify(o.File, &st)
	case *dir:
		p, _ := o.at(".")
		info, err := p.stat(true)
		if err != nil {
			return errnoOf(err)
		}
		st = statOf(info)
		identifyPlace(p, &st)
	}
	st.put(c.mem, c.u32(1))
	return success
}

func fdFilestatSetSize(c call) errno {
	f, e := c.file(0, rightFilestatSetSize)
	if e != success {
		return e
	}
	if c.u64(1) > math.MaxInt64 {
		return efbig
	}
	return errnoOf(f.Truncate(int64(c.u64(1))))
}

func fdFilestatSetTimes(c call) errno {
	d, e := c.descriptor(0, rightFilestatSetTimes)
	if e != success {
		return e
	}
	atim, mtim, e := timesToSet(c, 1)
	if e != success {
		return e
	}
	switch o := d.object.(type) {
	case *file:
		if o.readOnly {
			return erofs
		}
		return errnoOf(setTimes(o.File, atim, mtim))
	case *dir:
		p, _ := o.at(".")
		return p.setTimes(atim, mtim)
	}
	return einval
}

func (p place) setTimes(atim, mtim time.Time) errno {
	if p.readOnly {
		return erofs
	}
	return errnoOf(p.root.Chtimes(p.name, atim, mtim))
}

func fdPrestatGet(c call) errno {
	d, e := c.descriptor(0, 0)
	if e != success {
		return e
	}
	if d.preopen == "" {
		return ebadf // where guests stop looking for preopened directories
	}
	c.mem.putU32(c.u32(1), 0)
	c.mem.putU32(c.u32(1)+4, uint32(len(d.preopen)))
	return success
}

func fdPrestatDirName(c call) errno {
	d, e := c.descriptor(0, 0)
	if e != success {
		return e
	}
	if d.preopen == "" {
		return ebadf
	}
	if uint64(c.u32(2)) < uint64(len(d.preopen)) {
		return enametoolong
	}
	copy(c.mem.bytes(c.u32(1), uint32(len(d.preopen))), d.preopen)
	return success
}

func fdPread(c call) errno  { return positioned(c, rightRead|rightSeek, (*file).readAt) }
func fdPwrite(c call) errno { return positioned(c, rightWrite|rightSeek, (*file).writeAt) }

func positioned(c call, need rights, do func(*file, [][]byte, int64) (int, errno)) errno {
	f, e := c.file(0, need)
	if e != success {
		return e
	}
	bufs, e := c.vectors(1)
	if e != success {
		return e
	}
	if c.u64(3) > math.MaxInt64 {
		return einval
	}
	n, e := do(f, bufs, int64(c.u64(3)))
	if e != success {
		return e
	}
	c.mem.putU32(c.u32(4), uint32(n))
	return success
}

func fdRead(c call) errno {
	d, e := c.descriptor(0, rightRead)
	if e != success {
		return e
	}
	r, ok := d.object.(reader)
	if !ok {
		return einval
	}
	return c.transfer(d, d.readTimeout, 1, 3, r.read)
}

func fdWrite(c call) errno {
	d, e := c.descriptor(0, rightWrite)
	if e != success {
		return e
	}
	w, ok := d.object.(writer)
	if !ok {
		return einval
	}
	if _, waits := d.object.(poller); d.nonblocking() || !waits {
		return c.transfer(d, d.writeTimeout, 1, 3, w.write)
	}
	return c.transfer(d, 0, 1, 3, c.writeAll(w, d.writeTimeout))
}

// transfer moves bytes between an object and the buffers at argument i, and writes the count to argument count.
func (c call) transfer(d *descriptor, timeout time.Duration, i, count int, do func([][]byte) (int, errno)) errno {
	bufs, e := c.vectors(i)
	if e != success {
		return e
	}
	var n int
	try := func() errno {
		n, e = do(bufs)
		return e
	}
	if e = try(); e == eagain && !d.nonblocking() {
		e = c.wait(timeout, try)
	}
	if e != success {
		return e
	}
	c.mem.putU32(c.u32(count), uint32(n))
	return success
}

// writeAll makes a write take all bytes, as guests expect of blocking sockets. It fails only if it took none.
func (c call) writeAll(w writer, timeout time.Duration) func([][]byte) (int, errno) {
	return func(bufs [][]byte) (total int, e errno) {
		for _, b := range bufs {
			for len(b) > 0 {
				var n int
				e = c.wait(timeout, func() (e errno) { n, e = w.write([][]byte{b}); return e })
				if e != success && total > 0 {
					return total, success
				}
				if e != success {
					return 0, e
				}
				b, total = b[n:], total+n
			}
		}
		return total, success
	}
}

// fdReaddir fills the buffer with records of 24 bytes, each followed by its name; the last may be cut off. Less than
// the whole buffer is the end.
func fdReaddir(c call) errno {
	_, d, e := c.dir(0, rightReaddir)
	if e != success {
		return e
	}
	buf := c.mem.bytes(c.u32(1), c.u32(2))
	used := 0
	for index := c.u64(3); used < len(buf); index++ {
		item, ok, e := d.entry(index)
		if e != success {
			return e
		}
		if !ok {
			break
		}
		used += copy(buf[used:], d.dirent(item, index))
	}
	c.mem.putU32(c.u32(4), uint32(used))
	return success
}

func (d *dir) dirent(item entry, index uint64) []byte {
	b := make([]byte, 24, 24+len(item.name))
	binary.LittleEndian.PutUint64(b, index+1)
	binary.LittleEndian.PutUint64(b[8:], d.inode(item.name))
	binary.LittleEndian.PutUint32(b[16:], uint32(len(item.name)))
	b[20] = byte(item.kind)
	return append(b, item.name...)
}

func fdRenumber(c call) errno {
	old, e := c.sys.table.renumber(c.u32(0), c.u32(1))
	if e != success || old == nil {
		return e
	}
	return c.sys.drop(old)
}

func fdSeek(c call) errno {
	need := rightSeek
	if c.u64(1) == 0 && c.u32(2) == uint32(io.SeekCurrent) {
		need = rightTell
	}
	f, e := c.file(0, need)
	if e != success {
		return e
	}
	if c.u32(2) > 2 {
		return einval
	}
	return seek(c, f, int64(c.u64(1)), int(c.u32(2)), 3)
}

func fdTell(c call) errno {
	f, e := c.file(0, rightTell)
	if e != success {
		return e
	}
	return seek(c, f, 0, 1, 1)
}

// seek moves and writes the new offset to argument result. WASI's whence has Go's values.
func seek(c call, f *file, offset int64, whence, result int) errno {
	at, err := f.Seek(offset, whence)
	if err != nil {
		return errnoOf(err)
	}
	c.mem.putU64(c.u32(result), uint64(at))
	return success
}
