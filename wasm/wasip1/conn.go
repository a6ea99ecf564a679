package wasip1

import (
	"context"

	"net"
	"net/netip"
	"sync"
	"time"
)

// conn is a stream socket that is connected, or being connected.
//
// Its goroutines are one that dials (a connecting one only) and then reads ahead, and one that flushes while there
// is something to flush.
type conn struct {
	sys    *System
	ahead  readAhead
	behind writeBehind

	mu       sync.Mutex
	nc       net.Conn // nil while connecting and after a failed attempt
	failed   errno    // of the attempt
	reported bool     // failed was given to the guest
	closed   bool
	shutRead bool
	cancel   context.CancelFunc // of the attempt
}

func newConn(s *System, nc net.Conn) *conn {
	c := &conn{sys: s, nc: nc, cancel: func() {}}
	c.ahead.init(s)
	c.behind.holding.sys = s
	c.behind.notify = s.changed.notify
	if nc != nil {
		s.spawn(func() { c.ahead.run(nc) })
	}
	return c
}

// dial returns a conn that is being connected.
func dial(s *System, addr netip.AddrPort) *conn {
	c := newConn(s, nil)
	ctx, cancel := context.WithCancel(s.ctx)
	c.cancel = cancel
	s.spawn(func() {
		defer cancel()
		nc, err := s.config.Network.Dial(ctx, "tcp", addr)
		if c.connected(nc, err) {
			c.ahead.run(nc)
		}
	})
	return c
}

// connected ends the attempt.
func (c *conn) connected(nc net.Conn, err error) bool {
	c.mu.Lock()
	abandoned := c.closed
	switch {
	case err != nil:
		c.failed = errnoOf(err)
		c.ahead.fail(err)
	case abandoned:
		_ = nc.Close() // nobody knows of it
	default:
		c.nc = nc
	}
	c.mu.Unlock()
	c.sys.changed.notify()
	return err == nil && !abandoned
}

// state is EINPROGRESS while connecting, the attempt's error after a failed one.
func (c *conn) state() errno {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.nc != nil:
		return success
	case c.failed != success:
		return c.failed
	}
	return einprogress
}

// takeError is state, telling a failure once (SO_ERROR).
func (c *conn) takeError() errno {
	e := c.state()
	if e == success || e == einprogress {
		return e
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reported {
		return success
	}
	c.reported = true
	return e
}

func (c *conn) filetype() filetype { return typeStream }
func (c *conn) weight() int64      { return streamSize }

func (c *conn) read(bufs [][]byte) (int, errno) { return c.receive(bufs, false) }

func (c *conn) receive(bufs [][]byte, peek bool) (int, errno) {
	switch e := c.state(); e {
	case success:
	case einprogress:
		return 0, eagain
	default:
		return 0, enotconn
	}
	c.mu.Lock()
	ended := c.shutRead
	c.mu.Unlock()
	if ended {
		return 0, success
	}
	return c.ahead.read(bufs, peek)
}

func (c *conn) write(bufs [][]byte) (int, errno) {
	switch e := c.state(); e {
	case success:
	case einprogress:
		return 0, eagain
	default:
		return 0, enotconn
	}
	n, e, flush := c.behind.write(bufs)
	if flush {
		c.sys.spawn(func() { c.behind.flush(c.nc, c.drained) })
	}
	return n, e
}

func (c *conn) readable() readiness {
	if e := c.state(); e == einprogress {
		return readiness{}
	}
	c.mu.Lock()
	ended := c.shutRead
	c.mu.Unlock()
	if ended {
		return readiness{ready: true, hangup: true}
	}
	return c.ahead.readable()
}

func (c *conn) writable() readiness {
	switch e := c.state(); e {
	case success:
		return c.behind.writable()
	case einprogress:
		return readiness{}
	}
	return readiness{ready: true, hangup: true}
}

// shutdown ends a direction; what is pending still leaves.
func (c *conn) shutdown(read, write bool) errno {
	if c.state() != success {
		return enotconn
	}
	c.mu.Lock()
	c.shutRead = c.shutRead || read
	c.mu.Unlock()
	if write && !c.behind.shutdown() {
		c.drained()
	}
	return success
}

// drained is called when the last byte has left after a shutdown or a close.
func (c *conn) drained() {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		_ = c.nc.Close() // all has been written; the peer's view of the close is its own
		return
	}
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); err != nil {
			c.ahead.fail(err)
		}
	}
}

// close lets what is pending leave, for as long as linger.
func (c *conn) close() errno {
	c.mu.Lock()
	c.closed = true
	nc := c.nc
	c.mu.Unlock()
	c.cancel()
	c.ahead.stop()
	flushing := c.behind.shutdown()
	if nc == nil {
		return success
	}
	if flushing {
		return errnoOf(nc.SetWriteDeadline(time.Now().Add(linger)))
	}
	_ = nc.Close() // nothing was pending, so nothing is lost
	return success
}

func (c *conn) local() net.Addr {
	if c.state() != success {
		return nil
	}
	return c.nc.LocalAddr()
}

func (c *conn) peer() net.Addr {
	if c.state() != success {
		return nil
	}
	return c.nc.RemoteAddr()
}
