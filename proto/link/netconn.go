package link

import "net"

// NetConn makes a stream look like a net.Conn, for what speaks only that (net/http). Close
// closes the stream. The conn has CloseWrite as *net.TCPConn does.
func NetConn(s Stream, local, remote string) net.Conn {
	return &netConn{s, addr(local), addr(remote)}
}

type netConn struct {
	Stream
	local, remote addr
}

func (c *netConn) LocalAddr() net.Addr  { return c.local }
func (c *netConn) RemoteAddr() net.Addr { return c.remote }

// addr names an end of a stream.
type addr string

func (addr) Network() string  { return "link" }
func (a addr) String() string { return string(a) }
