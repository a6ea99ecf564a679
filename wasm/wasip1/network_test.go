package wasip1

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

// memNetwork is a Network in memory, with one address per guest and a resolver of two names.
type memNetwork struct {
	self netip.Addr

	mu        sync.Mutex
	listeners map[uint16]*memListener
	bound     notifier // of listeners
	nextPort  uint16
	open      int // connections of both ends
}

func newMemNetwork() *memNetwork {
	return &memNetwork{self: netip.MustParseAddr("10.42.0.7"), listeners: map[uint16]*memListener{}, nextPort: 40000}
}

type memListener struct {
	n        *memNetwork
	addr     netip.AddrPort
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func (n *memNetwork) Listen(_ context.Context, _ string, addr netip.AddrPort) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	port := addr.Port()
	if port == 0 {
		n.nextPort++
		port = n.nextPort
	}
	if n.listeners[port] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: syscall.EADDRINUSE}
	}
	l := &memListener{n: n, addr: netip.AddrPortFrom(n.self, port), incoming: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[port] = l
	n.bound.notify()
	return l, nil
}

// waitBound returns when someone listens on the port.
func (n *memNetwork) waitBound(port uint16) {
	for {
		changed := n.bound.next()
		n.mu.Lock()
		l := n.listeners[port]
		n.mu.Unlock()
		if l != nil {
			return
		}
		<-changed
	}
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.n.mu.Lock()
		delete(l.n.listeners, l.addr.Port())
		l.n.mu.Unlock()
	})
	return nil
}

func (l *memListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }

// memConn is an end of a net.Pipe that has addresses and is counted.
type memConn struct {
	net.Conn
	n           *memNetwork
	local, peer netip.AddrPort
	once        sync.Once
}

func (c *memConn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c *memConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.peer) }

func (c *memConn) Close() error {
	c.once.Do(func() {
		c.n.mu.Lock()
		c.n.open--
		c.n.mu.Unlock()
	})
	return c.Conn.Close()
}

func (n *memNetwork) Dial(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
	if network != "tcp" {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.EPROTONOSUPPORT}
	}
	if addr.Port() == stuckPort {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	n.mu.Lock()
	l := n.listeners[addr.Port()]
	n.nextPort++
	from := netip.AddrPortFrom(n.self, n.nextPort)
	n.mu.Unlock()
	refused := &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	if l == nil {
		return nil, refused
	}
	a, b := net.Pipe()
	n.mu.Lock()
	n.open += 2
	n.mu.Unlock()
	near, far := &memConn{Conn: a, n: n, local: from, peer: addr}, &memConn{Conn: b, n: n, local: addr, peer: from}
	select {
	case l.incoming <- far:
		return near, nil
	case <-l.closed:
		near.Close()
		far.Close()
		return nil, refused
	case <-ctx.Done():
		near.Close()
		far.Close()
		return nil, ctx.Err()
	}
}

func (n *memNetwork) ListenPacket(ctx context.Context, network string, addr netip.AddrPort) (net.PacketConn, error) {
	var c net.ListenConfig
	return c.ListenPacket(ctx, network, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), addr.Port()).String())
}

func (n *memNetwork) Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	switch host {
	case "web":
		return []netip.Addr{netip.MustParseAddr("10.43.0.80"), netip.MustParseAddr("fd00::80")}, nil
	case "stuck":
		<-ctx.Done()
		return nil, ctx.Err()
	case "busy":
		return nil, &net.DNSError{Name: host, IsTemporary: true}
	}
	return nil, &net.DNSError{Name: host, IsNotFound: true}
}

// stuckPort is where no one answers.
const stuckPort = 9999

func (n *memNetwork) at(port uint16) netip.AddrPort { return netip.AddrPortFrom(n.self, port) }

func (n *memNetwork) connections() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.open
}

// streams is a memNetwork without datagrams, which would be real ones.
type streams struct{ *memNetwork }

func (streams) ListenPacket(_ context.Context, network string, _ netip.AddrPort) (net.PacketConn, error) {
	return nil, &net.OpError{Op: "listen", Net: network, Err: syscall.EAFNOSUPPORT}
}
