package wasip1

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxDatagram is the largest payload that UDP can have.
	maxDatagram = 65535
	// maxQueued and maxQueuedBytes bound the datagrams that wait for the guest; more wait, or are lost, in the Network.
	maxQueued      = 64
	maxQueuedBytes = 256 << 10
	// sendPatience is how long a datagram may take to be sent before it is lost.
	sendPatience = 50 * time.Millisecond
)

// datagram is one that was received.
type datagram struct {
	data []byte
	from netip.AddrPort
}

// packet is a datagram socket. It has a carrier from its first bind, connect or send on.
type packet struct {
	sys    *System
	family uint32
	room   chan struct{} // a datagram was taken; one slot
	gone   chan struct{} // closed by close

	mu      sync.Mutex
	carrier carrier
	peer    netip.AddrPort // of a connected one
	queue   []datagram
	queued  int // bytes
	err     errno
	closed  bool
}

// carrier is what datagrams travel on: a net.PacketConn, or a net.Conn that is connected.
type carrier interface {
	receive(buf []byte) (int, netip.AddrPort, error)
	send(b []byte, to netip.AddrPort) error
	LocalAddr() net.Addr
	SetWriteDeadline(time.Time) error
	Close() error
}

type unconnected struct{ net.PacketConn }

func (u unconnected) receive(buf []byte) (int, netip.AddrPort, error) {
	n, from, err := u.ReadFrom(buf)
	return n, addrPort(from), err
}

func (u unconnected) send(b []byte, to netip.AddrPort) error {
	_, err := u.WriteTo(b, net.UDPAddrFromAddrPort(to))
	return err
}

type connected struct{ net.Conn }

func (c connected) receive(buf []byte) (int, netip.AddrPort, error) {
	n, err := c.Read(buf)
	return n, addrPort(c.RemoteAddr()), err
}

func (c connected) send(b []byte, _ netip.AddrPort) error {
	_, err := c.Write(b)
	return err
}

func newPacket(s *System, family uint32) *packet {
	return &packet{sys: s, family: family, room: make(chan struct{}, 1), gone: make(chan struct{})}
}

func (p *packet) filetype() filetype { return typeDatagram }
func (p *packet) weight() int64      { return maxQueuedBytes + maxDatagram }

// bind gives the socket an address.
func (p *packet) bind(ctx context.Context, addr netip.AddrPort) errno {
	if p.current() != nil {
		return einval
	}
	pc, err := p.sys.config.Network.ListenPacket(ctx, "udp", addr)
	if err != nil {
		return errnoOf(err)
	}
	p.carry(unconnected{pc})
	return success
}

// connect fixes the peer. A bound socket keeps its address and ignores datagrams of others.
func (p *packet) connect(ctx context.Context, addr netip.AddrPort) errno {
	if p.current() == nil {
		nc, err := p.sys.config.Network.Dial(ctx, "udp", addr)
		if err != nil {
			return errnoOf(err)
		}
		p.carry(connected{nc})
	} else if _, fixed := p.current().(connected); fixed {
		return eisconn
	}
	p.mu.Lock()
	p.peer = addr
	p.mu.Unlock()
	return success
}

func (p *packet) current() carrier {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.carrier
}

func (p *packet) carry(c carrier) {
	p.mu.Lock()
	p.carrier = c
	p.mu.Unlock()
	p.sys.spawn(func() { p.run(c) })
}

func (p *packet) run(c carrier) {
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := c.receive(buf)
		if err != nil {
			p.fail(errnoOf(err))
			return
		}
		if !p.put(datagram{append([]byte(nil), buf[:n]...), from}) {
			return
		}
	}
}

// put queues a datagram, waiting for room. It says whether to go on.
func (p *packet) put(d datagram) bool {
	for {
		p.mu.Lock()
		if p.closed || p.peer.IsValid() && d.from != p.peer {
			defer p.mu.Unlock()
			return !p.closed
		}
		if len(p.queue) < maxQueued && p.queued < maxQueuedBytes {
			p.queue, p.queued = append(p.queue, d), p.queued+len(d.data)
			p.mu.Unlock()
			p.sys.changed.notify()
			return true
		}
		p.mu.Unlock()
		select {
		case <-p.room:
		case <-p.gone:
		}
	}
}

func (p *packet) fail(e errno) {
	p.mu.Lock()
	p.err = e
	p.mu.Unlock()
	p.sys.changed.notify()
}

// receive takes a datagram, or with peek looks at it. What does not fit is lost, and truncated says so.
func (p *packet) receive(bufs [][]byte, peek bool) (n int, from netip.AddrPort, truncated bool, e errno) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		if p.err != success {
			return 0, from, false, p.err
		}
		return 0, from, false, eagain
	}
	d := p.queue[0]
	rest := d.data
	for _, b := range bufs {
		rest = rest[copy(b, rest):]
	}
	if !peek {
		p.queue, p.queued = p.queue[1:], p.queued-len(d.data)
		select {
		case p.room <- struct{}{}:
		default:
		}
	}
	return len(d.data) - len(rest), d.from, len(rest) > 0, success
}

// send sends one datagram; to is not valid for the peer. One that cannot leave soon is lost, as datagrams are.
func (p *packet) send(ctx context.Context, bufs [][]byte, to netip.AddrPort) (int, errno) {
	p.mu.Lock()
	if !to.IsValid() {
		to = p.peer
	}
	p.mu.Unlock()
	if !to.IsValid() {
		return 0, edestaddrreq
	}
	data := join(bufs)
	if len(data) > maxDatagram {
		return 0, emsgsize
	}
	c := p.current()
	if c == nil {
		if e := p.bind(ctx, unspecified(p.family)); e != success {
			return 0, e
		}
		c = p.current()
	}
	if err := c.SetWriteDeadline(time.Now().Add(sendPatience)); err != nil {
		return 0, errnoOf(err)
	}
	if err := c.send(data, to); err != nil {
		if e := errnoOf(err); e != etimedout {
			return 0, e
		}
	}
	return len(data), success
}

func (p *packet) read(bufs [][]byte) (int, errno) {
	n, _, _, e := p.receive(bufs, false)
	return n, e
}

func (p *packet) write(bufs [][]byte) (int, errno) {
	return p.send(p.sys.ctx, bufs, netip.AddrPort{})
}

func (p *packet) readable() readiness {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := readiness{ready: len(p.queue) > 0 || p.err != success}
	if len(p.queue) > 0 {
		r.bytes = uint64(len(p.queue[0].data))
	}
	return r
}

func (p *packet) writable() readiness { return readiness{ready: true, bytes: maxDatagram} }

func (p *packet) local() net.Addr {
	if c := p.current(); c != nil {
		return c.LocalAddr()
	}
	return net.UDPAddrFromAddrPort(unspecified(p.family))
}

func (p *packet) peerAddr() netip.AddrPort {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.peer
}

// takeError tells a failure of receiving once (SO_ERROR).
func (p *packet) takeError() errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.err
	p.err = success
	return e
}

func (p *packet) close() errno {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	c := p.carrier
	p.mu.Unlock()
	if !first {
		return success
	}
	close(p.gone)
	if c == nil {
		return success
	}
	return errnoOf(c.Close())
}

// join makes one datagram of several buffers.
func join(bufs [][]byte) []byte {
	if len(bufs) == 1 {
		return bufs[0]
	}
	var all []byte
	for _, b := range bufs {
		if len(all)+len(b) > maxDatagram+1 {
			b = b[:maxDatagram+1-len(all)]
		}
		all = append(all, b...)
	}
	return all
}
