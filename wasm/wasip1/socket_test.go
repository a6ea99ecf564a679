package wasip1

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func (c *caller) socket(family, kind uint64) uint64 {
	c.t.Helper()
	fd := c.alloc(4)
	c.must("sock_open", family, kind, fd)
	return uint64(c.u32(fd))
}

// addr puts an address as version 1 does, and returns it with its port, as two arguments.
func (c *caller) addr(ip string, port uint16) (uint64, uint64) {
	raw := netip.MustParseAddr(ip).AsSlice()
	return c.put(u32s(uint32(c.put(raw)), uint32(len(raw)))), uint64(port)
}

// tagged puts an address as version 2 does.
func (c *caller) tagged(ip string, port uint16) (uint64, uint64) {
	a := netip.MustParseAddr(ip)
	raw := make([]byte, taggedSize)
	binary.LittleEndian.PutUint16(raw, uint16(familyOf(a)))
	copy(raw[2:], a.AsSlice())
	return c.put(u32s(uint32(c.put(raw)), taggedSize)), uint64(port)
}

// room puts an empty address buffer and returns its record and itself.
func (c *caller) room(n int) (record, buf uint64) {
	buf = c.alloc(n)
	c.mod.Memory().Write(uint32(buf), make([]byte, n))
	return c.put(u32s(uint32(buf), uint32(n))), buf
}

// connectTo returns a connection whose other end is idle.
func (c *caller) connectTo(n *memNetwork) uint64 {
	c.t.Helper()
	l, err := n.Listen(context.Background(), "tcp", n.at(0))
	if err != nil {
		c.t.Fatal(err)
	}
	far := make(chan net.Conn, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			c.t.Error(err)
		}
		far <- nc
	}()
	c.t.Cleanup(func() { _ = errors.Join((<-far).Close(), l.Close()) })
	fd := c.socket(familyInet, socketStream)
	at, port := c.addr(n.self.String(), addrPort(l.Addr()).Port())
	c.must("sock_connect", fd, at, port)
	return fd
}

// pairOf returns a connection and its other end.
func (c *caller) pairOf(n *memNetwork) (uint64, net.Conn) {
	c.t.Helper()
	l, err := n.Listen(context.Background(), "tcp", n.at(0))
	if err != nil {
		c.t.Fatal(err)
	}
	defer l.Close()
	far := make(chan net.Conn, 1)
	go func() {
		nc, _ := l.Accept()
		far <- nc
	}()
	fd := c.socket(familyInet, socketStream)
	at, port := c.addr(n.self.String(), addrPort(l.Addr()).Port())
	c.must("sock_connect", fd, at, port)
	return fd, <-far
}

func (c *caller) setNonblock(fd uint64) {
	c.t.Helper()
	c.must("fd_fdstat_set_flags", fd, uint64(flagNonblock))
}

func TestPreopenedListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		c := newCaller(t, Config{Network: n, Listen: []Address{{"tcp", n.at(80)}, {"tcp", n.at(81)}}})
		stat, fd := c.alloc(24), c.alloc(4)
		c.must("fd_fdstat_get", 3, stat)
		if b := c.bytes(stat, 24); filetype(b[0]) != typeStream || fdflags(b[2]) != flagNonblock {
			t.Errorf("type %d, flags %b", b[0], b[2])
		}
		if len(n.listeners) != 0 {
			t.Error("bound before the guest asked for anything")
		}
		c.want(eagain, "sock_accept", 3, 0, fd)
		if len(n.listeners) != 1 {
			t.Errorf("%d listeners", len(n.listeners))
		}
		nc, err := n.Dial(t.Context(), "tcp", n.at(80))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		got, e := c.poll(fdSub(1, eventRead, 3), fdSub(2, eventRead, 4))
		if want := []event{{userdata: 1, kind: eventRead, bytes: 1}}; e != success || !slices.Equal(got, want) {
			t.Errorf("%+v, errno %d", got, e)
		}
		c.want(einval, "sock_accept", 3, uint64(flagAppend), fd)
		c.must("sock_accept", 3, uint64(flagNonblock), fd)
		conn := uint64(c.u32(fd))
		if _, e := c.read(conn, 10); e != eagain {
			t.Errorf("read: errno %d", e)
		}
		if _, err := nc.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, e := c.read(conn, 10); e != success || got != "ping" {
			t.Errorf("%q, errno %d", got, e)
		}
		c.write(conn, "pong")
		buf := make([]byte, 10)
		if k, err := nc.Read(buf); err != nil || string(buf[:k]) != "pong" {
			t.Errorf("%q, %v", buf[:k], err)
		}
		if err := nc.Close(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		got, _ = c.poll(fdSub(1, eventRead, conn))
		if want := []event{{userdata: 1, kind: eventRead, hangup: true}}; !slices.Equal(got, want) {
			t.Errorf("%+v", got)
		}
		if got, e := c.read(conn, 10); e != success || got != "" {
			t.Errorf("at the end: %q, errno %d", got, e)
		}
		c.must("fd_close", conn)
		synctest.Wait()
		if n.connections() != 0 {
			t.Errorf("%d connections are open", n.connections())
		}
	})
}

func TestListenersAreChecked(t *testing.T) {
	n := newMemNetwork()
	for name, c := range map[string]Config{
		"no network": {Listen: []Address{{"tcp", n.at(80)}}},
		"udp":        {Network: n, Listen: []Address{{"udp", n.at(80)}}},
		"too many":   {Network: n, Listen: []Address{{"tcp", n.at(80)}}, Descriptors: 3},
	} {
		if s, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
			s.Close()
		}
	}
	c := newCaller(t, Config{Network: n, Listen: []Address{{"tcp", n.at(80)}, {"tcp", n.at(80)}}})
	c.want(eagain, "sock_accept", 3, 0, 16)
	c.want(eaddrinuse, "sock_accept", 4, 0, 16)
}

// TestDescriptorsRunOut keeps a connection waiting while the guest has no descriptor for it.
func TestDescriptorsRunOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		c := newCaller(t, Config{Network: n, Listen: []Address{{"tcp", n.at(80)}}, Descriptors: 5})
		c.want(eagain, "sock_accept", 3, 0, 16)
		for range 2 {
			nc, err := n.Dial(t.Context(), "tcp", n.at(80))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
		}
		synctest.Wait()
		c.must("sock_accept", 3, 0, 16)
		c.want(emfile, "sock_accept", 3, 0, 16)
		c.must("fd_close", 4)
		c.must("sock_accept", 3, 0, 16)
	})
}

func TestServerOfTheExtension(t *testing.T) {
	for _, version := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			n := newMemNetwork()
			c := newCaller(t, Config{Network: n})
			fd := c.socket(familyInet, socketStream)
			c.setNonblock(fd)
			at, port := c.addr("0.0.0.0", 8080)
			if version == 2 {
				at, port = c.tagged("0.0.0.0", 8080)
			}
			c.want(einval, "sock_accept", fd, 0, 16)
			c.must("sock_bind", fd, at, port)
			c.must("sock_listen", fd, 64)
			c.must("sock_listen", fd, 128)
			c.want(einval, "sock_bind", fd, at, port)
			other := c.socket(familyInet, socketAny)
			c.must("sock_bind", other, at, port)
			c.want(eaddrinuse, "sock_listen", other, 64)
			if got := c.endpoint("local", version, fd); got != n.at(8080) {
				t.Errorf("local %v", got)
			}
			nc, err := n.Dial(t.Context(), "tcp", n.at(8080))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			synctest.Wait()
			result := c.alloc(4)
			if version == 1 {
				c.must("sock_accept_v1", fd, result)
			} else {
				c.must("sock_accept_v2", fd, 0, result)
			}
			conn := uint64(c.u32(result))
			if got := c.endpoint("local", version, conn); got != n.at(8080) {
				t.Errorf("local %v", got)
			}
			if got := c.endpoint("peer", version, conn); got != addrPort(nc.LocalAddr()) {
				t.Errorf("peer %v, want %v", got, nc.LocalAddr())
			}
			c.must("fd_close", fd)
			if _, err := n.Dial(t.Context(), "tcp", n.at(8080)); err == nil {
				t.Error("it still listens")
			}
		})
	}
}

// endpoint calls sock_getlocaladdr or sock_getpeeraddr.
func (c *caller) endpoint(which string, version int, fd uint64) netip.AddrPort {
	c.t.Helper()
	port := c.alloc(4)
	if version == 1 {
		record, buf := c.room(16)
		kind := c.alloc(4)
		c.must("sock_get"+which+"addr_v1", fd, record, kind, port)
		size := map[uint32]int{4: 4, 6: 16}[c.u32(kind)]
		a, _ := netip.AddrFromSlice(c.bytes(buf, size))
		return netip.AddrPortFrom(a, uint16(c.u32(port)))
	}
	record, buf := c.room(taggedSize)
	c.must("sock_get"+which+"addr", fd, record, port)
	b := c.bytes(buf, taggedSize)
	size := map[uint16]int{familyInet: 4, familyInet6: 16}[binary.LittleEndian.Uint16(b)]
	a, _ := netip.AddrFromSlice(b[2 : 2+size])
	return netip.AddrPortFrom(a, uint16(c.u32(port)))
}

func TestConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		c := newCaller(t, Config{Network: n})
		l, err := n.Listen(t.Context(), "tcp", n.at(80))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		at, _ := c.addr(n.self.String(), 0)

		refused := c.socket(familyInet, socketStream)
		c.want(econnrefused, "sock_connect", refused, at, 81)

		fd := c.socket(familyInet, socketStream)
		c.setNonblock(fd)
		c.want(enotconn, "fd_write", fd, c.vector([]byte("x")), 1, 16)
		c.want(einprogress, "sock_connect", fd, at, 80)
		c.want(ealready, "sock_connect", fd, at, 80)
		if got := c.soError(fd); got != einprogress {
			t.Errorf("SO_ERROR %d", got)
		}
		if got, e := c.poll(fdSub(1, eventWrite, fd), clockSub(2, 1, 5, 0)); e != success || got[0].userdata != 2 {
			t.Errorf("connecting: %+v, errno %d", got, e)
		}
		nc, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if got, e := c.poll(fdSub(1, eventWrite, fd)); e != success || got[0].userdata != 1 || got[0].hangup {
			t.Errorf("connected: %+v, errno %d", got, e)
		}
		if got := c.soError(fd); got != success {
			t.Errorf("SO_ERROR %d", got)
		}
		c.want(eisconn, "sock_connect", fd, at, 80)

		failing := c.socket(familyInet, socketStream)
		c.setNonblock(failing)
		c.want(einprogress, "sock_connect", failing, at, 81)
		synctest.Wait()
		if got, e := c.poll(fdSub(1, eventWrite, failing)); e != success || !got[0].hangup {
			t.Errorf("refused: %+v, errno %d", got, e)
		}
		if first, second := c.soError(failing), c.soError(failing); first != econnrefused || second != success {
			t.Errorf("SO_ERROR %d, then %d", first, second)
		}
		c.want(enotconn, "fd_read", failing, c.vector([]byte("x")), 1, 16)
		c.want(einprogress, "sock_connect", failing, at, stuckPort)
		c.must("fd_close", failing) // abandons the attempt
	})
}

func (c *caller) soError(fd uint64) errno {
	c.t.Helper()
	value, size := c.alloc(4), c.put(u32s(4))
	c.must("sock_getsockopt", fd, 0, optError, value, size)
	return errno(c.u32(value))
}

// TestSlowPeer shows that a guest is held up by its own socket only, and how far it may write ahead.
func TestSlowPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		c := newCaller(t, Config{Network: n})
		fd, far := c.pairOf(n)
		c.setNonblock(fd)
		vec := c.vector(make([]byte, 1000))
		count := c.alloc(4)
		total := 0
		for {
			e := c.call("fd_write", fd, vec, 1, count)
			if e == eagain {
				break
			}
			if e != success || total > 2*maxWriteBehind {
				t.Fatalf("errno %d after %d bytes", e, total)
			}
			total += int(c.u32(count))
		}
		if total != maxWriteBehind {
			t.Errorf("%d bytes were taken, want %d", total, maxWriteBehind)
		}
		if got, e := c.poll(fdSub(1, eventWrite, fd), clockSub(2, 1, 5, 0)); e != success || got[0].userdata != 2 {
			t.Errorf("full: %+v, errno %d", got, e)
		}
		result := c.blocked("poll_oneoff", c.put(fdSub(1, eventWrite, fd)), c.alloc(eventSize), 1, count)
		if _, err := io.ReadFull(far, make([]byte, total)); err != nil {
			t.Fatal(err)
		}
		if got := result(); got != success {
			t.Errorf("after reading: %v", got)
		}

		// A blocking write takes all, whatever its size.
		c.must("fd_fdstat_set_flags", fd, 0)
		const large = 30000
		many := c.put(slices.Concat(u32s(16, large), u32s(16, large), u32s(16, large), u32s(16, large)))
		result = c.blocked("sock_send", fd, many, 4, 0, count)
		if _, err := io.ReadFull(far, make([]byte, 4*large)); err != nil {
			t.Fatal(err)
		}
		if got := result(); got != success || c.u32(count) != 4*large {
			t.Errorf("blocking write: %v, %d bytes", got, c.u32(count))
		}

		if err := far.Close(); err != nil {
			t.Error(err)
		}
		c.setNonblock(fd)
		c.must("fd_write", fd, vec, 1, count) // nobody knows yet
		synctest.Wait()
		c.want(epipe, "fd_write", fd, vec, 1, count)
	})
}

// TestWritesLeaveAfterClose closes a connection and then the System while the peer has not read.
func TestWritesLeaveAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		c := newCaller(t, Config{Network: n})
		fd, far := c.pairOf(n)
		c.write(fd, "the last words")
		c.must("fd_close", fd)
		got := make(chan string)
		go func() {
			time.Sleep(linger / 2)
			b, _ := io.ReadAll(far)
			got <- string(b)
		}()
		if err := c.sys.Close(); err != nil {
			t.Error(err)
		}
		if s := <-got; s != "the last words" {
			t.Errorf("read %q", s)
		}

		deaf := newCaller(t, Config{Network: n})
		fd, far = deaf.pairOf(n)
		deaf.write(fd, "nobody listens")
		began := time.Now()
		if err := deaf.sys.Close(); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d != linger {
			t.Errorf("Close took %v", d)
		}
		far.Close()
	})
}

func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		c := newCaller(t, Config{Network: n})
		fd, far := c.pairOf(n)
		defer far.Close()
		c.want(einval, "sock_shutdown", fd, 0)
		c.want(einval, "sock_shutdown", fd, 4)
		c.want(enotconn, "sock_shutdown", c.socket(familyInet, socketStream), shutRead)
		c.want(enotsock, "sock_shutdown", 1, shutRead)
		c.must("sock_shutdown", fd, shutWrite)
		c.want(epipe, "fd_write", fd, c.vector([]byte("x")), 1, 16)
		if _, err := far.Write([]byte("still")); err != nil {
			t.Error(err)
		}
		if got, e := c.read(fd, 10); e != success || got != "still" {
			t.Errorf("%q, errno %d", got, e)
		}
		c.must("sock_shutdown", fd, shutRead)
		if got, e := c.read(fd, 10); e != success || got != "" {
			t.Errorf("%q, errno %d", got, e)
		}
	})
}

func TestReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		c := newCaller(t, Config{Network: n})
		fd, far := c.pairOf(n)
		defer far.Close()
		recv := func(flags uint64, size int) (string, errno) {
			buf, count, out := c.alloc(size), c.alloc(4), c.alloc(4)
			e := c.call("sock_recv", fd, c.put(u32s(uint32(buf), uint32(size))), 1, flags, count, out)
			if e != success {
				return "", e
			}
			return string(c.bytes(buf, int(c.u32(count)))), e
		}
		send := func(s string) {
			if _, err := io.WriteString(far, s); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		send("abcdef")
		for _, test := range []struct {
			flags uint64
			size  int
			want  string
		}{{recvPeek, 3, "abc"}, {recvPeek, 10, "abcdef"}, {0, 2, "ab"}, {recvPeek, 2, "cd"}, {0, 10, "cdef"}} {
			if got, e := recv(test.flags, test.size); e != success || got != test.want {
				t.Errorf("flags %d, %d bytes: %q, errno %d", test.flags, test.size, got, e)
			}
		}
		if _, e := recv(4, 1); e != enotsup {
			t.Errorf("unknown flag: errno %d", e)
		}
		go func() {
			for _, s := range []string{"in ", "three ", "parts"} {
				time.Sleep(time.Second)
				io.WriteString(far, s)
			}
		}()
		if got, e := recv(recvWaitAll, 14); e != success || got != "in three parts" {
			t.Errorf("all: %q, errno %d", got, e)
		}

		timeval := c.put(make([]byte, 16))
		c.mod.Memory().WriteUint64Le(uint32(timeval), 3)
		c.mod.Memory().WriteUint64Le(uint32(timeval)+8, 500_000)
		c.must("sock_setsockopt", fd, 0, optRecvTimeout, timeval, 16)
		began := time.Now()
		if _, e := recv(0, 10); e != eagain || time.Since(began) != 3500*time.Millisecond {
			t.Errorf("errno %d after %v", e, time.Since(began))
		}
		got := c.alloc(16)
		c.must("sock_getsockopt", fd, 0, optRecvTimeout, got, 16)
		if !slices.Equal(c.bytes(got, 16), c.bytes(timeval, 16)) {
			t.Errorf("timeout %v", c.bytes(got, 16))
		}
	})
}

func TestOptions(t *testing.T) {
	c := newCaller(t, Config{Network: newMemNetwork()})
	stream, datagram := c.socket(familyInet, socketStream), c.socket(familyInet6, socketDatagram)
	get := func(fd, name uint64) (uint32, errno) {
		value, size := c.alloc(4), c.put(u32s(4))
		e := c.call("sock_getsockopt", fd, 0, name, value, size)
		return c.u32(value), e
	}
	for _, test := range []struct {
		fd, name uint64
		want     uint32
	}{
		{stream, optType, socketStream}, {datagram, optType, socketDatagram}, {stream, optAcceptConn, 0},
		{stream, optReuseAddr, 0}, {stream, optSendBuffer, maxWriteBehind}, {datagram, optError, 0},
	} {
		if got, e := get(test.fd, test.name); e != success || got != test.want {
			t.Errorf("option %d: %d, errno %d", test.name, got, e)
		}
	}
	one := c.put(u32s(1))
	c.must("sock_setsockopt", stream, 0, optReuseAddr, one, 4)
	if got, _ := get(stream, optReuseAddr); got != 1 {
		t.Errorf("REUSEADDR is %d", got)
	}
	c.want(enoprotoopt, "sock_setsockopt", stream, 6, 1, one, 4)
	c.want(enoprotoopt, "sock_setsockopt", stream, 0, 99, one, 4)
	c.want(enoprotoopt, "sock_setsockopt", stream, 0, optType, one, 4)
	c.want(einval, "sock_setsockopt", stream, 0, optReuseAddr, one, 3)
	c.want(einval, "sock_setsockopt", stream, 0, optRecvTimeout, one, 4)
	c.want(einval, "sock_getsockopt", stream, 0, optReuseAddr, one, 2)
	c.want(enotsock, "sock_setsockopt", 1, 0, optReuseAddr, one, 4)
}

func TestOpenSocket(t *testing.T) {
	c := newCaller(t, Config{Network: newMemNetwork()})
	c.want(eafnosupport, "sock_open", 0, socketStream, 16)
	c.want(eafnosupport, "sock_open", 3, socketStream, 16)
	c.want(eprototype, "sock_open", familyInet, 3, 16)
	isolated := newCaller(t, Config{})
	isolated.want(eacces, "sock_open", familyInet, socketStream, 16)
	isolated.want(eacces, "sock_getaddrinfo", 16, 3, 0, 0, 0, 0, 1, 16)
	isolated.want(enotsock, "sock_bind", 1, 16, 80)
	isolated.want(ebadf, "sock_listen", 9, 1)
	isolated.want(enotsock, "sock_recv", 0, 16, 0, 0, 24, 32)

	fd := c.socket(familyInet, socketStream)
	at, _ := c.addr("10.0.0.1", 0)
	c.want(einval, "sock_bind", fd, at, 65536)
	c.want(einval, "sock_bind", fd, c.put(u32s(16, 5)), 80)
	c.want(efault, "sock_bind", fd, c.put(u32s(1<<31, 4)), 80)
	unix := make([]byte, taggedSize)
	unix[0] = 3
	c.want(eafnosupport, "sock_bind", fd, c.put(u32s(uint32(c.put(unix)), taggedSize)), 80)
	c.want(enotconn, "sock_getpeeraddr", fd, at, 16)
}
