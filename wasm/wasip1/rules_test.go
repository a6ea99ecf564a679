package wasip1

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// What follows are rules that the WASI test suite checks and that no test beside them is about. Each is named after the
// suite's test.

// TestFileUnbufferedWrite: what one descriptor writes another reads at once.
func TestFileUnbufferedWrite(t *testing.T) {
	c, _ := inDir(t)
	reading := c.open("file", oflagCreate, rightRead)
	writing := c.open("file", 0, rightWrite)
	c.write(writing, "x")
	if got, e := c.read(reading, 1); e != success || got != "x" {
		t.Errorf("read %q, errno %d", got, e)
	}
}

// TestPwriteWithAppend: writing at a position leaves the offset where it was.
func TestPwriteWithAppend(t *testing.T) {
	c, _ := inDir(t)
	fd, e := c.openat(3, "file", oflagCreate|oflagTruncate, flagAppend)
	if e != success {
		t.Fatal(e)
	}
	at := c.alloc(8)
	c.write(fd, "ab")
	c.must("fd_seek", fd, 0, 0, at)
	c.write(fd, "cd")
	c.must("fd_tell", fd, at)
	if got := c.u64(at); got != 4 {
		t.Errorf("after appending at %d", got)
	}
	c.must("fd_pwrite", fd, c.vector([]byte("efg")), 1, 0, c.alloc(4))
	c.must("fd_tell", fd, at)
	if got := c.u64(at); got != 4 {
		t.Errorf("after writing at a position at %d", got)
	}
	c.must("fd_seek", fd, 0, 2, at)
	if got := c.u64(at); got != 4 && got != 7 {
		t.Errorf("it has %d bytes", got)
	}
}

// TestPathLink: a file and its hard link are one, also from another directory.
func TestPathLink(t *testing.T) {
	c, _ := inDir(t)
	c.create("file", "content")
	if e := c.pathCall("path_create_directory", "dir"); e != success {
		t.Fatal(e)
	}
	dir := c.open("dir", oflagDirectory)
	from, n := c.str("file")
	to, m := c.str("link")
	c.must("path_link", 3, 0, from, n, dir, to, m)
	one, two := c.open("file", 0), func() uint64 { fd, _ := c.openat(dir, "link", 0, 0); return fd }()
	a, b := c.alloc(64), c.alloc(64)
	c.must("fd_filestat_get", one, a)
	c.must("fd_filestat_get", two, b)
	if c.filestat(a) != c.filestat(b) || c.filestat(a).links != 2 {
		t.Errorf("%+v, %+v", c.filestat(a), c.filestat(b))
	}
	c.must("fd_fdstat_get", one, a)
	c.must("fd_fdstat_get", two, b)
	if string(c.bytes(a, 24)) != string(c.bytes(b, 24)) {
		t.Errorf("%x, %x", c.bytes(a, 24), c.bytes(b, 24))
	}
	if e := c.link(0, "file", "file"); e != eexist {
		t.Errorf("to itself: errno %d", e)
	}
}

// TestStdio: a standard stream can be given the number of a file, and its own is free then.
func TestStdio(t *testing.T) {
	c, _ := inDir(t)
	for stream := range uint64(3) {
		fd := c.open("file", oflagCreate)
		c.must("fd_renumber", stream, fd)
		c.must("fd_fdstat_get", fd, c.alloc(24))
		c.want(ebadf, "fd_fdstat_get", stream, c.alloc(24))
		c.must("path_unlink_file", append([]uint64{3}, pair(c.str("file"))...)...)
	}
}

// TestClosePreopen and TestOverwritePreopen: a preopened directory is a descriptor as any other, and others stay.
func TestClosePreopen(t *testing.T) {
	c, _ := inDir(t)
	other := c.open(".", oflagDirectory)
	c.must("fd_close", 3)
	c.must("fd_fdstat_get", other, c.alloc(24))
	c.want(ebadf, "fd_fdstat_get", 3, c.alloc(24))
}

func TestOverwritePreopen(t *testing.T) {
	c, _ := inDir(t)
	other := c.open(".", oflagDirectory)
	before, after := c.alloc(64), c.alloc(64)
	c.must("fd_filestat_get", other, before)
	c.must("fd_renumber", other, 3)
	c.must("fd_filestat_get", 3, after)
	if c.filestat(before) != c.filestat(after) {
		t.Errorf("%+v, was %+v", c.filestat(after), c.filestat(before))
	}
	c.want(ebadf, "fd_fdstat_get", other, c.alloc(24))
}

// TestPathOpenPreopen: a preopened directory has the rights that guests expect, can be opened again with all of them or
// none, and not for writing.
func TestPathOpenPreopen(t *testing.T) {
	c, _ := inDir(t)
	at := c.alloc(24)
	c.must("fd_fdstat_get", 3, at)
	base, inheriting := rights(c.u64(at+8)), rights(c.u64(at+16))
	wantBase := rightCreateDirectory | rightCreateFile | rightLinkSource | rightLinkTarget | rightOpen | rightReaddir | rightReadlink |
		rightRenameSource | rightRenameTarget | rightSymlink | rightRemoveDirectory | rightUnlinkFile | rightPathFilestatGet |
		rightPathFilestatSetTimes | rightFilestatGet | rightFilestatSetTimes
	wantInheriting := wantBase | rightDatasync | rightRead | rightSeek | rightSetFlags | rightSync | rightTell | rightWrite |
		rightAdvise | rightAllocate | rightFilestatSetSize | rightPoll
	if base&wantBase != wantBase || inheriting&wantInheriting != wantInheriting || base&(rightSeek|rightFilestatSetSize) != 0 {
		t.Errorf("base %b, inheriting %b", base, inheriting)
	}
	dot, n := c.str(".")
	open := func(oflags uint32, base, inheriting rights, flags fdflags) errno {
		return c.call("path_open", 3, 0, dot, n, uint64(oflags), uint64(base), uint64(inheriting), uint64(flags), c.alloc(4))
	}
	for what, got := range map[string][2]errno{
		"the same":   {open(0, base, inheriting, 0), success},
		"none":       {open(0, 0, 0, 0), success},
		"directory":  {open(oflagDirectory, 0, 0, 0), success},
		"reading":    {open(oflagDirectory, rightRead, 0, 0), success},
		"nonblock":   {open(0, 0, 0, flagNonblock), success},
		"writing":    {open(oflagDirectory, rightRead|rightWrite, 0, 0), eisdir},
		"with seek":  {open(oflagDirectory, rightSeek, 0, 0), success}, // which it does not get
		"create":     {open(oflagDirectory|oflagCreate, 0, 0, 0), einval},
		"any flag":   {open(1<<4, 0, 0, 0), einval},
		"any fdflag": {open(0, 0, 0, 1<<5), einval},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: errno %d, want %d", what, got[0], got[1])
		}
	}
}

// TestTruncationRights: who lost the right to set sizes by path cannot truncate by opening.
func TestTruncationRights(t *testing.T) {
	c, dir := inDir(t)
	c.create("file", "content")
	truncate := func() errno { _, e := c.openat(3, "file", oflagTruncate, 0, 0); return e }
	at := c.alloc(24)
	c.must("fd_fdstat_get", 3, at)
	base, inheriting := c.u64(at+8), c.u64(at+16)
	c.must("fd_fdstat_set_rights", 3, base, inheriting&^uint64(rightFilestatSetSize))
	if e := truncate(); e != success || onHost(t, dir, "file") != "" {
		t.Errorf("errno %d", e)
	}
	c.must("fd_fdstat_set_rights", 3, base&^uint64(rightPathFilestatSetSize), inheriting&^uint64(rightFilestatSetSize))
	if e := truncate(); e != enotcapable {
		t.Errorf("without the right: errno %d", e)
	}
	c.want(enotcapable, "fd_fdstat_set_rights", 3, base, inheriting)
}

// TestReplacedByALink: what was opened stays what it is when its name comes to lead elsewhere, and without following a
// link is no file.
func TestReplacedByALink(t *testing.T) {
	needSymlinks(t)
	c, dir := inDir(t)
	c.create("file", "mine")
	fd := c.open("file", 0)
	if err := os.Remove(filepath.Join(dir, "file")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere", filepath.Join(dir, "file")); err != nil {
		t.Fatal(err)
	}
	if got, e := c.read(fd, 10); e != success || got != "mine" {
		t.Errorf("read %q, errno %d", got, e)
	}
	path, n := c.str("file")
	for oflags, want := range map[uint64]errno{0: eloop, oflagDirectory: eloop} {
		c.want(want, "path_open", 3, 0, path, n, oflags, 0, 0, 0, c.alloc(4))
	}
}

// TestPollMix: clocks, files, standard streams and what is not open, in one poll: those that are ready are told at once, each
// with its own error.
func TestPollMix(t *testing.T) {
	c, _ := inDir(t)
	file := c.open("file", oflagCreate)
	subscriptions := []struct {
		kind byte
		fd   uint64
	}{{eventClock, 0}, {eventRead, file}, {eventWrite, file}, {eventWrite, 1}, {eventRead, 99}, {eventWrite, 0}}
	in, out, n := c.alloc(len(subscriptions)*subscriptionSize), c.alloc(len(subscriptions)*eventSize), c.alloc(4)
	records := make([]byte, len(subscriptions)*subscriptionSize)
	for i, s := range subscriptions {
		r := records[i*subscriptionSize:]
		binary.LittleEndian.PutUint64(r, uint64(i))
		r[8] = s.kind
		binary.LittleEndian.PutUint32(r[16:], uint32(s.fd))
		if s.kind == eventClock {
			binary.LittleEndian.PutUint64(r[24:], 1<<50) // far away
		}
	}
	c.mod.Memory().Write(uint32(in), records)
	c.must("poll_oneoff", in, out, uint64(len(subscriptions)), n)
	got := map[uint64]errno{}
	for i := range uint64(c.u32(n)) {
		b := c.bytes(out+i*eventSize, eventSize)
		got[binary.LittleEndian.Uint64(b)] = errno(binary.LittleEndian.Uint16(b[8:]))
	}
	for userdata, want := range map[uint64]errno{1: success, 2: success, 3: success, 4: ebadf} {
		if e, ok := got[userdata]; !ok || e != want {
			t.Errorf("subscription %d: errno %d, told %v", userdata, e, ok)
		}
	}
	if _, ok := got[0]; ok {
		t.Error("the clock is not due")
	}
}
