package podnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"wherry/wasm/wasip1"
)

// Pod is one pod's place in the network: its address and what listens there. Containers
// of the pod share it, loopback included. It is a wasip1.Network.
type Pod struct {
	net       *Net
	uid       string
	namespace string
	ip        netip.Addr
	host      bool // shares the machine's network

	mu      sync.Mutex
	closed  bool
	streams map[uint16]*listener
	packets map[uint16]*packetConn
	open    map[closer]bool // host sockets to close with the pod
	next    uint16          // where the search for a free port goes on
}

type closer interface{ Close() error }

var _ wasip1.Network = (*Pod)(nil)

// Ports that a listener or client gets when it asks for none.
const firstEphemeral, lastEphemeral = 32768, 60999

func newPod(n *Net, place Place) *Pod {
	return &Pod{net: n, uid: place.UID, namespace: place.Namespace, host: place.HostNetwork, next: firstEphemeral,
		streams: map[uint16]*listener{}, packets: map[uint16]*packetConn{}, open: map[closer]bool{}}
}

// IP is the pod's address; invalid for a pod on the host's network.
func (p *Pod) IP() netip.Addr { return p.ip }

func (p *Pod) isSelf(ip netip.Addr) bool {
	return ip.IsLoopback() || ip.IsUnspecified() || ip == p.ip
}

// Listen announces on a port of the pod. Errors are *net.OpError.
func (p *Pod) Listen(ctx context.Context, network string, a netip.AddrPort) (net.Listener, error) {
	if p.host {
		return keep(p, func() (net.Listener, error) { return p.net.config.Host.Listen(ctx, network, a.String()) })
	}
	l, err := p.listen(a)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: addr(network, a), Err: err}
	}
	return l, nil
}

func (p *Pod) listen(a netip.AddrPort) (*listener, error) {
	if !p.isSelf(a.Addr().Unmap()) {
		return nil, errNotLocal
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	port, err := p.free(a.Port(), func(port uint16) bool { return p.streams[port] != nil })
	if err != nil {
		return nil, err
	}
	l := newListener(p, netip.AddrPortFrom(a.Addr(), port))
	p.streams[port] = l
	return l, nil
}

// free returns port, or a free one if it is 0; mu is held.
func (p *Pod) free(port uint16, taken func(uint16) bool) (uint16, error) {
	if p.closed {
		return 0, net.ErrClosed
	}
	if port != 0 {
		if taken(port) {
			return 0, errInUse
		}
		return port, nil
	}
	for range lastEphemeral - firstEphemeral + 1 {
		candidate := p.next
		if p.next++; p.next > lastEphemeral {
			p.next = firstEphemeral
		}
		if !taken(candidate) {
			return candidate, nil
		}
	}
	return 0, errInUse
}

// Dial connects the pod to an address.
func (p *Pod) Dial(ctx context.Context, network string, target netip.AddrPort) (net.Conn, error) {
	if network == "udp" && !p.host {
		return p.dialPacket(target)
	}
	if p.host && target.Addr().IsLoopback() {
		return p.net.config.Host.Dial(ctx, network, target.String())
	}
	c, err := p.net.dial(ctx, p, netip.AddrPortFrom(p.ip, 0), network, target)
	return c, dialError(network, target, err)
}

// DialLocal connects to a port of the pod as one of its own containers would: for probes
// and port-forward.
func (p *Pod) DialLocal(ctx context.Context, network string, port uint16) (net.Conn, error) {
	target := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	if p.host {
		return p.net.config.Host.Dial(ctx, network, target.String())
	}
	c, err := p.connect(network, netip.AddrPortFrom(target.Addr(), 0), port)
	return c, dialError(network, target, err)
}

// connect hands a new connection to whatever listens on the port. A listener on loopback
// is reached from inside only.
func (p *Pod) connect(network string, source netip.AddrPort, port uint16) (net.Conn, error) {
	if network == "udp" {
		return p.connectPacket(source, port)
	}
	p.mu.Lock()
	l := p.streams[port]
	p.mu.Unlock()
	inside := source.Addr() == p.ip || source.Addr().IsLoopback()
	if l == nil || l.bound.Addr().IsLoopback() && !inside {
		return nil, errRefused
	}
	return l.connect(source.Addr())
}

// Resolve looks a name up as the pod's namespace does. Errors are *net.DNSError.
func (p *Pod) Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	return p.net.config.Resolve(ctx, p.namespace, host)
}

func (p *Pod) close() {
	p.mu.Lock()
	p.closed = true
	var all []closer
	for _, l := range p.streams {
		all = append(all, l)
	}
	for _, c := range p.packets {
		all = append(all, c)
	}
	for c := range p.open {
		all = append(all, c)
	}
	p.mu.Unlock()
	for _, c := range all {
		if err := c.Close(); err != nil {
			p.net.config.Logger.Debug("closing a socket of a pod", "pod", p.uid, "err", err)
		}
	}
}

// keep remembers a socket of the host, so that it is closed with the pod at the latest.
func keep[C closer](p *Pod, open func() (C, error)) (C, error) {
	c, err := open()
	if err != nil {
		return c, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		var none C
		return none, fmt.Errorf("the pod is gone: %w", closeNow(c))
	}
	p.open[c] = true
	return c, nil
}

func closeNow(c closer) error {
	if err := c.Close(); err != nil {
		return err
	}
	return net.ErrClosed
}
