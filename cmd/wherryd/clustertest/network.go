package clustertest

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"wherry/nodeagent/dns"
	"wherry/nodeagent/podnet"
)

// newTCP is the network between the machines. It is a network of pods, in which each machine is one: connections are
// in memory and buffered. No cable of it can be pulled.
func newTCP() *podnet.Net {
	n := podnet.New(podnet.Config{})
	n.SetRange(netip.MustParsePrefix("10.0.0.0/24"))
	return n
}

// machine is one machine's view of the network.
type machine struct{ pod *podnet.Pod }

var _ podnet.Host = machine{}

// machine returns the machine of that address, plugged in when first asked for.
func (c *Cluster) machine(ip string) machine {
	p, ok := c.tcp.Pod(ip)
	if !ok {
		var err error
		p, err = c.tcp.AttachAt(ip, netip.MustParseAddr(ip))
		c.check(err)
	}
	return machine{p}
}

func (m machine) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := parse(address)
	if err != nil {
		return nil, err
	}
	return m.pod.Dial(ctx, network, to)
}

func (m machine) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	at, err := parse(address)
	if err != nil {
		return nil, err
	}
	return m.pod.Listen(ctx, network, at)
}

func (m machine) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	at, err := parse(address)
	if err != nil {
		return nil, err
	}
	return m.pod.ListenPacket(ctx, network, at)
}

// parse reads HOST:PORT; no host means every address.
func parse(address string) (netip.AddrPort, error) {
	if host, port, err := net.SplitHostPort(address); err == nil && host == "" {
		address = net.JoinHostPort("0.0.0.0", port)
	}
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return a, fmt.Errorf("the simulated network knows no names: %w", err)
	}
	return a, nil
}

// noNames is a resolver that knows nobody.
type noNames struct{}

var _ dns.Upstream = noNames{}

func unknown(name string) error {
	return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (noNames) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	return nil, unknown(host)
}
func (noNames) LookupTXT(_ context.Context, name string) ([]string, error) { return nil, unknown(name) }
func (noNames) LookupMX(_ context.Context, name string) ([]*net.MX, error) { return nil, unknown(name) }
func (noNames) LookupSRV(_ context.Context, _, _, name string) (string, []*net.SRV, error) {
	return "", nil, unknown(name)
}
func (noNames) LookupAddr(_ context.Context, addr string) ([]string, error) {
	return nil, unknown(addr)
}
