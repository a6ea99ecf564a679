package wasip1

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Address families and socket types of the WasmEdge extension.
const (
	familyUnspecified = 0
	familyInet        = 1
	familyInet6       = 2

	socketAny      = 0
	socketDatagram = 1
	socketStream   = 2

	// taggedSize is the size of an address buffer that begins with its family (version 2).
	taggedSize = 128
)

// addressBuffer returns what a record {pointer, length} names.
func (c call) addressBuffer(i int) []byte {
	ptr := c.u32(i)
	return c.mem.bytes(c.mem.u32(ptr), min(c.mem.u32(ptr+4), taggedSize))
}

// address reads the address in argument i with the port in argument i+1.
func (c call) address(i int) (netip.AddrPort, errno) {
	b, port := c.addressBuffer(i), c.u32(i+1)
	if port > 65535 {
		return netip.AddrPort{}, einval
	}
	if len(b) == taggedSize {
		switch binary.LittleEndian.Uint16(b) {
		case familyInet:
			b = b[2:6]
		case familyInet6:
			b = b[2:18]
		default:
			return netip.AddrPort{}, eafnosupport
		}
	}
	addr, ok := netip.AddrFromSlice(b)
	if !ok {
		return netip.AddrPort{}, einval
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), success
}

// putAddress writes an address to a buffer, tagged with its family if there is room for that.
func putAddress(b []byte, addr netip.Addr) errno {
	raw := addr.AsSlice()
	if len(b) == taggedSize {
		clear(b)
		binary.LittleEndian.PutUint16(b, uint16(familyOf(addr)))
		b = b[2:]
	}
	if len(b) < len(raw) {
		return einval
	}
	copy(b, raw)
	return success
}

func familyOf(addr netip.Addr) uint32 {
	if addr.Is4() {
		return familyInet
	}
	return familyInet6
}

// addressType is how version 1 tells families apart.
func addressType(addr netip.Addr) uint32 {
	if addr.Is4() {
		return 4
	}
	return 6
}

func unspecified(family uint32) netip.AddrPort {
	if family == familyInet6 {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
}

// addrPort converts an address of package net; the result is not valid for what has no IP address.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case nil:
		return ap
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	default:
		parsed, err := netip.ParseAddrPort(a.String())
		if err != nil {
			return ap
		}
		ap = parsed
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
