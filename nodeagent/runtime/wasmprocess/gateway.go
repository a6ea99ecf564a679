package wasmprocess

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"wherry/wasm/wasip1"
)

const (
	// helloPatience is how long a process may take to say who it is.
	helloPatience = 10 * time.Second
	// acceptPatience is how long a connection to a guest's listener waits for its process to fetch it.
	acceptPatience = 10 * time.Second
)

// listen opens the agent's socket. What an earlier agent left is in the way.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := bind(path)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, 0o600)
}

// serve takes connections of processes until Close.
func (d *Driver) serve() {
	g := &gateway{driver: d, accepted: map[uint64]net.Conn{}}
	for {
		conn, err := d.socket.Accept()
		if err != nil {
			if d.ctx.Err() == nil {
				d.log.Error("processes cannot reach the agent any more", "err", err)
			}
			return
		}
		if !d.keep(conn) {
			return
		}
		d.tasks.Go(func() {
			defer d.drop(conn)
			g.handle(newWire(conn))
		})
	}
}

// keep has Close close a connection, drop closes it.
func (d *Driver) keep(conn net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		_ = conn.Close() // nothing was said
		return false
	}
	d.conns[conn] = true
	return true
}

func (d *Driver) drop(conn net.Conn) {
	d.mu.Lock()
	delete(d.conns, conn)
	d.mu.Unlock()
	_ = conn.Close() // what was written has been, or the peer is gone
}

// gateway is the agent's end of what processes ask for.
type gateway struct {
	driver *Driver
	last   atomic.Uint64 // number of an accepted connection

	mu       sync.Mutex
	accepted map[uint64]net.Conn // that wait to be fetched
}

func (g *gateway) handle(w *wire) {
	_ = w.SetReadDeadline(time.Now().Add(helloPatience)) // what cannot have one ends soon anyway
	var h hello
	if err := w.receive(&h); err != nil {
		return
	}
	_ = w.SetReadDeadline(time.Time{}) // as above
	c := g.whose(h)
	if c == nil {
		g.driver.log.Warn("a process that is not known was turned away", "folder", h.Folder)
		return
	}
	if h.Kind == kindControl {
		c.join(w)
		return
	}
	if h.Kind == kindConsole {
		c.arrive(h.Console, w)
		return
	}
	if h.Kind == kindAccept {
		g.fetch(w, h)
		return
	}
	network, err := g.driver.config.Network(c.order.Spec)
	if err != nil {
		_ = w.send(answer{Error: failureOf(err)}) // it is gone if this fails
		return
	}
	g.answer(w, h, network)
}

// whose is the container that a process belongs to; nil: none.
func (g *gateway) whose(h hello) *container {
	g.driver.mu.Lock()
	defer g.driver.mu.Unlock()
	for _, c := range g.driver.containers {
		if folderName(c.order.Spec.ID) == h.Folder && subtle.ConstantTimeCompare([]byte(c.order.Token), []byte(h.Token)) == 1 {
			return c
		}
	}
	return nil
}

// answer does what a guest's socket asks of its network.
func (g *gateway) answer(w *wire, h hello, network wasip1.Network) {
	var err error
	switch h.Kind {
	case kindResolve:
		var a answer
		a.Addresses, err = network.Resolve(g.driver.ctx, h.Host)
		a.Error = failureOf(err)
		err = w.send(a)
	case kindDial:
		err = g.dial(w, h, network)
	case kindListen:
		err = g.listen(w, h, network)
	case kindPackets:
		err = g.packets(w, h, network)
	default:
		err = w.send(answer{Error: failureOf(fmt.Errorf("this agent does not know %q", h.Kind))})
	}
	if err != nil && g.driver.ctx.Err() == nil {
		g.driver.log.Debug("a process' request ended", "kind", h.Kind, "err", err)
	}
}

func (g *gateway) dial(w *wire, h hello, network wasip1.Network) error {
	conn, err := network.Dial(g.driver.ctx, h.Network, h.Address)
	if err != nil {
		return w.send(answer{Error: failureOf(err)})
	}
	if !g.driver.keep(conn) {
		return nil
	}
	defer g.driver.drop(conn)
	if err := w.send(answer{Local: addrPort(conn.LocalAddr()), Remote: addrPort(conn.RemoteAddr())}); err != nil {
		return err
	}
	if h.Network == "udp" {
		return relayPackets(w, connected{conn})
	}
	relay(w, conn)
	return nil
}

// listen tells the process of each connection, which then fetches it.
func (g *gateway) listen(w *wire, h hello, network wasip1.Network) error {
	l, err := network.Listen(g.driver.ctx, h.Network, h.Address)
	if err != nil {
		return w.send(answer{Error: failureOf(err)})
	}
	var watch sync.WaitGroup
	defer watch.Wait()
	defer l.Close() // again, perhaps
	if err := w.send(answer{Local: addrPort(l.Addr())}); err != nil {
		return err
	}
	watch.Go(func() {
		_, _ = io.Copy(io.Discard, w) // the process says nothing more: this is its end
		_ = l.Close()                 // so that accepting ends
	})
	for {
		conn, err := l.Accept()
		if err != nil {
			_ = w.Close() // ends the watch
			return err
		}
		id := g.offer(conn)
		a := answer{Accept: id, Local: addrPort(conn.LocalAddr()), Remote: addrPort(conn.RemoteAddr())}
		if err := w.send(a); err != nil {
			_ = l.Close() // as above
			return err
		}
	}
}

// offer keeps a connection until it is fetched, or nobody did.
func (g *gateway) offer(conn net.Conn) uint64 {
	id := g.last.Add(1)
	if !g.driver.keep(conn) {
		return id
	}
	g.mu.Lock()
	g.accepted[id] = conn
	g.mu.Unlock()
	time.AfterFunc(acceptPatience, func() {
		if conn := g.take(id); conn != nil {
			g.driver.drop(conn)
		}
	})
	return id
}

func (g *gateway) take(id uint64) net.Conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	conn := g.accepted[id]
	delete(g.accepted, id)
	return conn
}

func (g *gateway) fetch(w *wire, h hello) {
	conn := g.take(h.Accept)
	if conn == nil {
		_ = w.send(answer{Error: failureOf(net.ErrClosed)}) // it is gone if this fails
		return
	}
	defer g.driver.drop(conn)
	if w.send(answer{}) == nil {
		relay(w, conn)
	}
}

func (g *gateway) packets(w *wire, h hello, network wasip1.Network) error {
	pc, err := network.ListenPacket(g.driver.ctx, h.Network, h.Address)
	if err != nil {
		return w.send(answer{Error: failureOf(err)})
	}
	defer pc.Close() // again, perhaps
	if err := w.send(answer{Local: addrPort(pc.LocalAddr())}); err != nil {
		return err
	}
	return relayPackets(w, pc)
}

// relay carries bytes both ways until both have ended.
func relay(a, b net.Conn) {
	var ways sync.WaitGroup
	way := func(to, from net.Conn) {
		_, err := io.Copy(to, from)
		if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
			err = half.CloseWrite()
		}
		if err != nil {
			_ = a.Close() // one way broke: so did the other
			_ = b.Close()
		}
	}
	ways.Go(func() { way(a, b) })
	ways.Go(func() { way(b, a) })
	ways.Wait()
}

// relayPackets carries datagrams both ways until one side ends.
func relayPackets(w *wire, pc net.PacketConn) error {
	var other sync.WaitGroup
	defer other.Wait()
	defer pc.Close() // ends the other way
	other.Go(func() {
		defer w.Close() // ends this way
		buf := make([]byte, maxPacket)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil || w.sendPacket(addrPort(from), buf[:n]) != nil {
				return
			}
		}
	})
	buf := make([]byte, maxPacket)
	for {
		n, to, err := w.receivePacket(buf)
		if err != nil {
			return err
		}
		_, _ = pc.WriteTo(buf[:n], net.UDPAddrFromAddrPort(to)) // datagrams may be lost
	}
}

// connected is a connected packet socket as a net.PacketConn.
type connected struct{ net.Conn }

func (c connected) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := c.Read(b)
	return n, c.RemoteAddr(), err
}

func (c connected) WriteTo(b []byte, _ net.Addr) (int, error) { return c.Write(b) }

// addrPort is an address as it crosses; invalid if it is of another kind.
func addrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.AddrPort()
	case *net.UDPAddr:
		return a.AddrPort()
	case nil:
		return netip.AddrPort{}
	}
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return p
}
