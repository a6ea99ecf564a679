package wasip1

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"
)

// memoryModule exports one page of memory and nothing else.
var memoryModule = []byte{
	0, 'a', 's', 'm', 1, 0, 0, 0,
	5, 3, 1, 0, 1, // memory section: one, without a limit, of one page
	7, 10, 1, 6, 'm', 'e', 'm', 'o', 'r', 'y', 2, 0, // export section
}

// caller calls host functions as a guest does, without one.
type caller struct {
	t   testing.TB
	ctx context.Context
	sys *System
	mod api.Module
	top uint32 // of the memory that is used
}

// newCaller makes a System and memory to call its functions with.
func newCaller(t testing.TB, c Config) *caller {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	mod, err := rt.Instantiate(ctx, memoryModule)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), rt.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	return &caller{t: t, ctx: With(ctx, s), sys: s, mod: mod, top: 16}
}

// inDir is newCaller with a directory mounted at /, which is descriptor 3.
func inDir(t testing.TB) (*caller, string) {
	t.Helper()
	dir := t.TempDir()
	return newCaller(t, Config{Mounts: []Mount{{Host: dir, Guest: "/"}}}), dir
}

// call calls a function by its name.
func (c *caller) call(name string, args ...uint64) errno {
	c.t.Helper()
	i := slices.IndexFunc(functions, func(f function) bool { return f.name == name })
	if i < 0 || len(functions[i].params) != len(args) {
		c.t.Fatalf("%s has not %d parameters", name, len(args))
	}
	stack := append(args, 0)
	functions[i].call(c.ctx, c.mod, stack)
	return errno(stack[0])
}

// must is call for what has to succeed.
func (c *caller) must(name string, args ...uint64) {
	c.t.Helper()
	if e := c.call(name, args...); e != success {
		c.t.Fatalf("%s: errno %d", name, e)
	}
}

// want is call for what has to fail.
func (c *caller) want(want errno, name string, args ...uint64) {
	c.t.Helper()
	if e := c.call(name, args...); e != want {
		c.t.Errorf("%s: errno %d, want %d", name, e, want)
	}
}

// alloc takes memory, aligned to 8 bytes. The memory is small: free gives all back.
func (c *caller) alloc(n int) uint64 {
	c.t.Helper()
	at := c.top
	c.top += uint32(n+7) &^ 7
	if c.top > c.mod.Memory().Size() {
		c.t.Fatal("out of the guest's memory")
	}
	return uint64(at)
}

func (c *caller) free() { c.top = 16 }

func (c *caller) put(b []byte) uint64 {
	c.t.Helper()
	at := c.alloc(len(b))
	c.mod.Memory().Write(uint32(at), b)
	return at
}

func (c *caller) bytes(at uint64, n int) []byte {
	c.t.Helper()
	b, ok := c.mod.Memory().Read(uint32(at), uint32(n))
	if !ok {
		c.t.Fatal("outside of memory")
	}
	return slices.Clone(b)
}

func (c *caller) u32(at uint64) uint32 { return binary.LittleEndian.Uint32(c.bytes(at, 4)) }
func (c *caller) u64(at uint64) uint64 { return binary.LittleEndian.Uint64(c.bytes(at, 8)) }

// str puts a string and returns its address and length, as two arguments.
func (c *caller) str(s string) (ptr, n uint64) { return c.put([]byte(s)), uint64(len(s)) }

// vector puts one buffer and returns the address of the record that names it.
func (c *caller) vector(b []byte) uint64 {
	at := c.put(b)
	return c.put(u32s(uint32(at), uint32(len(b))))
}

func u32s(values ...uint32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// openat is path_open; everything that there is for a file or a directory is asked for, unless rights are given.
func (c *caller) openat(dir uint64, path string, oflags uint32, fdflags fdflags, ask ...rights) (uint64, errno) {
	c.t.Helper()
	want := dirRights | fileRights
	if oflags&oflagDirectory != 0 {
		want = dirRights
	}
	if len(ask) > 0 {
		want = ask[0]
	}
	ptr, n := c.str(path)
	fd := c.alloc(4)
	e := c.call("path_open", dir, followSymlink, ptr, n, uint64(oflags), uint64(want), uint64(dirRights|fileRights), uint64(fdflags), fd)
	return uint64(c.u32(fd)), e
}

func (c *caller) open(path string, oflags uint32, ask ...rights) uint64 {
	c.t.Helper()
	fd, e := c.openat(3, path, oflags, 0, ask...)
	if e != success {
		c.t.Fatalf("open %s: errno %d", path, e)
	}
	return fd
}

// create makes a file with content.
func (c *caller) create(path, content string) {
	c.t.Helper()
	fd := c.open(path, oflagCreate|oflagTruncate)
	c.write(fd, content)
	c.must("fd_close", fd)
}

func (c *caller) write(fd uint64, content string) {
	c.t.Helper()
	n := c.alloc(4)
	c.must("fd_write", fd, c.vector([]byte(content)), 1, n)
	if got := c.u32(n); int(got) != len(content) {
		c.t.Fatalf("wrote %d of %d bytes", got, len(content))
	}
}

// read is fd_read of up to n bytes.
func (c *caller) read(fd uint64, n int) (string, errno) {
	c.t.Helper()
	return c.readWith("fd_read", fd, n)
}

func (c *caller) readWith(name string, fd uint64, n int, more ...uint64) (string, errno) {
	c.t.Helper()
	buf, count := c.alloc(n), c.alloc(4)
	vec := c.put(u32s(uint32(buf), uint32(n)))
	e := c.call(name, append(append([]uint64{fd, vec, 1}, more...), count)...)
	if e != success {
		return "", e
	}
	return string(c.bytes(buf, int(c.u32(count)))), success
}

// pathCall calls a function whose arguments are a directory and a path.
func (c *caller) pathCall(name, path string) errno {
	c.t.Helper()
	ptr, n := c.str(path)
	return c.call(name, 3, ptr, n)
}

// twoPaths calls path_rename, or path_link with given flags, within directory 3.
func (c *caller) rename(from, to string) errno {
	c.t.Helper()
	fp, fn := c.str(from)
	tp, tn := c.str(to)
	return c.call("path_rename", 3, fp, fn, 3, tp, tn)
}

func (c *caller) link(flags uint64, from, to string) errno {
	c.t.Helper()
	fp, fn := c.str(from)
	tp, tn := c.str(to)
	return c.call("path_link", 3, flags, fp, fn, 3, tp, tn)
}

func (c *caller) symlink(target, path string) errno {
	c.t.Helper()
	tp, tn := c.str(target)
	pp, pn := c.str(path)
	return c.call("path_symlink", tp, tn, 3, pp, pn)
}

// stat is path_filestat_get; the record has been read.
func (c *caller) stat(path string, follow bool) (filestat, errno) {
	c.t.Helper()
	ptr, n := c.str(path)
	at := c.alloc(64)
	flags := uint64(0)
	if follow {
		flags = followSymlink
	}
	e := c.call("path_filestat_get", 3, flags, ptr, n, at)
	return c.filestat(at), e
}

func (c *caller) filestat(at uint64) filestat {
	return filestat{
		dev: c.u64(at), ino: c.u64(at + 8), kind: filetype(c.u64(at + 16)), links: c.u64(at + 24),
		size: c.u64(at + 32), atim: c.u64(at + 40), mtim: c.u64(at + 48), ctim: c.u64(at + 56),
	}
}

// exitCode runs f, which ends the guest.
func exitCode(t *testing.T, f func()) (code uint32) {
	t.Helper()
	defer func() {
		exit, ok := recover().(*sys.ExitError)
		if !ok {
			t.Fatal("the guest goes on")
		}
		code = exit.ExitCode()
	}()
	f()
	return 0
}

func onHost(t testing.TB, elem ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
