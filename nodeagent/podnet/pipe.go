package podnet

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// window is how many bytes one direction of a connection in memory holds.
const window = 64 << 10

// newPipe returns the two ends of a stream in memory: buffered, with half-close and
// deadlines, as a TCP connection has them. a is the dialling end.
func newPipe(local, remote net.Addr) (a, b *conn) {
	there, back := newHalf(), newHalf()
	a = &conn{in: back, out: there, local: local, remote: remote}
	b = &conn{in: there, out: back, local: remote, remote: local}
	return a, b
}

// conn is one end of a pipe.
type conn struct {
	in, out       *half
	local, remote net.Addr
	read, write   deadline
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p, c.read.expired())
	return n, c.wrap("read", err)
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p, c.write.expired())
	return n, c.wrap("write", err)
}

func (c *conn) wrap(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
}

// CloseWrite ends this direction: the peer reads what is buffered and then io.EOF.
func (c *conn) CloseWrite() error {
	c.out.finish()
	return nil
}

func (c *conn) Close() error {
	c.out.finish()
	c.in.abandon()
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	c.read.set(t)
	c.write.set(t)
	return nil
}
func (c *conn) SetReadDeadline(t time.Time) error  { c.read.set(t); return nil }
func (c *conn) SetWriteDeadline(t time.Time) error { c.write.set(t); return nil }

// half is one direction: a ring of at most window bytes, allocated with the first write
// and grown as needed. Invariants: 0 <= n <= len(ring) <= window.
type half struct {
	mu        sync.Mutex
	ring      []byte
	start, n  int
	finished  bool          // the writer is done
	abandoned bool          // the reader is gone
	changed   chan struct{} // nil unless somebody waits; closed when any of the above changes
}

func newHalf() *half { return &half{} }

// wait returns a channel that is closed with the next change; mu is held.
func (h *half) wait() <-chan struct{} {
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	return h.changed
}

// signal wakes whoever waits; mu is held.
func (h *half) signal() {
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

func (h *half) read(p []byte, expired <-chan struct{}) (int, error) {
	for {
		if isClosed(expired) {
			return 0, os.ErrDeadlineExceeded
		}
		n, wait, err := h.tryRead(p)
		if wait == nil {
			return n, err
		}
		select {
		case <-wait:
		case <-expired:
		}
	}
}

func (h *half) tryRead(p []byte) (n int, wait <-chan struct{}, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.abandoned:
		return 0, nil, net.ErrClosed
	case h.n > 0 || len(p) == 0:
		return h.take(p), nil, nil
	case h.finished:
		return 0, nil, io.EOF
	}
	return 0, h.wait(), nil
}

func (h *half) take(p []byte) int {
	total := 0
	for h.n > 0 && total < len(p) {
		end := min(h.start+h.n, len(h.ring))
		k := copy(p[total:], h.ring[h.start:end])
		total += k
		h.n -= k
		h.start = (h.start + k) % len(h.ring)
	}
	if total > 0 {
		h.signal()
	}
	return total
}

func (h *half) write(p []byte, expired <-chan struct{}) (int, error) {
	total := 0
	for {
		if isClosed(expired) {
			return total, os.ErrDeadlineExceeded
		}
		n, wait, err := h.tryWrite(p[total:])
		total += n
		if err != nil || total == len(p) {
			return total, err
		}
		select {
		case <-wait:
		case <-expired:
		}
	}
}

func (h *half) tryWrite(p []byte) (n int, wait <-chan struct{}, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.finished {
		return 0, nil, net.ErrClosed
	}
	if h.abandoned {
		return 0, nil, errReset
	}
	h.grow(h.n + len(p))
	for h.n < len(h.ring) && n < len(p) {
		at := (h.start + h.n) % len(h.ring)
		end := len(h.ring)
		if at < h.start {
			end = h.start
		}
		k := copy(h.ring[at:end], p[n:])
		n += k
		h.n += k
	}
	if n > 0 {
		h.signal()
	}
	if n == len(p) {
		return n, nil, nil
	}
	return n, h.wait(), nil
}

// grow makes room for want bytes, within the window, in powers of two.
func (h *half) grow(want int) {
	size := max(len(h.ring), 512)
	for size < want && size < window {
		size *= 2
	}
	if size == len(h.ring) {
		return
	}
	ring := make([]byte, size)
	k := copy(ring, h.ring[h.start:min(h.start+h.n, len(h.ring))])
	copy(ring[k:], h.ring[:h.n-k])
	h.ring, h.start = ring, 0
}

func (h *half) finish() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.finished {
		h.finished = true
		h.signal()
	}
}

func (h *half) abandon() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.abandoned {
		h.abandoned, h.ring, h.n, h.start = true, nil, 0, 0
		h.signal()
	}
}

// deadline is a time after which expired() is closed. The zero value never expires.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	done  chan struct{}
}

func (d *deadline) expired() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done == nil {
		d.done = make(chan struct{})
	}
	return d.done
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.done == nil || isClosed(d.done) {
		d.done = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	done := d.done
	left := time.Until(t)
	if left <= 0 {
		close(done)
		return
	}
	d.timer = time.AfterFunc(left, func() { d.expire(done) })
}

// expire closes done unless the deadline has been set anew meanwhile.
func (d *deadline) expire(done chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done == done && !isClosed(done) {
		close(done)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
