package wasip1

import (
	"encoding/binary"
	"time"
)

// Options of level SOL_SOCKET, which is 0.
const (
	optReuseAddr   = 0
	optType        = 1
	optError       = 2
	optDontRoute   = 3
	optBroadcast   = 4
	optSendBuffer  = 5
	optRecvBuffer  = 6
	optKeepAlive   = 7
	optRecvLow     = 10
	optRecvTimeout = 11
	optSendTimeout = 12
	optAcceptConn  = 13

	timevalSize = 16 // i64 seconds, i64 microseconds
)

// remembered are options that a guest may set and read back. The Network decides how it carries bytes, so
// they change nothing.
var remembered = map[uint32]uint32{
	optReuseAddr:  0,
	optDontRoute:  0,
	optBroadcast:  0,
	optSendBuffer: maxWriteBehind,
	optRecvBuffer: maxReadAhead,
	optKeepAlive:  0,
	optRecvLow:    1,
}

// optionSize reads the length of a value. Version 1 and WasmEdge pass a pointer to it; guests of the Go library
// pass the length itself, which is no pointer that a guest could have.
func (c call) optionSize(i int) (size uint32, put func(uint32)) {
	if n := c.u32(i); n <= timevalSize {
		return n, func(uint32) {}
	}
	return c.mem.u32(c.u32(i)), func(n uint32) { c.mem.putU32(c.u32(i), n) }
}

// sockGetsockopt is fd, level, name, *value, *length.
func sockGetsockopt(c call) errno {
	d, e := c.socket(0, 0)
	if e != success {
		return e
	}
	if c.u32(1) != 0 {
		return enoprotoopt
	}
	size, putSize := c.optionSize(4)
	if name := c.u32(2); name == optRecvTimeout || name == optSendTimeout {
		if size < timevalSize {
			return einval
		}
		timeout := d.readTimeout
		if name == optSendTimeout {
			timeout = d.writeTimeout
		}
		c.mem.putU64(c.u32(3), uint64(timeout/time.Second))
		c.mem.putU64(c.u32(3)+8, uint64(timeout%time.Second/time.Microsecond))
		putSize(timevalSize)
		return success
	}
	value, e := d.option(c.u32(2))
	if e != success {
		return e
	}
	if size < 4 {
		return einval
	}
	c.mem.putU32(c.u32(3), value)
	putSize(4)
	return success
}

func (d *descriptor) option(name uint32) (uint32, errno) {
	switch name {
	case optType:
		if d.filetype() == typeDatagram {
			return socketDatagram, success
		}
		return socketStream, success
	case optError:
		if o, ok := d.object.(interface{ takeError() errno }); ok {
			return uint32(o.takeError()), success
		}
		return 0, success
	case optAcceptConn:
		if _, ok := d.object.(*listener); ok {
			return 1, success
		}
		return 0, success
	}
	if v, ok := d.options[name]; ok {
		return v, success
	}
	v, ok := remembered[name]
	if !ok {
		return 0, enoprotoopt
	}
	return v, success
}

// sockSetsockopt is fd, level, name, *value, length.
func sockSetsockopt(c call) errno {
	d, e := c.socket(0, 0)
	if e != success {
		return e
	}
	name, size := c.u32(2), c.u32(4)
	if c.u32(1) != 0 {
		return enoprotoopt
	}
	switch name {
	case optRecvTimeout:
		return c.timeout(&d.readTimeout)
	case optSendTimeout:
		return c.timeout(&d.writeTimeout)
	}
	if _, ok := remembered[name]; !ok {
		return enoprotoopt
	}
	if size != 4 {
		return einval
	}
	if d.options == nil {
		d.options = map[uint32]uint32{}
	}
	d.options[name] = c.mem.u32(c.u32(3))
	return success
}

// timeout reads a timeval; 0 is none.
func (c call) timeout(to *time.Duration) errno {
	if c.u32(4) != timevalSize {
		return einval
	}
	b := c.mem.bytes(c.u32(3), timevalSize)
	seconds, micros := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	const century = 100 * 365 * 24 * 3600
	if seconds > century || micros >= 1e6 {
		return einval
	}
	*to = time.Duration(seconds)*time.Second + time.Duration(micros)*time.Microsecond
	return success
}
