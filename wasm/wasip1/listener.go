package wasip1

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

const (
	// backlog bounds the connections that were accepted before the guest asked.
	backlog = 16
	// acceptPause is how long accepting rests when this process lacks something.
	acceptPause = 100 * time.Millisecond
)

// listener accepts for a guest. It is bound by the first accept or poll, so that a preopened one that the
// guest does not use takes no port.
type listener struct {
	sys  *System
	addr netip.AddrPort
	room chan struct{} // a connection was taken; one slot
	gone chan struct{} // closed by stop

	mu    sync.Mutex
	l     net.Listener
	queue []net.Conn
	err   errno // why there will be no more
}

func newListener(s *System, addr netip.AddrPort) *listener {
	return &listener{sys: s, addr: addr, room: make(chan struct{}, 1), gone: make(chan struct{})}
}

// bind announces the address, if that has not been done. Only the guest's goroutine calls it.
func (l *listener) bind() errno {
	if l.sys.terminated.Load() {
		l.stop(ecanceled)
	}
	if bound, e := l.state(); bound || e != success {
		return e
	}
	nl, err := l.sys.config.Network.Listen(l.sys.ctx, "tcp", l.addr)
	if err != nil {
		l.sys.log.Warn("guest cannot listen", "address", l.addr, "error", err)
		l.stop(errnoOf(err))
		return errnoOf(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != success {
		_ = nl.Close() // stopped meanwhile; nobody can have connected
		return l.err
	}
	l.l = nl
	l.sys.spawn(func() { l.run(nl) })
	return success
}

func (l *listener) state() (bound bool, e errno) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.l != nil, l.err
}

func (l *listener) run(nl net.Listener) {
	for {
		nc, err := nl.Accept()
		switch {
		case err == nil && l.put(nc):
		case err == nil:
			_ = nc.Close() // the guest will not take it
			return
		case !l.survives(err):
			l.stop(errnoOf(err))
			return
		}
	}
}

// put queues a connection, waiting for room.
func (l *listener) put(nc net.Conn) bool {
	for {
		l.mu.Lock()
		if l.err != success {
			l.mu.Unlock()
			return false
		}
		if len(l.queue) < backlog {
			l.queue = append(l.queue, nc)
			l.mu.Unlock()
			l.sys.changed.notify()
			return true
		}
		l.mu.Unlock()
		select {
		case <-l.room:
		case <-l.gone:
		}
	}
}

// survives waits out errors that pass.
func (l *listener) survives(err error) bool {
	if errors.Is(err, syscall.ECONNABORTED) {
		return true
	}
	if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) && !errors.Is(err, syscall.ENOBUFS) {
		return false
	}
	l.sys.log.Warn("guest's listener cannot accept for now", "address", l.addr, "error", err)
	t := time.NewTimer(acceptPause)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.gone:
		return false
	}
}

func (l *listener) filetype() filetype { return typeStream }

// accept takes a connection. What was queued before the listener ended is still given out.
func (l *listener) accept() (net.Conn, errno) {
	if e := l.bind(); e != success && l.waiting() == 0 {
		return nil, e
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return nil, eagain
	}
	nc := l.queue[0]
	l.queue = l.queue[1:]
	select {
	case l.room <- struct{}{}:
	default:
	}
	return nc, success
}

func (l *listener) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}

func (l *listener) readable() readiness {
	e := l.bind()
	n := l.waiting()
	return readiness{ready: n > 0 || e != success, bytes: uint64(n), hangup: n == 0 && e != success}
}

func (l *listener) writable() readiness { return readiness{} }

// stop ends accepting; e is what accept says from then on.
func (l *listener) stop(e errno) {
	l.mu.Lock()
	nl, first := l.l, l.err == success
	if first {
		l.err = e
		close(l.gone)
	}
	l.mu.Unlock()
	if first && nl != nil {
		if err := nl.Close(); err != nil {
			l.sys.log.Debug("close a guest's listener", "address", l.addr, "error", err)
		}
	}
	l.sys.changed.notify()
}

func (l *listener) close() errno {
	l.stop(ebadf)
	l.mu.Lock()
	queue := l.queue
	l.queue = nil
	l.mu.Unlock()
	for _, nc := range queue {
		_ = nc.Close() // never seen by the guest
	}
	return success
}

func (l *listener) local() net.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.l == nil {
		return net.TCPAddrFromAddrPort(l.addr)
	}
	return l.l.Addr()
}
