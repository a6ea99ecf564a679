package sandbox

import (
	"context"
	"net"
	"net/netip"

	"wherry/wasm/wasip1"
)

// machine is the network of this machine, as --net grants it.
type machine struct{}

var _ wasip1.Network = machine{}

func (machine) Listen(ctx context.Context, network string, addr netip.AddrPort) (net.Listener, error) {
	var c net.ListenConfig
	return c.Listen(ctx, network, addr.String())
}

func (machine) ListenPacket(ctx context.Context, network string, addr netip.AddrPort) (net.PacketConn, error) {
	var c net.ListenConfig
	return c.ListenPacket(ctx, network, addr.String())
}

func (machine) Dial(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, addr.String())
}

func (machine) Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}
