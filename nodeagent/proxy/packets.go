package proxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	maxFlows  = 4096            // clients of one UDP port; packets of more are dropped
	flowIdle  = 2 * time.Minute // as nf_conntrack_udp_timeout_stream
	maxPacket = 65507
)

// packets is the flows of one UDP port, by client.
type packets struct {
	front  *front
	socket net.PacketConn

	mu    sync.Mutex
	flows map[string]net.Conn
}

func (f *front) listenPackets(ctx context.Context, address string) error {
	socket, err := f.proxy.config.Host.ListenPacket(ctx, "udp", address)
	if err != nil {
		return err
	}
	p := &packets{front: f, socket: socket, flows: map[string]net.Conn{}}
	f.close = func() { f.cancel(); f.log("closing a port", socket.Close()); p.closeAll() }
	f.serve = p.serve
	return nil
}

func (p *packets) serve() {
	defer p.front.conns.Wait()
	b := make([]byte, maxPacket)
	for {
		n, client, err := p.socket.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) || p.front.ctx.Err() != nil {
			return
		}
		if err != nil { // an ICMP answer to an earlier packet
			p.front.log("reading a packet", err)
			p.front.pause()
			continue
		}
		p.front.log("forwarding a packet", p.forward(b[:n], client))
	}
}

func (p *packets) forward(b []byte, client net.Addr) error {
	p.mu.Lock()
	flow := p.flows[client.String()]
	p.mu.Unlock()
	if flow == nil {
		var err error
		if flow, err = p.open(client); err != nil {
			return err
		}
	}
	_, err := flow.Write(b)
	return err
}

var errTooManyFlows = errors.New("too many clients on one UDP port")

func (p *packets) open(client net.Addr) (net.Conn, error) {
	flow, err := p.front.dial("udp", client)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.flows) >= maxFlows || p.front.ctx.Err() != nil {
		return nil, errors.Join(errTooManyFlows, flow.Close())
	}
	p.flows[client.String()] = flow
	p.front.conns.Go(func() { p.answer(flow, client) })
	return flow, nil
}

// answer brings the backend's packets to the client until the flow is idle or broken.
func (p *packets) answer(flow net.Conn, client net.Addr) {
	defer p.end(flow, client)
	b := make([]byte, maxPacket)
	for {
		if err := flow.SetReadDeadline(time.Now().Add(flowIdle)); err != nil {
			return
		}
		n, err := flow.Read(b)
		if err != nil {
			return
		}
		if _, err := p.socket.WriteTo(b[:n], client); err != nil {
			p.front.log("answering a packet", err)
			return
		}
	}
}

func (p *packets) end(flow net.Conn, client net.Addr) {
	p.mu.Lock()
	if p.flows[client.String()] == flow {
		delete(p.flows, client.String())
	}
	p.mu.Unlock()
	p.front.log("closing a flow", flow.Close())
}

func (p *packets) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, flow := range p.flows {
		p.front.log("closing a flow", flow.Close())
	}
}
