package wasip1

import (
	"context"
	"crypto/rand"
	"runtime"
	"time"

	"github.com/tetratelabs/wazero/api"
)

const (
	clockRealtime  = 0
	clockMonotonic = 1

	// randomChunk is how much randomness is made between two looks at whether the guest was killed.
	randomChunk = 1 << 20
)

func argsGet(c call) errno         { return putStrings(c, c.sys.config.Args) }
func argsSizesGet(c call) errno    { return putSizes(c, c.sys.config.Args) }
func environGet(c call) errno      { return putStrings(c, c.sys.config.Env) }
func environSizesGet(c call) errno { return putSizes(c, c.sys.config.Env) }

// putStrings writes NUL-terminated strings to the second pointer and their addresses to the first.
func putStrings(c call, list []string) errno {
	at := c.u32(1)
	for i, s := range list {
		c.mem.putU32(c.u32(0)+uint32(i)*4, at)
		b := c.mem.bytes(at, uint32(len(s)+1))
		copy(b, s)
		b[len(s)] = 0
		at += uint32(len(b))
	}
	return success
}

func putSizes(c call, list []string) errno {
	c.mem.putU32(c.u32(0), uint32(len(list)))
	c.mem.putU32(c.u32(1), uint32(size(list)))
	return success
}

func clockResGet(c call) errno {
	switch c.u32(0) {
	case clockRealtime:
		c.mem.putU64(c.u32(1), uint64(time.Microsecond))
	case clockMonotonic:
		c.mem.putU64(c.u32(1), 1)
	default:
		return einval
	}
	return success
}

func clockTimeGet(c call) errno {
	now, e := c.sys.clock(c.u32(0))
	if e != success {
		return e
	}
	c.mem.putU64(c.u32(2), now)
	return success
}

// clock reads a clock in nanoseconds. The monotonic one is never 0, which guests take for "not yet read".
func (s *System) clock(id uint32) (uint64, errno) {
	switch id {
	case clockRealtime:
		return uint64(time.Now().UnixNano()), success
	case clockMonotonic:
		return uint64(time.Since(s.start)) + 1, success
	}
	return 0, einval
}

func randomGet(c call) errno {
	buf := c.mem.bytes(c.u32(0), c.u32(1))
	for len(buf) > 0 {
		c.checkAlive()
		n := min(len(buf), randomChunk)
		_, _ = rand.Read(buf[:n]) // never fails
		buf = buf[n:]
	}
	return success
}

func schedYield(call) errno {
	runtime.Gosched()
	return success
}

// lastSignal is SIGSYS (WASI preview 1, type signal).
const lastSignal = 30

// signals are those whose default action is not to end a process: true is to do nothing, false to stop it.
var signals = map[uint32]bool{
	0: true, 16: true, 17: true, 22: true, 27: true, // none, CHLD, CONT, URG, WINCH
	18: false, 19: false, 20: false, 21: false, // STOP, TSTP, TTIN, TTOU
}

// posixSignals are the numbers by which shells know the signals that preview 1 counts differently.
var posixSignals = map[uint32]uint32{23: 24, 24: 25, 25: 26, 26: 27, 28: 29, 29: 30, 30: 31}

// procRaise does what a signal does that nobody handles: mostly end the guest, with the exit code that a shell shows,
// 128 and the signal's number.
func procRaise(c call) errno {
	sig := c.u32(0)
	ignored, known := signals[sig]
	switch {
	case sig > lastSignal:
		return einval
	case ignored:
		return success
	case known:
		return enotsup // nobody could continue it
	}
	if number, ok := posixSignals[sig]; ok {
		sig = number
	}
	c.exit(128 + sig)
	return success
}

func procExit(ctx context.Context, mod api.Module, stack []uint64) {
	c := newCall(ctx, mod, stack)
	c.exit(c.u32(0))
}
