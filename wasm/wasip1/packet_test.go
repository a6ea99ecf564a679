package wasip1

import (
	"net/netip"
	"testing"
)

func TestDatagrams(t *testing.T) {
	c := newCaller(t, Config{Network: newMemNetwork()})
	fd := c.socket(familyInet, socketDatagram)
	any, port := c.addr("0.0.0.0", 0)
	c.must("sock_bind", fd, any, port)
	c.want(einval, "sock_bind", fd, any, port)
	self := c.endpoint("local", 2, fd)
	sender := c.socket(familyInet, socketDatagram)
	c.want(edestaddrreq, "fd_write", sender, c.vector([]byte("x")), 1, 16)
	to, toPort := c.tagged("127.0.0.1", self.Port())
	count := c.alloc(4)
	for _, text := range []string{"first", "second", "a longer one", "fourth", ""} {
		c.must("sock_send_to", sender, c.vector([]byte(text)), 1, to, toPort, 0, count)
		if int(c.u32(count)) != len(text) {
			t.Errorf("sent %d of %q", c.u32(count), text)
		}
	}
	from := c.endpoint("local", 1, sender)
	receive := func(version int, flags uint64, size int) (string, netip.AddrPort, uint32) {
		buf, n, out, port := c.alloc(size+1), c.alloc(4), c.alloc(4), c.alloc(4)
		vec := c.put(u32s(uint32(buf), uint32(size)))
		if version == 1 {
			record, addr := c.room(16)
			c.must("sock_recv_from_v1", fd, vec, 1, record, flags, n, out)
			a, _ := netip.AddrFromSlice(c.bytes(addr, 4))
			return string(c.bytes(buf, int(c.u32(n)))), netip.AddrPortFrom(a, from.Port()), c.u32(out)
		}
		record, addr := c.room(taggedSize)
		c.must("sock_recv_from", fd, vec, 1, record, flags, port, n, out)
		b := c.bytes(addr, taggedSize)
		if b[0] != familyInet {
			t.Errorf("family %d", b[0])
		}
		a, _ := netip.AddrFromSlice(b[2:6])
		return string(c.bytes(buf, int(c.u32(n)))), netip.AddrPortFrom(a, uint16(c.u32(port))), c.u32(out)
	}
	for _, test := range []struct {
		version int
		flags   uint64
		size    int
		want    string
		out     uint32
	}{
		{2, recvPeek, 100, "first", 0}, {2, 0, 100, "first", 0}, {1, 0, 100, "second", 0}, {2, 0, 8, "a longer", recvCut},
	} {
		text, peer, out := receive(test.version, test.flags, test.size)
		if text != test.want || peer != from || out != test.out {
			t.Errorf("received %q from %v, flags %d; want %q from %v", text, peer, out, test.want, from)
		}
	}
	if got, e := c.read(fd, 100); e != success || got != "fourth" {
		t.Errorf("%q, errno %d", got, e)
	}
	if got, e := c.read(fd, 100); e != success || got != "" {
		t.Errorf("%q, errno %d", got, e)
	}
	c.setNonblock(fd)
	if _, e := c.read(fd, 100); e != eagain {
		t.Errorf("errno %d", e)
	}
	stream := c.socket(familyInet, socketStream)
	c.want(eisconn, "sock_send_to", stream, 16, 0, to, toPort, 0, count)
	c.want(enotsup, "sock_recv_from", fd, 16, 0, 0, 8, 16, 16, 16)
}

// TestConnectedDatagrams connects two bound sockets with each other; a third is not heard.
func TestConnectedDatagrams(t *testing.T) {
	c := newCaller(t, Config{Network: newMemNetwork()})
	count := c.alloc(4)
	var fds [3]uint64
	var ends [3]netip.AddrPort
	for i := range fds {
		fds[i] = c.socket(familyInet, socketDatagram)
		at, port := c.addr("127.0.0.1", 0)
		c.must("sock_bind", fds[i], at, port)
		ends[i] = c.endpoint("local", 1, fds[i])
	}
	to := func(i int) (uint64, uint64) { return c.addr("127.0.0.1", ends[i].Port()) }
	at, port := to(1)
	c.must("sock_connect", fds[0], at, port)
	if got := c.endpoint("peer", 2, fds[0]); got != ends[1] {
		t.Errorf("peer %v", got)
	}
	at, port = to(0)
	c.must("sock_send_to", fds[2], c.vector([]byte("intruder")), 1, at, port, 0, count)
	c.must("sock_send_to", fds[1], c.vector([]byte("friend")), 1, at, port, 0, count)
	if got, e := c.read(fds[0], 100); e != success || got != "friend" {
		t.Errorf("%q, errno %d", got, e)
	}
	c.write(fds[0], "answer")
	if got, e := c.read(fds[1], 100); e != success || got != "answer" {
		t.Errorf("%q, errno %d", got, e)
	}
}
