package podnet

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

const (
	packetsQueued = 128             // per socket; more are dropped, as a kernel does
	maxFlows      = 1024            // peers that one socket talks to through other ways than memory
	flowIdle      = 2 * time.Minute // a flow without a packet either way ends
	maxPacket     = 65507           // the largest UDP payload over IPv4
	dialPatience  = 5 * time.Second
)

// packet is one datagram. Its bytes belong to the queue it stands in.
type packet struct {
	data []byte
	from netip.AddrPort
}

// packetQueue is a bounded queue that drops when full.
type packetQueue struct {
	packets  chan packet
	done     chan struct{}
	once     sync.Once
	deadline deadline
}

func newPacketQueue() *packetQueue {
	return &packetQueue{packets: make(chan packet, packetsQueued), done: make(chan struct{})}
}

func (q *packetQueue) put(data []byte, from netip.AddrPort) {
	select {
	case q.packets <- packet{append([]byte(nil), data...), from}:
	default:
	}
}

func (q *packetQueue) get() (packet, error) {
	expired := q.deadline.expired()
	if isClosed(expired) {
		return packet{}, os.ErrDeadlineExceeded
	}
	select {
	case p := <-q.packets:
		return p, nil
	case <-q.done:
		return packet{}, net.ErrClosed
	case <-expired:
		return packet{}, os.ErrDeadlineExceeded
	}
}

func (q *packetQueue) close() { q.once.Do(func() { close(q.done) }) }

// packetConn is a bound UDP socket of a pod. A packet to a peer that is not in memory, or
// behind a cluster IP, goes through a flow: a connection of its own, whose answers arrive
// here as from the address that was sent to.
type packetConn struct {
	pod   *Pod
	bound netip.AddrPort
	queue *packetQueue
	pumps sync.WaitGroup

	mu     sync.Mutex
	closed bool
	flows  map[netip.AddrPort]net.Conn
	back   map[netip.AddrPort]*packetFlow // peers that dialled in
}

// ListenPacket binds a UDP port of the pod. Errors are *net.OpError.
func (p *Pod) ListenPacket(ctx context.Context, network string, a netip.AddrPort) (net.PacketConn, error) {
	if p.host {
		return keep(p, func() (net.PacketConn, error) { return p.net.config.Host.ListenPacket(ctx, network, a.String()) })
	}
	c, err := p.listenPacket(a)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: addr(network, a), Err: err}
	}
	return c, nil
}

func (p *Pod) listenPacket(a netip.AddrPort) (*packetConn, error) {
	if !p.isSelf(a.Addr().Unmap()) {
		return nil, errNotLocal
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	port, err := p.free(a.Port(), func(port uint16) bool { return p.packets[port] != nil })
	if err != nil {
		return nil, err
	}
	c := &packetConn{pod: p, bound: netip.AddrPortFrom(a.Addr(), port), queue: newPacketQueue(),
		flows: map[netip.AddrPort]net.Conn{}, back: map[netip.AddrPort]*packetFlow{}}
	p.packets[port] = c
	return c, nil
}

// dialPacket makes a connected UDP socket.
func (p *Pod) dialPacket(target netip.AddrPort) (net.Conn, error) {
	p.mu.Lock()
	port, err := p.free(0, func(port uint16) bool { return p.packets[port] != nil })
	p.mu.Unlock()
	if err != nil {
		return nil, dialError("udp", target, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialPatience)
	defer cancel()
	c, err := p.net.dial(ctx, p, netip.AddrPortFrom(p.ip, port), "udp", target)
	return c, dialError("udp", target, err)
}

// connectPacket makes a flow from source to the socket that is bound to port.
func (p *Pod) connectPacket(source netip.AddrPort, port uint16) (net.Conn, error) {
	p.mu.Lock()
	c := p.packets[port]
	p.mu.Unlock()
	inside := source.Addr() == p.ip || source.Addr().IsLoopback()
	if c == nil || c.bound.Addr().IsLoopback() && !inside {
		return nil, errRefused
	}
	return c.accept(source)
}

func (c *packetConn) accept(source netip.AddrPort) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.back) >= maxFlows {
		return nil, errRefused
	}
	for c.back[source] != nil || !source.IsValid() || source.Port() == 0 {
		source = c.anonymous(source)
	}
	f := &packetFlow{target: c, source: source, queue: newPacketQueue()}
	c.back[source] = f
	return f, nil
}

// anonymous gives a caller without an address of its own, or one that is taken, the next port.
func (c *packetConn) anonymous(source netip.AddrPort) netip.AddrPort {
	ip := source.Addr()
	if !ip.IsValid() {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	if c.pod.next++; c.pod.next > lastEphemeral {
		c.pod.next = firstEphemeral
	}
	return netip.AddrPortFrom(ip, c.pod.next)
}

func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	p, err := c.queue.get()
	if err != nil {
		return 0, nil, &net.OpError{Op: "read", Net: "udp", Addr: c.LocalAddr(), Err: err}
	}
	return copy(b, p.data), addr("udp", p.from), nil
}

func (c *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	target, err := netip.ParseAddrPort(to.String())
	if err == nil {
		err = c.send(b, netip.AddrPortFrom(target.Addr().Unmap(), target.Port()))
	}
	if err != nil {
		return 0, &net.OpError{Op: "write", Net: "udp", Addr: to, Err: err}
	}
	return len(b), nil
}

func (c *packetConn) send(b []byte, target netip.AddrPort) error {
	if len(b) > maxPacket {
		return errTooLong
	}
	c.mu.Lock()
	back, flow, closed := c.back[target], c.flows[target], c.closed
	c.mu.Unlock()
	switch {
	case closed:
		return net.ErrClosed
	case back != nil:
		back.queue.put(b, target)
		return nil
	case flow == nil:
		if c.deliver(b, target) {
			return nil
		}
		var err error
		if flow, err = c.openFlow(target); err != nil {
			return err
		}
	}
	_, err := flow.Write(b)
	return err
}

// deliver puts the packet straight into the queue of a socket of this node.
func (c *packetConn) deliver(b []byte, target netip.AddrPort) bool {
	peer := c.pod
	if !c.pod.isSelf(target.Addr()) {
		peer = c.pod.net.at(target.Addr())
	}
	if peer == nil {
		return false
	}
	peer.mu.Lock()
	to := peer.packets[target.Port()]
	peer.mu.Unlock()
	if to != nil && (peer == c.pod || !to.bound.Addr().IsLoopback()) {
		to.queue.put(b, netip.AddrPortFrom(c.pod.ip, c.bound.Port()))
	}
	return true // nobody listens: lost, as UDP is
}

func (c *packetConn) openFlow(target netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialPatience)
	defer cancel()
	flow, err := c.pod.net.dial(ctx, c.pod, netip.AddrPortFrom(c.pod.ip, c.bound.Port()), "udp", target)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.flows) >= maxFlows {
		return nil, closeNow(flow)
	}
	c.flows[target] = flow
	c.pumps.Go(func() { c.pump(flow, target) })
	return flow, nil
}

// pump brings a flow's answers to the socket until the flow is idle or closed.
func (c *packetConn) pump(flow net.Conn, target netip.AddrPort) {
	defer c.endFlow(flow, target)
	b := make([]byte, maxPacket)
	for {
		if err := flow.SetReadDeadline(time.Now().Add(flowIdle)); err != nil {
			return
		}
		n, err := flow.Read(b)
		if err != nil {
			return
		}
		c.queue.put(b[:n], target)
	}
}

func (c *packetConn) endFlow(flow net.Conn, target netip.AddrPort) {
	c.mu.Lock()
	delete(c.flows, target)
	c.mu.Unlock()
	if err := flow.Close(); err != nil {
		c.pod.net.config.Logger.Debug("closing a packet flow", "to", target, "err", err)
	}
}

// Close releases the port, ends every flow and waits for them.
func (c *packetConn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	for _, f := range c.back {
		f.queue.close()
	}
	flows := make([]net.Conn, 0, len(c.flows))
	for _, f := range c.flows {
		flows = append(flows, f)
	}
	c.mu.Unlock()
	c.queue.close()

	c.pod.mu.Lock()
	delete(c.pod.packets, c.bound.Port())
	c.pod.mu.Unlock()
	for _, f := range flows {
		if err := f.Close(); err != nil {
			c.pod.net.config.Logger.Debug("closing a packet flow", "err", err)
		}
	}
	c.pumps.Wait()
	return nil
}

func (c *packetConn) LocalAddr() net.Addr { return addr("udp", c.bound) }

func (c *packetConn) SetDeadline(t time.Time) error      { return c.SetReadDeadline(t) }
func (c *packetConn) SetReadDeadline(t time.Time) error  { c.queue.deadline.set(t); return nil }
func (c *packetConn) SetWriteDeadline(t time.Time) error { return nil } // writes never wait

// packetFlow is the dialling end of a packet connection to a pod's socket.
type packetFlow struct {
	target *packetConn
	source netip.AddrPort
	queue  *packetQueue
}

func (f *packetFlow) Read(b []byte) (int, error) {
	p, err := f.queue.get()
	if err != nil {
		return 0, &net.OpError{Op: "read", Net: "udp", Addr: f.RemoteAddr(), Err: err}
	}
	return copy(b, p.data), nil
}

func (f *packetFlow) Write(b []byte) (int, error) {
	if isClosed(f.queue.done) {
		return 0, &net.OpError{Op: "write", Net: "udp", Addr: f.RemoteAddr(), Err: net.ErrClosed}
	}
	f.target.queue.put(b, f.source)
	return len(b), nil
}

func (f *packetFlow) Close() error {
	f.queue.close()
	f.target.mu.Lock()
	defer f.target.mu.Unlock()
	if f.target.back[f.source] == f {
		delete(f.target.back, f.source)
	}
	return nil
}

func (f *packetFlow) LocalAddr() net.Addr { return addr("udp", f.source) }
func (f *packetFlow) RemoteAddr() net.Addr {
	return addr("udp", netip.AddrPortFrom(f.target.pod.ip, f.target.bound.Port()))
}
func (f *packetFlow) SetDeadline(t time.Time) error      { return f.SetReadDeadline(t) }
func (f *packetFlow) SetReadDeadline(t time.Time) error  { f.queue.deadline.set(t); return nil }
func (f *packetFlow) SetWriteDeadline(t time.Time) error { return nil } // writes never wait
