package podnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"wherry/nodeagent/services"
)

// Host is the machine's own network. *net.Dialer and *net.ListenConfig together make
// one; tests give another.
type Host interface {
	Dial(ctx context.Context, network, address string) (net.Conn, error)
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
}

// Tunnel opens a connection to a pod of another node, on behalf of source, whose port or
// all of which may be unknown (zero). For "udp" each
// Read and Write is one packet.
type Tunnel func(ctx context.Context, network string, source, target netip.AddrPort) (net.Conn, error)

// Config is what a Net needs.
type Config struct {
	Host   Host
	Tunnel Tunnel
	// Resolve looks a name up for a pod of the namespace. Errors are *net.DNSError.
	Resolve func(ctx context.Context, namespace, host string) ([]netip.Addr, error)
	Logger  *slog.Logger
}

// Net is the network of all pods of this machine. All methods may be called concurrently.
type Net struct {
	config Config
	table  atomic.Pointer[services.Table]
	// clients remembers endpoints for Services with session affinity.
	clients affinity

	mu      sync.Mutex
	own     netip.Prefix // this node's pod CIDR
	cluster []netip.Prefix
	pods    map[string]*Pod     // by uid
	byIP    map[netip.Addr]*Pod // those with an address of own
}

// New returns a network without pods.
func New(c Config) *Net {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	n := &Net{config: c, pods: map[string]*Pod{}, byIP: map[netip.Addr]*Pod{}, clients: affinity{kept: map[client]keptEndpoint{}}}
	n.table.Store(services.Build(services.Input{}))
	return n
}

// SetTable gives the whole new table of routes.
func (n *Net) SetTable(t *services.Table) { n.table.Store(t) }

// SetRange says from which block pods get their addresses, and which blocks belong to
// pods and Services of the cluster. Pods that have an address keep it.
func (n *Net) SetRange(own netip.Prefix, cluster ...netip.Prefix) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.own, n.cluster = own.Masked(), cluster
}

// ErrNoRange says that the control plane has not yet told the node its pod CIDR.
var ErrNoRange = errors.New("podnet: the node has no pod CIDR yet")

// Place is a pod that wants to be in the network.
type Place struct {
	UID, Namespace string
	// HostNetwork: the pod has no address of its own, its sockets are the machine's.
	HostNetwork bool
	// Wish is the address that the pod had before, given again if it is free.
	Wish netip.Addr
}

// Attach gives a pod its place in the network, or returns the one it has.
func (n *Net) Attach(place Place) (*Pod, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.pods[place.UID]; p != nil {
		return p, nil
	}
	p := newPod(n, place)
	if !place.HostNetwork {
		ip, err := n.freeAddress(place)
		if err != nil {
			return nil, err
		}
		p.ip = ip
		n.byIP[ip] = p
	}
	n.pods[place.UID] = p
	return p, nil
}

// AttachAt places a part of the agent itself, such as DNS, at an address of its own.
func (n *Net) AttachAt(name string, ip netip.Addr) (*Pod, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.byIP[ip] != nil {
		return nil, fmt.Errorf("podnet: %s is taken", ip)
	}
	p := newPod(n, Place{UID: name})
	p.ip = ip
	n.byIP[ip], n.pods[name] = p, p
	return p, nil
}

// Detach closes everything of the pod and frees its address. Unknown uids: nothing.
func (n *Net) Detach(uid string) {
	n.mu.Lock()
	p := n.pods[uid]
	delete(n.pods, uid)
	if p != nil && n.byIP[p.ip] == p {
		delete(n.byIP, p.ip)
	}
	n.mu.Unlock()
	if p != nil {
		p.close()
	}
}

// Close detaches every pod.
func (n *Net) Close() {
	n.mu.Lock()
	var uids []string
	for uid := range n.pods {
		uids = append(uids, uid)
	}
	n.mu.Unlock()
	for _, uid := range uids {
		n.Detach(uid)
	}
}

// Pod returns the pod's place.
func (n *Net) Pod(uid string) (*Pod, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p, ok := n.pods[uid]
	return p, ok
}

func (n *Net) at(ip netip.Addr) *Pod {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byIP[ip]
}

// where says what kind of place an address is, when no pod of this node has it.
func (n *Net) where(ip netip.Addr) place {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.own.IsValid() && n.own.Contains(ip) {
		return nowhere
	}
	for _, block := range n.cluster {
		if block.Contains(ip) {
			return remote
		}
	}
	return outside
}

type place int

const (
	nowhere place = iota // an address of this node that no pod has
	remote               // a pod of another node
	outside              // not of the cluster
)

// Dial connects the host itself to an address, as a pod would see it.
func (n *Net) Dial(ctx context.Context, network string, target netip.AddrPort) (net.Conn, error) {
	c, err := n.dial(ctx, nil, netip.AddrPort{}, network, target)
	return c, dialError(network, target, err)
}

// DialFrom connects on behalf of a pod of another node, for tunnels that end here.
func (n *Net) DialFrom(ctx context.Context, source netip.AddrPort, network string, target netip.AddrPort) (net.Conn, error) {
	p := n.at(target.Addr())
	if p == nil {
		return nil, dialError(network, target, errUnreachable)
	}
	c, err := p.connect(network, source, target.Port())
	return c, dialError(network, target, err)
}

// DialRoute connects to one of a route's endpoints, trying others when one cannot be reached.
// source is who asks, for packets' return addresses; it may be invalid.
func (n *Net) DialRoute(ctx context.Context, source netip.AddrPort, network string, r *services.Route) (net.Conn, error) {
	const attempts = 3
	tried := map[netip.AddrPort]bool{}
	err := error(errRefused) // what kube-proxy answers for a Service without endpoints
	for range attempts {
		e, ok := n.clients.pick(r, source.Addr(), tried)
		if !ok {
			break
		}
		var c net.Conn
		if c, err = n.direct(ctx, source, network, e.Addr); err == nil {
			n.clients.keep(r, source.Addr(), e)
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		tried[e.Addr] = true
	}
	return nil, fmt.Errorf("service %s/%s: %w", r.Namespace, r.Service, err)
}

func (n *Net) dial(ctx context.Context, from *Pod, source netip.AddrPort, network string, target netip.AddrPort) (net.Conn, error) {
	target = netip.AddrPortFrom(target.Addr().Unmap(), target.Port())
	if from != nil && !from.host && from.isSelf(target.Addr()) {
		return from.connect(network, source, target.Port())
	}
	table := n.table.Load()
	if r, ok := table.Cluster(network, target); ok {
		return n.DialRoute(ctx, source, network, r)
	}
	if table.IsClusterIP(target.Addr()) && n.at(target.Addr()) == nil {
		return nil, errRefused
	}
	return n.direct(ctx, source, network, target)
}

// direct connects to an address that is no cluster IP.
func (n *Net) direct(ctx context.Context, source netip.AddrPort, network string, target netip.AddrPort) (net.Conn, error) {
	if p := n.at(target.Addr()); p != nil {
		return p.connect(network, source, target.Port())
	}
	switch n.where(target.Addr()) {
	case nowhere:
		return nil, errUnreachable
	case remote:
		return n.config.Tunnel(ctx, network, source, target)
	}
	return n.config.Host.Dial(ctx, network, target.String())
}

func dialError(network string, target netip.AddrPort, err error) error {
	if err == nil {
		return nil
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return err
	}
	return &net.OpError{Op: "dial", Net: network, Addr: addr(network, target), Err: err}
}

// addr makes the net.Addr of a network and address.
func addr(network string, a netip.AddrPort) net.Addr {
	if network == "udp" {
		return net.UDPAddrFromAddrPort(a)
	}
	return net.TCPAddrFromAddrPort(a)
}
