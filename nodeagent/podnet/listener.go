package podnet

import (
	"net"
	"net/netip"
	"sync"
)

// backlog is how many connections wait for an accept; more are refused.
const backlog = 128

// listener is a listening socket in memory.
type listener struct {
	pod   *Pod
	bound netip.AddrPort // as asked, with the port that was given

	mu      sync.Mutex
	closed  bool
	pending chan *conn
	done    chan struct{}
	port    uint16 // of the next connecting end
}

func newListener(p *Pod, bound netip.AddrPort) *listener {
	return &listener{pod: p, bound: bound, pending: make(chan *conn, backlog), done: make(chan struct{}), port: firstEphemeral}
}

func (l *listener) connect(source netip.Addr) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errRefused
	}
	if l.port++; l.port > lastEphemeral {
		l.port = firstEphemeral
	}
	if !source.IsValid() {
		source = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	there := netip.AddrPortFrom(l.pod.ip, l.bound.Port())
	dialled, accepted := newPipe(addr("tcp", netip.AddrPortFrom(source, l.port)), addr("tcp", there))
	select {
	case l.pending <- accepted:
		return dialled, nil
	default:
		return nil, errRefused
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.pending:
		return c, nil
	case <-l.done:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
}

// Close ends the listener and refuses what was waiting.
func (l *listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	close(l.done)
	l.mu.Unlock()

	l.pod.mu.Lock()
	delete(l.pod.streams, l.bound.Port())
	l.pod.mu.Unlock()
	for {
		select {
		case c := <-l.pending:
			c.in.abandon()
			c.out.finish()
		default:
			return nil
		}
	}
}

func (l *listener) Addr() net.Addr { return addr("tcp", l.bound) }
