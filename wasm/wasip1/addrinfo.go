package wasip1

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

const (
	addrinfoSize = 28
	sockaddrSize = 12

	// maxName bounds a host or service name, NUL included (RFC 1035: 253 bytes).
	maxName = 256
	// maxResults bounds the answers that are written.
	maxResults = 64

	aiPassive     = 1 << 0
	aiNumericHost = 1 << 2

	protocolTCP = 1
	protocolUDP = 2
)

// addrinfo is a record of the extension:
//
//	flags u16, family u8, socktype u8, protocol u32, addrlen u32, *sockaddr, *canonname, canonnamelen u32, *next
//
// whose sockaddr is family u32, datalen u32, *data; the data are the port (big-endian) and the address.
type addrinfo struct {
	flags            uint16
	family, sockType uint8
}

func (m memory) addrinfo(ptr uint32) addrinfo {
	if ptr == 0 {
		return addrinfo{}
	}
	b := m.bytes(ptr, addrinfoSize)
	return addrinfo{binary.LittleEndian.Uint16(b), b[2], b[3]}
}

// sockGetaddrinfo is *node, len, *service, len, *hints, **results, max, *n. The guest links the results.
func sockGetaddrinfo(c call) errno {
	if c.sys.config.Network == nil {
		return eacces
	}
	if c.u32(1) > maxName || c.u32(3) > maxName {
		return aiNoName
	}
	node := strings.TrimRight(string(c.mem.bytes(c.u32(0), c.u32(1))), "\x00")
	service := strings.TrimRight(string(c.mem.bytes(c.u32(2), c.u32(3))), "\x00")
	hints := c.mem.addrinfo(c.u32(4))
	if hints.family > familyInet6 {
		return aiFamily
	}
	if hints.sockType > socketStream {
		return aiSockType
	}
	port, e := servicePort(service, hints.sockType)
	if e != success {
		return e
	}
	addrs, e := c.resolve(node, hints)
	if e != success {
		return e
	}
	c.mem.putU32(c.u32(7), c.putAddrinfos(addrs, port, hints))
	return success
}

func servicePort(service string, sockType uint8) (uint16, errno) {
	if service == "" {
		return 0, success
	}
	if n, err := strconv.ParseUint(service, 10, 16); err == nil {
		return uint16(n), success
	}
	network := "tcp"
	if sockType == socketDatagram {
		network = "udp"
	}
	n, err := net.LookupPort(network, service)
	if err != nil {
		return 0, aiService
	}
	return uint16(n), success
}

// resolve returns the addresses of a name that have the wanted family.
func (c call) resolve(node string, hints addrinfo) ([]netip.Addr, errno) {
	addrs, e := c.lookup(node, hints)
	if e != success {
		return nil, e
	}
	var wanted []netip.Addr
	for _, a := range addrs {
		a = a.Unmap()
		if hints.family == familyUnspecified || uint32(hints.family) == familyOf(a) {
			wanted = append(wanted, a)
		}
	}
	if len(wanted) == 0 {
		return nil, aiNoName
	}
	return wanted, success
}

func (c call) lookup(node string, hints addrinfo) ([]netip.Addr, errno) {
	if addr, err := netip.ParseAddr(node); err == nil {
		return []netip.Addr{addr}, success
	}
	switch {
	case node == "" && hints.flags&aiPassive != 0:
		return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}, success
	case node == "":
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, success
	case hints.flags&aiNumericHost != 0:
		return nil, aiNoName
	}
	ctx, cancel := c.cancellable()
	defer cancel()
	addrs, err := c.askNetwork(ctx, node)
	var failure *net.DNSError
	switch {
	case err == nil:
		return addrs, success
	case !errors.As(err, &failure):
		return nil, aiFail
	case failure.IsNotFound:
		return nil, aiNoName
	}
	return nil, aiAgain
}

func (c call) askNetwork(ctx context.Context, node string) ([]netip.Addr, error) {
	if c.sys.config.Blocked != nil {
		defer c.sys.config.Blocked()()
	}
	addrs, err := c.sys.config.Network.Resolve(ctx, node)
	c.checkAlive()
	return addrs, err
}

// putAddrinfos fills the guest's list as far as it goes, and returns how far that is.
func (c call) putAddrinfos(addrs []netip.Addr, port uint16, hints addrinfo) uint32 {
	limit := min(c.u32(6), maxResults, uint32(len(addrs)))
	at := c.mem.u32(c.u32(5))
	for n := range limit {
		if at == 0 {
			return n
		}
		record := c.mem.bytes(at, addrinfoSize)
		putAddrinfo(c.mem, record, addrs[n], port, hints)
		next := binary.LittleEndian.Uint32(record[24:])
		if next == at {
			return n + 1 // a list that the Go library links to itself
		}
		at = next
	}
	return limit
}

func putAddrinfo(m memory, record []byte, addr netip.Addr, port uint16, hints addrinfo) {
	record[2] = byte(familyOf(addr))
	record[3], record[4] = socketStream, protocolTCP
	if hints.sockType == socketDatagram {
		record[3], record[4] = socketDatagram, protocolUDP
	}
	raw := addr.AsSlice()
	binary.LittleEndian.PutUint32(record[8:], sockaddrSize)
	sockaddr := m.bytes(binary.LittleEndian.Uint32(record[12:]), sockaddrSize)
	binary.LittleEndian.PutUint32(sockaddr, familyOf(addr))
	binary.LittleEndian.PutUint32(sockaddr[4:], uint32(2+len(raw)))
	data := m.bytes(binary.LittleEndian.Uint32(sockaddr[8:]), uint32(2+len(raw)))
	binary.BigEndian.PutUint16(data, port)
	copy(data[2:], raw)
}
