package wasip1

import (
	"bytes"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// purse is memory of a guest that the host may hold.
type purse struct{ most, held atomic.Int64 }

func (p *purse) hold(n int64) bool {
	if n > 0 && p.held.Load()+n > p.most.Load() {
		return false
	}
	p.held.Add(n)
	return true
}

// TestDescriptorsAreHeldByTheGuest: whatever is opened and closed, all is given back, and what does not fit is refused.
func TestDescriptorsAreHeldByTheGuest(t *testing.T) {
	var p purse
	p.most.Store(1 << 30)
	dir := t.TempDir()
	c := newCaller(t, Config{Mounts: []Mount{{Host: dir, Guest: "/"}}, Hold: p.hold, Network: newMemNetwork()})
	before := p.held.Load()
	if before != 4*descriptorSize {
		t.Errorf("three streams and a directory hold %d bytes", before)
	}
	one, two := c.open("one", oflagCreate), c.open("two", oflagCreate)
	if got := p.held.Load() - before; got != 2*descriptorSize {
		t.Errorf("two files hold %d bytes", got)
	}
	c.must("fd_renumber", one, two)
	if got := p.held.Load() - before; got != descriptorSize {
		t.Errorf("one file holds %d bytes", got)
	}
	fd := c.alloc(4)
	c.must("sock_open", familyInet, socketStream, fd)
	if got := p.held.Load() - before; got != 2*descriptorSize+streamSize {
		t.Errorf("a file and a socket hold %d bytes", got)
	}
	p.most.Store(p.held.Load())
	if _, e := c.openat(3, "three", oflagCreate, 0); e != enomem {
		t.Errorf("beyond the limit: errno %d", e)
	}
	c.want(enomem, "sock_open", familyInet, socketDatagram, fd)
	c.must("fd_close", two)
	c.must("fd_close", uint64(c.u32(fd)))
	if got := p.held.Load(); got != before {
		t.Errorf("in the end %d bytes are held, %d at first", got, before)
	}
	if err := c.sys.Close(); err != nil || p.held.Load() != 0 {
		t.Errorf("after Close %d bytes are held, %v", p.held.Load(), err)
	}
}

// TestBuffersAreHeldByTheGuest: a writer gets room as long as there is memory.
func TestBuffersAreHeldByTheGuest(t *testing.T) {
	for name, test := range map[string]struct{ most, want int64 }{
		"room": {1 << 20, maxWriteBehind}, "little": {2 * minWriteBehind, 2 * minWriteBehind}, "none": {0, minWriteBehind},
	} {
		var p purse
		p.most.Store(test.most)
		w := &writeBehind{notify: func() {}, holding: holding{sys: &System{config: Config{Hold: p.hold}}}}
		total := int64(0)
		for {
			n, e, _ := w.write([][]byte{make([]byte, 1000)})
			if total += int64(n); e != success {
				break
			}
		}
		if total != test.want {
			t.Errorf("%s: took %d bytes, want %d", name, total, test.want)
		}
		if w.shutdown(); p.held.Load() != 0 {
			t.Errorf("%s: %d bytes are held in the end", name, p.held.Load())
		}
	}
}

// TestOutputRate: a guest that writes without end gets as much through as it may, waits without spinning, and can be
// stopped.
func TestOutputRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond = 10_000
		var out bytes.Buffer
		c := newCaller(t, Config{Stdout: &out, OutputRate: perSecond})
		begin := time.Now()
		chunk, n := c.vector(make([]byte, 3000)), c.alloc(4)
		for out.Len() < 60_000 {
			c.must("fd_write", 1, chunk, 1, n)
			if c.u32(n) != 3000 {
				t.Fatalf("a blocking write took %d bytes", c.u32(n))
			}
		}
		if took := time.Since(begin); took < 4900*time.Millisecond || took > 5500*time.Millisecond {
			t.Errorf("60 KB took %v with 10 KB/s", took)
		}
		c.must("fd_fdstat_set_flags", 1, uint64(flagNonblock))
		for e := success; e == success; {
			e = c.call("fd_write", 1, chunk, 1, n)
			if e != success && e != eagain {
				t.Errorf("errno %d", e)
			}
		}
	})
}
