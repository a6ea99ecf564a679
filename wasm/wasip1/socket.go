package wasip1

import (
	"net"
	"net/netip"
)

const (
	recvPeek    = 1 // riflags
	recvWaitAll = 2
	recvCut     = 1 // roflags

	shutRead  = 1 // sdflags
	shutWrite = 2
)

// socket is a stream socket that is neither listening nor connected yet.
type socket struct {
	family uint32
	bound  netip.AddrPort
}

func (*socket) filetype() filetype          { return typeStream }
func (*socket) close() errno                { return success }
func (*socket) read([][]byte) (int, errno)  { return 0, enotconn }
func (*socket) write([][]byte) (int, errno) { return 0, enotconn }
func (*socket) readable() readiness         { return readiness{} }
func (*socket) writable() readiness         { return readiness{} }
func (*socket) takeError() errno            { return success }
func (s *socket) weight() int64             { return streamSize } // it is to become a connection
func (s *socket) local() net.Addr           { return net.TCPAddrFromAddrPort(s.bound) }

// accept returns the number of a connection that was accepted.
func (c call) accept(flags fdflags) (uint32, errno) {
	d, e := c.descriptor(0, rightAccept)
	if e != success {
		return 0, e
	}
	l, ok := d.object.(*listener)
	switch {
	case !ok && (d.filetype() == typeStream || d.filetype() == typeDatagram):
		return 0, einval
	case !ok:
		return 0, enotsock
	case flags&^flagNonblock != 0:
		return 0, einval
	case c.sys.table.full():
		return 0, emfile
	}
	var nc net.Conn
	try := func() (e errno) { nc, e = l.accept(); return e }
	if e = try(); e == eagain && !d.nonblocking() {
		e = c.wait(d.readTimeout, try)
	}
	if e != success {
		return 0, e
	}
	return c.sys.open(&descriptor{object: newConn(c.sys, nc), flags: flags, rights: connRights})
}

func sockAccept(c call) errno {
	fd, e := c.accept(fdflags(c.u32(1)))
	if e != success {
		return e
	}
	c.mem.putU32(c.u32(2), fd)
	return success
}

func sockAcceptV1(c call) errno {
	fd, e := c.accept(0)
	if e != success {
		return e
	}
	c.mem.putU32(c.u32(1), fd)
	return success
}

// received is the result of a receive.
type received struct {
	n    int
	from netip.AddrPort
	cut  bool // the rest of the datagram is lost
}

// receive is recv(2) with the descriptor in argument 0, buffers in 1 and 2 and the given flags.
func (c call) receive(flags uint32) (r received, e errno) {
	d, e := c.descriptor(0, rightRead)
	if e != success {
		return r, e
	}
	if flags&^(recvPeek|recvWaitAll) != 0 {
		return r, enotsup
	}
	bufs, e := c.vectors(1)
	if e != success {
		return r, e
	}
	peek := flags&recvPeek != 0
	try := func() (e errno) {
		switch o := d.object.(type) {
		case *conn:
			r.n, e = o.receive(bufs, peek)
			r.from = addrPort(o.peer())
		case *packet:
			r.n, r.from, r.cut, e = o.receive(bufs, peek)
		case *socket, *listener:
			e = enotconn
		default:
			e = enotsock
		}
		return e
	}
	all := flags&recvWaitAll != 0 && !peek && !d.nonblocking() && d.filetype() == typeStream
	for total := 0; ; {
		if e = try(); e == eagain && !d.nonblocking() {
			e = c.wait(d.readTimeout, try)
		}
		total += r.n
		if bufs = skip(bufs, r.n); !all || e != success || r.n == 0 || len(bufs) == 0 {
			if r.n = total; total > 0 {
				e = success
			}
			return r, e
		}
	}
}

// skip drops the first n bytes.
func skip(bufs [][]byte, n int) [][]byte {
	for len(bufs) > 0 && n >= len(bufs[0]) {
		bufs, n = bufs[1:], n-len(bufs[0])
	}
	if n > 0 {
		bufs[0] = bufs[0][n:]
	}
	return bufs
}

func (r received) flags() uint32 {
	if r.cut {
		return recvCut
	}
	return 0
}

func sockRecv(c call) errno {
	r, e := c.receive(c.u32(3))
	if e != success {
		return e
	}
	c.mem.putU32(c.u32(4), uint32(r.n))
	b := c.mem.bytes(c.u32(5), 2) // roflags is a u16
	b[0], b[1] = byte(r.flags()), 0
	return success
}

// sockRecvFrom is version 2: fd, iovs, n, *addr, flags, *port, *n, *roflags.
func sockRecvFrom(c call) errno {
	r, e := c.receive(c.u32(4))
	if e != success {
		return e
	}
	c.mem.putU32(c.u32(5), uint32(r.from.Port()))
	return c.putReceived(r, 6)
}

// sockRecvFromV1 is version 1: fd, iovs, n, *addr, flags, *n, *roflags.
func sockRecvFromV1(c call) errno {
	r, e := c.receive(c.u32(4))
	if e != success {
		return e
	}
	return c.putReceived(r, 5)
}

func (c call) putReceived(r received, i int) errno {
	if b := c.addressBuffer(3); len(b) > 0 && r.from.IsValid() {
		if e := putAddress(b, r.from.Addr()); e != success {
			return e
		}
	}
	c.mem.putU32(c.u32(i), uint32(r.n))
	c.mem.putU32(c.u32(i+1), r.flags())
	return success
}

func sockSend(c call) errno {
	d, e := c.socket(0, rightWrite)
	if e != success {
		return e
	}
	if c.u32(3) != 0 {
		return enotsup // no siflags are defined
	}
	w, ok := d.object.(writer)
	if !ok {
		return enotconn
	}
	if d.nonblocking() || d.filetype() == typeDatagram {
		return c.transfer(d, d.writeTimeout, 1, 4, w.write)
	}
	return c.transfer(d, 0, 1, 4, c.writeAll(w, d.writeTimeout))
}

// sockSendTo is fd, iovs, n, *addr, port, flags, *n.
func sockSendTo(c call) errno {
	d, e := c.socket(0, rightWrite)
	if e != success {
		return e
	}
	p, ok := d.object.(*packet)
	if !ok {
		return eisconn
	}
	to, e := c.address(3)
	if e != success {
		return e
	}
	ctx, cancel := c.cancellable()
	defer cancel()
	return c.transfer(d, d.writeTimeout, 1, 6, func(bufs [][]byte) (int, errno) { return p.send(ctx, bufs, to) })
}

func sockShutdown(c call) errno {
	d, e := c.socket(0, rightShutdown)
	if e != success {
		return e
	}
	how := c.u32(1)
	if how == 0 || how&^(shutRead|shutWrite) != 0 {
		return einval
	}
	o, ok := d.object.(*conn)
	if !ok {
		return enotconn
	}
	return o.shutdown(how&shutRead != 0, how&shutWrite != 0)
}

// socket returns a socket; ENOTSOCK if the descriptor is something else.
func (c call) socket(i int, need rights) (*descriptor, errno) {
	d, e := c.descriptor(i, 0)
	if e != success {
		return nil, e
	}
	if t := d.filetype(); t != typeStream && t != typeDatagram {
		return nil, enotsock
	}
	if d.rights&need != need {
		return nil, enotcapable
	}
	return d, success
}

// sockOpen is family, type, *fd.
func sockOpen(c call) errno {
	family, kind := c.u32(0), c.u32(1)
	switch {
	case c.sys.config.Network == nil:
		return eacces
	case family != familyInet && family != familyInet6:
		return eafnosupport
	}
	var o object
	switch kind {
	case socketStream, socketAny:
		o = &socket{family: family, bound: unspecified(family)}
	case socketDatagram:
		o = newPacket(c.sys, family)
	default:
		return eprototype
	}
	fd, e := c.sys.open(&descriptor{object: o, rights: socketRights, inheriting: connRights})
	if e != success {
		return e
	}
	c.mem.putU32(c.u32(2), fd)
	return success
}

func sockBind(c call) errno {
	d, e := c.socket(0, 0)
	if e != success {
		return e
	}
	addr, e := c.address(1)
	if e != success {
		return e
	}
	ctx, cancel := c.cancellable()
	defer cancel()
	switch o := d.object.(type) {
	case *socket:
		o.bound = addr
		return success
	case *packet:
		return o.bind(ctx, addr)
	}
	return einval
}

func sockListen(c call) errno {
	d, e := c.socket(0, rightAccept)
	if e != success {
		return e
	}
	switch o := d.object.(type) {
	case *socket:
		l := newListener(c.sys, o.bound)
		if e := l.bind(); e != success {
			return e
		}
		c.sys.table.replace(d, l)
		return success
	case *listener:
		return success // only the backlog would change
	}
	return einval
}

func sockConnect(c call) errno {
	d, e := c.socket(0, 0)
	if e != success {
		return e
	}
	addr, e := c.address(1)
	if e != success {
		return e
	}
	switch o := d.object.(type) {
	case *packet:
		ctx, cancel := c.cancellable()
		defer cancel()
		return o.connect(ctx, addr)
	case *conn:
		switch e := o.state(); e {
		case success:
			return eisconn
		case einprogress:
			return ealready
		}
	case *socket:
	default:
		return eisconn
	}
	attempt := dial(c.sys, addr)
	c.sys.table.replace(d, attempt)
	if d.nonblocking() {
		return einprogress
	}
	return c.wait(d.writeTimeout, func() errno {
		if e := attempt.takeError(); e != einprogress {
			return e
		}
		return eagain
	})
}

func sockGetlocaladdr(c call) errno   { return c.putEndpoint(local, false) }
func sockGetlocaladdrV1(c call) errno { return c.putEndpoint(local, true) }
func sockGetpeeraddr(c call) errno    { return c.putEndpoint(peer, false) }
func sockGetpeeraddrV1(c call) errno  { return c.putEndpoint(peer, true) }

func local(o object) netip.AddrPort {
	if o, ok := o.(interface{ local() net.Addr }); ok {
		return addrPort(o.local())
	}
	return netip.AddrPort{}
}

func peer(o object) netip.AddrPort {
	switch o := o.(type) {
	case *conn:
		return addrPort(o.peer())
	case *packet:
		return o.peerAddr()
	}
	return netip.AddrPort{}
}

// putEndpoint writes an end of a socket: *addr, *port, and in version 1 *type between them.
func (c call) putEndpoint(end func(object) netip.AddrPort, typed bool) errno {
	d, e := c.socket(0, 0)
	if e != success {
		return e
	}
	at := end(d.object)
	if !at.IsValid() {
		return enotconn
	}
	if e := putAddress(c.addressBuffer(1), at.Addr()); e != success {
		return e
	}
	port := 2
	if typed {
		c.mem.putU32(c.u32(2), addressType(at.Addr()))
		port = 3
	}
	c.mem.putU32(c.u32(port), uint32(at.Port()))
	return success
}
