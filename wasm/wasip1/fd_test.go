package wasip1

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestReadAndWrite(t *testing.T) {
	c, dir := inDir(t)
	fd := c.open("file", oflagCreate)
	c.write(fd, "hello world")
	at := c.alloc(8)
	for _, test := range []struct {
		offset int64
		whence uint64
		want   errno
		at     uint64
	}{
		{0, 0, success, 0},
		{5, 1, success, 5},
		{-1, 1, success, 4},
		{0, 2, success, 11},
		{-20, 2, einval, 0},
		{-1, 0, einval, 0},
		{0, 3, einval, 0},
		{6, 0, success, 6},
	} {
		e := c.call("fd_seek", fd, uint64(test.offset), test.whence, at)
		if e != test.want || e == success && c.u64(at) != test.at {
			t.Errorf("seek %d from %d: errno %d, at %d", test.offset, test.whence, e, c.u64(at))
		}
	}
	c.must("fd_tell", fd, at)
	if got := c.u64(at); got != 6 {
		t.Errorf("tell %d", got)
	}
	if got, e := c.read(fd, 100); e != success || got != "world" {
		t.Errorf("read %q, errno %d", got, e)
	}
	if got, e := c.read(fd, 100); e != success || got != "" {
		t.Errorf("read at the end %q, errno %d", got, e)
	}
	if got, e := c.readWith("fd_pread", fd, 3, 2); e != success || got != "llo" {
		t.Errorf("pread %q, errno %d", got, e)
	}
	c.want(einval, "fd_pread", fd, c.vector(nil), 1, math.MaxUint64, at)
	c.must("fd_pwrite", fd, c.vector([]byte("J")), 1, 0, at)
	c.must("fd_filestat_set_size", fd, 5)
	c.want(efbig, "fd_filestat_set_size", fd, math.MaxUint64)
	c.must("fd_datasync", fd)
	c.must("fd_sync", fd)
	if got := onHost(t, dir, "file"); got != "Jello" {
		t.Errorf("file is %q", got)
	}
}

func TestVectors(t *testing.T) {
	c, dir := inDir(t)
	fd := c.open("file", oflagCreate)
	a, b := c.put([]byte("one ")), c.put([]byte("two"))
	vecs := c.put(u32s(uint32(a), 4, 0, 0, uint32(b), 3))
	n := c.alloc(4)
	c.must("fd_write", fd, vecs, 3, n)
	if got := onHost(t, dir, "file"); got != "one two" || c.u32(n) != 7 {
		t.Errorf("wrote %q, %d", got, c.u32(n))
	}
	size := uint64(c.mod.Memory().Size())
	c.want(efault, "fd_write", fd, size-4, 1, n)
	c.want(efault, "fd_write", fd, math.MaxUint32, 1, n)
	c.want(efault, "fd_write", fd, c.put(u32s(math.MaxUint32, 16)), 1, n)
	c.want(efault, "fd_write", fd, c.put(u32s(16, math.MaxUint32)), 1, n)
	c.want(einval, "fd_write", fd, 16, maxVectors+1, n)
	c.want(einval, "fd_write", fd, 16, math.MaxUint32, n)
	c.want(efault, "fd_read", fd, vecs, 1, size)
	c.want(efault, "random_get", 16, math.MaxUint32)
	c.want(efault, "fd_filestat_get", fd, size-63)
	c.want(efault, "path_open", 3, 0, size-1, 2, 0, 0, 0, 0, 16)
	c.want(efault, "fd_readdir", 3, size, 8, 0, 16)
	c.want(efault, "poll_oneoff", size-47, 16, 1, 16)
}

func TestAppend(t *testing.T) {
	c, dir := inDir(t)
	c.create("file", "start ")
	fd, e := c.openat(3, "file", 0, flagAppend)
	if e != success {
		t.Fatal(e)
	}
	c.write(fd, "more ")
	c.must("fd_seek", fd, 0, 0, c.alloc(8))
	c.write(fd, "end")
	c.want(enotsup, "fd_fdstat_set_flags", fd, uint64(flagAppend|flagSync))
	c.want(einval, "fd_fdstat_set_flags", fd, uint64(flagsAll+1))
	c.must("fd_fdstat_set_flags", fd, 0)
	c.must("fd_seek", fd, 0, 0, c.alloc(8))
	c.write(fd, "S")
	c.must("fd_fdstat_set_flags", fd, uint64(flagAppend))
	c.write(fd, ".")
	if got := onHost(t, dir, "file"); got != "Start more end." {
		t.Errorf("file is %q", got)
	}
}

func TestAllocate(t *testing.T) {
	c, _ := inDir(t)
	fd := c.open("file", oflagCreate)
	c.write(fd, "12345")
	c.want(einval, "fd_allocate", fd, 0, 0)
	c.want(einval, "fd_allocate", fd, math.MaxInt64, 1)
	if runtime.GOOS != "linux" {
		c.want(enotsup, "fd_allocate", fd, 0, 10)
		return
	}
	at := c.alloc(64)
	for _, test := range [][3]uint64{{0, 3, 5}, {0, 10, 10}, {8, 8, 16}} {
		if e := c.call("fd_allocate", fd, test[0], test[1]); e == enotsup {
			t.Skip("the file system cannot")
		} else if e != success {
			t.Fatal(e)
		}
		c.must("fd_filestat_get", fd, at)
		if got := c.filestat(at).size; got != test[2] {
			t.Errorf("allocate %d at %d: size %d", test[1], test[0], got)
		}
	}
}

func TestAdvise(t *testing.T) {
	c, _ := inDir(t)
	fd := c.open("file", oflagCreate)
	for advice := range uint64(6) {
		c.must("fd_advise", fd, 0, 100, advice)
	}
	c.want(einval, "fd_advise", fd, 0, 100, 6)
	c.want(eisdir, "fd_advise", 3, 0, 100, 0)
	c.want(espipe, "fd_advise", 0, 0, 100, 0)
	c.want(ebadf, "fd_advise", 99, 0, 100, 0)
}

func TestDirectoriesAreNotFiles(t *testing.T) {
	c, _ := inDir(t)
	at := c.alloc(8)
	for name, args := range map[string][]uint64{
		"fd_seek":              {3, 0, 1, at},
		"fd_tell":              {3, at},
		"fd_pread":             {3, 16, 0, 0, at},
		"fd_pwrite":            {3, 16, 0, 0, at},
		"fd_allocate":          {3, 0, 1},
		"fd_filestat_set_size": {3, 0},
	} {
		c.want(eisdir, name, args...)
	}
	c.want(enotcapable, "fd_read", 3, 16, 0, at)
	c.want(enotcapable, "fd_write", 3, 16, 0, at)
	c.want(enotdir, "fd_readdir", 1, 16, 0, 0, at)
	c.want(enotdir, "path_open", 1, 0, 16, 1, 0, 0, 0, 0, at)
	c.want(ebadf, "fd_prestat_get", 1, at)
	c.want(espipe, "fd_seek", 1, 0, 1, at)
}

func TestRights(t *testing.T) {
	c, _ := inDir(t)
	fd := c.open("file", oflagCreate, rightRead|rightWrite|rightSeek|rightTell)
	c.write(fd, "text")
	stat := c.alloc(24)
	c.must("fd_fdstat_get", fd, stat)
	base, inheriting := c.u64(stat+8), c.u64(stat+16)
	if rights(base) != rightRead|rightWrite|rightSeek|rightTell {
		t.Errorf("rights %b", base)
	}
	c.want(enotcapable, "fd_filestat_get", fd, c.alloc(64))
	c.must("fd_fdstat_set_rights", fd, uint64(rightSeek), inheriting)
	c.want(enotcapable, "fd_read", fd, 16, 0, stat)
	c.want(enotcapable, "fd_write", fd, 16, 0, stat)
	c.must("fd_seek", fd, 1, 0, stat)
	c.want(enotcapable, "fd_fdstat_set_rights", fd, base, inheriting)

	// A directory passes on what it may, and no more.
	c.must("fd_fdstat_get", 3, stat)
	if rights(c.u64(stat+8)) != dirRights || rights(c.u64(stat+16)) != dirRights|fileRights {
		t.Errorf("a preopened directory has %b, %b", c.u64(stat+8), c.u64(stat+16))
	}
	c.must("fd_fdstat_set_rights", 3, uint64(dirRights&^(rightPathFilestatSetSize|rightCreateFile)), uint64(rightRead))
	if _, e := c.openat(3, "file", oflagTruncate, 0, rightRead); e != enotcapable {
		t.Errorf("truncate: errno %d", e)
	}
	if _, e := c.openat(3, "new", oflagCreate, 0, rightRead); e != enotcapable {
		t.Errorf("create: errno %d", e)
	}
	fd = c.open("file", 0, rightRead|rightWrite)
	c.want(enotcapable, "fd_write", fd, 16, 0, stat)
	if got, e := c.read(fd, 10); e != success || got != "text" {
		t.Errorf("read %q, errno %d", got, e)
	}
}

func TestReadOrWriteOnly(t *testing.T) {
	c, _ := inDir(t)
	c.create("file", "text")
	n := c.alloc(4)
	fd := c.open("file", 0, rightRead)
	c.want(enotcapable, "fd_write", fd, c.vector([]byte("x")), 1, n)
	fd = c.open("file", 0, rightWrite)
	c.want(enotcapable, "fd_read", fd, c.vector([]byte("x")), 1, n)
	c.must("fd_write", fd, c.vector([]byte("T")), 1, n)
}

func TestFilestat(t *testing.T) {
	c, _ := inDir(t)
	c.create("file", "12345")
	if e := c.pathCall("path_create_directory", "dir"); e != success {
		t.Fatal(e)
	}
	file, e := c.stat("file", true)
	if e != success || file.kind != typeRegular || file.size != 5 || file.links != 1 || file.mtim == 0 {
		t.Errorf("file: %+v, errno %d", file, e)
	}
	if dir, e := c.stat("dir", true); e != success || dir.kind != typeDirectory {
		t.Errorf("dir: %+v, errno %d", dir, e)
	}
	fd := c.open("file", 0)
	at := c.alloc(64)
	c.must("fd_filestat_get", fd, at)
	if got := c.filestat(at); got != file {
		t.Errorf("by descriptor %+v, by path %+v", got, file)
	}
	if runtime.GOOS != "windows" && (file.ino == 0 || file.dev == 0) {
		t.Errorf("no device or inode: %+v", file)
	}
	c.must("fd_filestat_get", 1, at)
	if got := c.filestat(at); got.kind != typeCharacterDevice {
		t.Errorf("stdout: %+v", got)
	}
}

func TestSetTimes(t *testing.T) {
	c, _ := inDir(t)
	c.create("file", "")
	fd := c.open("file", 0)
	path, n := c.str("file")
	const old, older = 1_000_000_000_000_000_000, 900_000_000_000_000_000
	set := func(name string, flags uint64) errno {
		if name == "fd" {
			return c.call("fd_filestat_set_times", fd, older, old, flags)
		}
		return c.call("path_filestat_set_times", 3, followSymlink, path, n, older, old, flags)
	}
	for _, name := range []string{"fd", "path"} {
		for _, bad := range []uint64{setAtim | setAtimNow, setMtim | setMtimNow, 1 << 4} {
			if e := set(name, bad); e != einval {
				t.Errorf("%s, flags %b: errno %d", name, bad, e)
			}
		}
		if e := set(name, setAtimNow|setMtimNow); e != success {
			t.Errorf("%s now: errno %d", name, e)
		}
		if st, _ := c.stat("file", true); st.mtim <= old || st.atim <= old {
			t.Errorf("%s now: %+v", name, st)
		}
		if e := set(name, setMtim); e != success {
			t.Errorf("%s: errno %d", name, e)
		}
		if st, _ := c.stat("file", true); st.mtim != old || st.atim <= old {
			t.Errorf("%s mtim: %+v", name, st)
		}
		if e := set(name, setAtim); e != success {
			t.Errorf("%s: errno %d", name, e)
		}
		if st, _ := c.stat("file", true); st.mtim != old || st.atim != older {
			t.Errorf("%s atim: %+v", name, st)
		}
	}
	// Each nanosecond counts, where the system has them.
	before, _ := c.stat("file", true)
	c.must("fd_filestat_set_times", fd, 0, old+700, setMtim)
	if st, _ := c.stat("file", true); st.mtim != old+700 || st.atim != before.atim {
		t.Errorf("nanoseconds: %+v, was %+v", st, before)
	}
	c.must("fd_filestat_set_times", 3, 0, old, setMtim)
	if st, _ := c.stat(".", true); st.mtim != old {
		t.Errorf("directory: %+v", st)
	}
}

func TestRenumber(t *testing.T) {
	c, _ := inDir(t)
	c.create("one", "1")
	c.create("two", "2")
	one, two := c.open("one", 0), c.open("two", 0)
	c.must("fd_renumber", one, two)
	c.want(ebadf, "fd_close", one)
	if got, e := c.read(two, 10); e != success || got != "1" {
		t.Errorf("read %q, errno %d", got, e)
	}
	c.must("fd_renumber", two, two)
	c.want(ebadf, "fd_renumber", two, one)
	c.want(ebadf, "fd_renumber", two, 1<<30)
	c.want(ebadf, "fd_renumber", 1<<30, two)
	c.must("fd_renumber", two, 3) // also over a preopened directory
	c.want(ebadf, "fd_prestat_get", 3, c.alloc(8))
	if got := c.open2("one"); got != enotdir {
		t.Errorf("open below a file: errno %d", got)
	}
	c.must("fd_close", 3)
	c.want(ebadf, "fd_close", 3)
}

func (c *caller) open2(path string) errno {
	_, e := c.openat(3, path, 0, 0)
	return e
}

func TestDescriptorLimit(t *testing.T) {
	dir := t.TempDir()
	c := newCaller(t, Config{Mounts: []Mount{{Host: dir, Guest: "/"}}, Descriptors: 6})
	for range 2 {
		c.open("file", oflagCreate)
	}
	if _, e := c.openat(3, "another", oflagCreate, 0); e != emfile {
		t.Errorf("errno %d", e)
	}
	if _, err := os.Stat(filepath.Join(dir, "another")); err == nil {
		t.Error("the file was created without a descriptor for it")
	}
	c.must("fd_close", 4)
	if fd := c.open("file", 0); fd != 4 {
		t.Errorf("the lowest free number is 4, got %d", fd)
	}
	if _, err := New(Config{Mounts: []Mount{{Host: dir, Guest: "/"}}, Descriptors: 3}); err == nil {
		t.Error("more mounts than descriptors")
	}
}

// names lists a directory with buffers of a size.
func names(c *caller, fd uint64, size int) []string {
	c.t.Helper()
	c.free()
	buf, used := c.alloc(size), c.alloc(4)
	var list []string
	for cookie := uint64(0); ; {
		c.must("fd_readdir", fd, buf, uint64(size), cookie, used)
		n := int(c.u32(used))
		b := c.bytes(buf, n)
		for len(b) >= 24 && len(b) >= 24+int(binary.LittleEndian.Uint32(b[16:])) {
			end := 24 + int(binary.LittleEndian.Uint32(b[16:]))
			cookie = binary.LittleEndian.Uint64(b)
			list = append(list, string(b[24:end]))
			b = b[end:]
		}
		if n < size {
			return list
		}
	}
}

func TestReaddir(t *testing.T) {
	c, dir := inDir(t)
	if got := names(c, 3, 256); fmt.Sprint(got) != "[. ..]" {
		t.Errorf("empty: %v", got)
	}
	const files = 1000
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("file.", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int{64, 256, 8192} {
		got := names(c, 3, size)
		slices.Sort(got)
		if len(slices.Compact(got)) != files+2 {
			t.Errorf("with %d bytes at a time: %d names", size, len(got))
		}
	}

	// Any cookie that was given out leads back to where it was.
	all := names(c, 3, 8192)
	buf, used := c.alloc(100), c.alloc(4)
	for _, index := range []uint64{700, 3, 999, 300, 2, 301} {
		c.must("fd_readdir", 3, buf, 100, index, used)
		b := c.bytes(buf, 100)
		if got := string(b[24 : 24+binary.LittleEndian.Uint32(b[16:])]); got != all[index] {
			t.Errorf("cookie %d: %s, want %s", index, got, all[index])
		}
	}
	c.must("fd_readdir", 3, buf, 100, files+2, used)
	if c.u32(used) != 0 {
		t.Error("entries after the end")
	}
	c.must("fd_readdir", 3, buf, 100, math.MaxUint64-1, used)

	// What is removed while it is read is not skipped over.
	removed := 0
	for _, name := range names(c, 3, 8192)[2:] {
		if e := c.pathCall("path_unlink_file", name); e == success {
			removed++
		}
		c.free()
	}
	if removed != files {
		t.Errorf("removed %d", removed)
	}
}

// TestCookies: a cookie leads to where it was given out, whatever came or went since; cookie 0 begins anew.
func TestCookies(t *testing.T) {
	c, dir := inDir(t)
	for i := range 600 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("file.", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := names(c, 3, 8192)
	for _, name := range all[2:500] {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	buf, used := c.alloc(100), c.alloc(4)
	for _, index := range []uint64{550, 2, 300, 601, 500} {
		c.must("fd_readdir", 3, buf, 100, index, used)
		b := c.bytes(buf, 100)
		if got := string(b[24 : 24+binary.LittleEndian.Uint32(b[16:])]); got != all[index] {
			t.Errorf("cookie %d: %s, want %s", index, got, all[index])
		}
	}
	c.free()
	if got := names(c, 3, 8192); len(got) != 104 {
		t.Errorf("anew: %d entries", len(got))
	}
}

// TestListingsAreHeldByTheGuest: what is kept of a large directory is the guest's memory.
func TestListingsAreHeldByTheGuest(t *testing.T) {
	dir := t.TempDir()
	for i := range 600 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("file.", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	held, most := int64(0), int64(1<<20)
	c := newCaller(t, Config{Mounts: []Mount{{Host: dir, Guest: "/"}}, Hold: func(n int64) bool {
		if held+n > most {
			return false
		}
		held += n
		return true
	}})
	before := held
	names(c, 3, 8192)
	if got := held - before; got < 600*entrySize {
		t.Errorf("holds %d bytes", got)
	}
	most = before + 300*(entrySize+8)
	buf, used := c.alloc(8192), c.alloc(4)
	c.must("fd_readdir", 3, buf, 64, 0, used) // forgets
	c.want(enomem, "fd_readdir", 3, buf, 8192, 400, used)
	c.must("fd_close", 3)
	if held > before {
		t.Errorf("after all is closed %d bytes are held, %d before", held, before)
	}
}

func TestReaddirRecords(t *testing.T) {
	c, _ := inDir(t)
	c.create("file", "")
	if e := c.pathCall("path_create_directory", "dir"); e != success {
		t.Fatal(e)
	}
	buf, used := c.alloc(512), c.alloc(4)
	c.must("fd_readdir", 3, buf, 512, 0, used)
	b := c.bytes(buf, int(c.u32(used)))
	for len(b) > 0 {
		n := binary.LittleEndian.Uint32(b[16:])
		name := string(b[24 : 24+n])
		st, e := c.stat(strings.Replace(name, "..", ".", 1), true)
		if e != success {
			t.Fatal(e)
		}
		if ino := binary.LittleEndian.Uint64(b[8:]); ino != st.ino || filetype(b[20]) != st.kind {
			t.Errorf("%s: inode %d, type %d; stat says %+v", name, ino, b[20], st)
		}
		b = b[24+n:]
	}
}

func TestStandardStreams(t *testing.T) {
	var out, errOut lockedBuffer
	c := newCaller(t, Config{Stdin: strings.NewReader("typed in"), Stdout: &out, Stderr: &errOut})
	c.write(1, "to stdout")
	c.write(2, "to stderr")
	if out.String() != "to stdout" || errOut.String() != "to stderr" {
		t.Errorf("%q, %q", out.String(), errOut.String())
	}
	if got, e := c.read(0, 5); e != success || got != "typed" {
		t.Errorf("%q, errno %d", got, e)
	}
	if got, e := c.read(0, 5); e != success || got != " in" {
		t.Errorf("%q, errno %d", got, e)
	}
	if got, e := c.read(0, 5); e != success || got != "" {
		t.Errorf("at the end: %q, errno %d", got, e)
	}
	n := c.alloc(4)
	c.want(enotcapable, "fd_write", 0, 16, 0, n)
	c.want(enotcapable, "fd_read", 1, 16, 0, n)
	silent := newCaller(t, Config{})
	silent.write(1, "nowhere")
	if got, e := silent.read(0, 5); e != success || got != "" {
		t.Errorf("no stdin: %q, errno %d", got, e)
	}
}
