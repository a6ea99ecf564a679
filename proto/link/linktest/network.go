package linktest

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"
)

// Network is a packet network for a synctest bubble: every connection is a machine with an
// address of its own, and cables can be pulled. The zero value is ready, with no latency.
type Network struct {
	// Latency of a packet; set before the first Conn.
	Latency time.Duration

	router simnet.PerfectRouter
	mu     sync.Mutex
	next   int
	cut    map[string]bool // by IP; "" is the whole network
}

// Conn plugs in a new machine. Close unplugs it.
func (n *Network) Conn() net.PacketConn {
	n.mu.Lock()
	n.next++
	next := n.next
	n.mu.Unlock()
	return n.ConnAt(fmt.Sprintf("10.99.%d.%d:6443", next>>8, next&0xff))
}

// ConnAt plugs in a machine with the given IPv4 address and port. Two at one address must not
// be open at once.
func (n *Network) ConnAt(address string) net.PacketConn {
	to, err := net.ResolveUDPAddr("udp4", address)
	if err != nil {
		panic(err)
	}
	to.IP = to.IP.To4()
	cable := &simnet.SimulatedLink{Latency: n.Latency, UploadPacket: n}
	c := &conn{SimConn: simnet.NewBlockingSimConn(to, cable), cable: cable, network: n}
	cable.AddNode(to, c.SimConn)
	cable.Start()
	n.AddNode(to, cable)
	return c
}

// Cut pulls the cable of the machine with that IP, or plugs it in again; "" means all.
func (n *Network) Cut(ip string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut == nil {
		n.cut = map[string]bool{}
	}
	n.cut[ip] = cut
}

// SendPacket implements simnet.Router.
func (n *Network) SendPacket(p simnet.Packet) error {
	n.mu.Lock()
	lost := n.cut[""] || n.cut[ip(p.From)] || n.cut[ip(p.To)]
	n.mu.Unlock()
	if lost {
		return nil
	}
	return n.router.SendPacket(p)
}

// AddNode implements simnet.Router.
func (n *Network) AddNode(addr net.Addr, r simnet.PacketReceiver) { n.router.AddNode(addr, r) }

func ip(a net.Addr) string {
	if u, ok := a.(*net.UDPAddr); ok {
		return u.IP.String()
	}
	return a.String()
}

// conn takes its machine off the network when it is closed.
type conn struct {
	*simnet.SimConn
	cable   *simnet.SimulatedLink
	network *Network
	once    sync.Once
}

func (c *conn) Close() (err error) {
	c.once.Do(func() {
		c.network.router.RemoveNode(c.LocalAddr())
		err = errors.Join(c.SimConn.Close(), c.cable.Close())
	})
	return err
}
