package wasmprocess

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"wherry/wasm/wasip1"
)

var _ wasip1.Network = (*agentLink)(nil)

// Dial implements wasip1.Network.
func (a *agentLink) Dial(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
	w, reply, err := a.ask(ctx, hello{Kind: kindDial, Network: network, Address: addr})
	if err != nil {
		return nil, err
	}
	if network == "udp" {
		return &datagrams{packets{w, reply.Local}, reply.Remote}, nil
	}
	return &stream{w, reply.Local, reply.Remote}, nil
}

// Resolve implements wasip1.Network.
func (a *agentLink) Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	w, reply, err := a.ask(ctx, hello{Kind: kindResolve, Host: host})
	if err != nil {
		return nil, err
	}
	return reply.Addresses, w.Close()
}

// ListenPacket implements wasip1.Network.
func (a *agentLink) ListenPacket(ctx context.Context, network string, addr netip.AddrPort) (net.PacketConn, error) {
	w, reply, err := a.ask(ctx, hello{Kind: kindPackets, Network: network, Address: addr})
	if err != nil {
		return nil, err
	}
	return &packets{w, reply.Local}, nil
}

// Listen implements wasip1.Network. The listener stays when the agent goes.
func (a *agentLink) Listen(ctx context.Context, network string, addr netip.AddrPort) (net.Listener, error) {
	w, reply, err := a.ask(ctx, hello{Kind: kindListen, Network: network, Address: addr})
	if err != nil {
		return nil, err
	}
	l := &listener{agent: a, network: network, wire: w, local: reply.Local}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

// listener is a guest's listener at the agent.
type listener struct {
	agent   *agentLink
	network string
	local   netip.AddrPort // also when it listens again, so that a port that was picked stays
	ctx     context.Context
	cancel  context.CancelFunc

	mu   sync.Mutex
	wire *wire
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.local) }

func (l *listener) Close() error {
	l.cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wire.Close()
}

// Accept waits for a connection, also over the end of an agent.
func (l *listener) Accept() (net.Conn, error) {
	for {
		l.mu.Lock()
		w := l.wire
		l.mu.Unlock()
		var offer answer
		err := w.receive(&offer)
		switch {
		case l.ctx.Err() != nil:
			return nil, net.ErrClosed
		case err != nil:
			if err := l.again(); err != nil {
				return nil, err
			}
			continue
		}
		got, _, err := l.agent.ask(l.ctx, hello{Kind: kindAccept, Accept: offer.Accept})
		if err == nil {
			return &stream{got, offer.Local, offer.Remote}, nil
		}
		// The peer has gone meanwhile, or the agent.
	}
}

// again listens at the next agent. It fails only when the listener was closed.
func (l *listener) again() error {
	for pause := retryFirst; l.ctx.Err() == nil; pause = min(2*pause, retryLast) {
		w, _, err := l.agent.ask(l.ctx, hello{Kind: kindListen, Network: l.network, Address: l.local})
		if err != nil {
			wait(l.ctx, pause)
			continue
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		_ = l.wire.Close() // it has ended
		l.wire = w
		if l.ctx.Err() != nil {
			_ = w.Close() // closed meanwhile
		}
		return nil
	}
	return net.ErrClosed
}

// stream is a connection through the agent.
type stream struct {
	*wire
	local, remote netip.AddrPort
}

func (s *stream) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(s.local) }
func (s *stream) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.remote) }

// packets is a packet socket at the agent.
type packets struct {
	*wire
	local netip.AddrPort
}

func (p *packets) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(p.local) }

func (p *packets) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := p.receivePacket(b)
	return n, net.UDPAddrFromAddrPort(from), err
}

func (p *packets) WriteTo(b []byte, to net.Addr) (int, error) {
	return len(b), p.sendPacket(addrPort(to), b)
}

// datagrams is a packet socket that is connected.
type datagrams struct {
	packets
	remote netip.AddrPort
}

func (d *datagrams) RemoteAddr() net.Addr { return net.UDPAddrFromAddrPort(d.remote) }

func (d *datagrams) Read(b []byte) (int, error) {
	n, _, err := d.receivePacket(b)
	return n, err
}

func (d *datagrams) Write(b []byte) (int, error) { return len(b), d.sendPacket(d.remote, b) }
