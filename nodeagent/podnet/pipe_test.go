package podnet

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"
)

func TestPipeIsANetConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		a, b := newPipe(&net.TCPAddr{Port: 1}, &net.TCPAddr{Port: 2})
		return a, b, func() { a.Close(); b.Close() }, nil
	})
}
