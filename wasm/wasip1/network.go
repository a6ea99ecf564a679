package wasip1

import (
	"context"
	"net"
	"net/netip"
)

// Network is what the sockets of one guest use. The connections, listeners and packet connections that it returns
// honour deadlines and may be closed concurrently.
type Network interface {
	// Listen announces on a local address: "tcp" with an unspecified or own address. Port
	// 0 picks one.
	Listen(ctx context.Context, network string, addr netip.AddrPort) (net.Listener, error)
	// ListenPacket does so for "udp".
	ListenPacket(ctx context.Context, network string, addr netip.AddrPort) (net.PacketConn, error)
	// Dial connects: "tcp", or "udp" for a connected packet socket.
	Dial(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error)
	// Resolve returns the addresses of a host name. Errors are *net.DNSError.
	Resolve(ctx context.Context, host string) ([]netip.Addr, error)
}

// Address is where to listen, as handed to a guest.
type Address struct {
	Network string // "tcp"
	Addr    netip.AddrPort
}

// Mount is a directory (or single file) of the host that the guest sees at Guest: an absolute path, or one that is
// relative to a working directory that it does not know.
type Mount struct {
	Host, Guest string
	ReadOnly    bool
}
