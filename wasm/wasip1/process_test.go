package wasip1

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero/sys"
)

func TestArgumentsAndEnvironment(t *testing.T) {
	c := newCaller(t, Config{Args: []string{"prog", "", "ünï"}, Env: []string{"A=1", "PWD=/old"}, Dir: "/work"})
	for name, want := range map[string]string{"args": "prog\x00\x00ünï\x00", "environ": "A=1\x00PWD=/work\x00"} {
		n, size := c.alloc(4), c.alloc(4)
		c.must(name+"_sizes_get", n, size)
		if int(c.u32(size)) != len(want) || int(c.u32(n)) != strings.Count(want, "\x00") {
			t.Errorf("%s: %d strings of %d bytes", name, c.u32(n), c.u32(size))
		}
		list, buf := c.alloc(4*int(c.u32(n))), c.alloc(len(want))
		c.must(name+"_get", list, buf)
		if got := string(c.bytes(buf, len(want))); got != want {
			t.Errorf("%s: %q", name, got)
		}
		if got := c.u32(list + 4); string(c.bytes(uint64(got)-1, 1)) != "\x00" {
			t.Errorf("%s: the second string starts at %d", name, got)
		}
	}
	c.want(efault, "args_get", 0, uint64(c.mod.Memory().Size())-3)
	if _, err := New(Config{Env: []string{strings.Repeat("x", maxStrings)}}); err == nil {
		t.Error("an environment that is too large was accepted")
	}
}

func TestClocks(t *testing.T) {
	c := newCaller(t, Config{})
	at := c.alloc(8)
	c.must("clock_time_get", clockRealtime, 1, at)
	if d := time.Since(time.Unix(0, int64(c.u64(at)))); d < 0 || d > time.Minute {
		t.Errorf("the clock is off by %v", d)
	}
	last := uint64(0)
	for range 3 {
		c.must("clock_time_get", clockMonotonic, 1, at)
		if now := c.u64(at); now == 0 || now < last {
			t.Errorf("monotonic clock: %d after %d", now, last)
		} else {
			last = now
		}
	}
	for id, want := range map[uint64]errno{0: success, 1: success, 2: einval, 3: einval, 99: einval} {
		c.want(want, "clock_time_get", id, 1, at)
		c.want(want, "clock_res_get", id, at)
	}
}

func TestRandom(t *testing.T) {
	c := newCaller(t, Config{})
	a, b := c.alloc(4096), c.alloc(4096)
	c.must("random_get", a, 4096)
	c.must("random_get", b, 4096)
	if bytes.Equal(c.bytes(a, 4096), c.bytes(b, 4096)) || bytes.Contains(c.bytes(a, 4096), make([]byte, 16)) {
		t.Error("this is not random")
	}
	c.must("random_get", a, 0)
}

func TestExit(t *testing.T) {
	c := newCaller(t, Config{})
	c.must("sched_yield")
	c.must("proc_raise", 0)
	for _, ignored := range []uint64{16, 17, 22, 27} {
		c.must("proc_raise", ignored)
	}
	c.want(enotsup, "proc_raise", 18)
	c.want(einval, "proc_raise", 31)
	for sig, want := range map[uint64]uint32{1: 129, 2: 130, 6: 134, 9: 137, 15: 143, 23: 128 + 24, 30: 128 + 31} {
		if code := exitCode(t, func() { c.call("proc_raise", sig) }); code != want {
			t.Errorf("raised %d: exit %d, want %d", sig, code, want)
		}
	}
	if code := exitCode(t, func() { procExit(c.ctx, c.mod, []uint64{7}) }); code != 7 {
		t.Errorf("exit %d", code)
	}
	ctx, cancel := context.WithCancel(c.ctx)
	cancel()
	c.ctx = ctx
	if code := exitCode(t, func() { c.call("sched_yield") }); code != sys.ExitCodeContextCanceled {
		t.Errorf("killed: exit %d", code)
	}
}

func TestImportName(t *testing.T) {
	for _, test := range []struct {
		name   string
		params int
		want   string
	}{
		{"sock_accept", 2, "sock_accept_v1"},
		{"sock_accept", 3, "sock_accept"},
		{"sock_recv_from", 7, "sock_recv_from_v1"},
		{"sock_recv_from", 8, "sock_recv_from"},
		{"sock_getlocaladdr", 4, "sock_getlocaladdr_v1"},
		{"sock_getpeeraddr", 3, "sock_getpeeraddr"},
		{"fd_read", 4, "fd_read"},
	} {
		if got := ImportName(test.name, test.params); got != test.want {
			t.Errorf("%s with %d parameters: %s, want %s", test.name, test.params, got, test.want)
		}
		found := false
		for _, f := range functions {
			found = found || f.name == test.want && len(f.params) == test.params
		}
		if !found {
			t.Errorf("%s with %d parameters is not exported", test.want, test.params)
		}
	}
}
