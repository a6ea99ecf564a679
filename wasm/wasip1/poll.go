package wasip1

import (
	"encoding/binary"
	"math"
	"time"
)

const (
	eventClock = 0
	eventRead  = 1
	eventWrite = 2

	subscriptionSize = 48
	eventSize        = 32
	// maxSubscriptions is more than a guest has descriptors, for either direction, and clocks.
	maxSubscriptions = 1 << 17

	clockAbsolute = 1 // subclockflags
	eventHangup   = 1 // eventrwflags
)

// subscription is a record of poll_oneoff in the guest's memory.
type subscription []byte

func (s subscription) userdata() uint64   { return binary.LittleEndian.Uint64(s) }
func (s subscription) kind() byte         { return s[8] }
func (s subscription) fd() uint32         { return binary.LittleEndian.Uint32(s[16:]) }
func (s subscription) clock() uint32      { return binary.LittleEndian.Uint32(s[16:]) }
func (s subscription) timeout() uint64    { return binary.LittleEndian.Uint64(s[24:]) }
func (s subscription) clockFlags() uint16 { return binary.LittleEndian.Uint16(s[40:]) }

// polling is one poll_oneoff.
type polling struct {
	call
	subs, out []byte
	began     time.Time
	clocks    [2]uint64 // what the clocks showed then
	events    int
}

func pollOneoff(c call) errno {
	n := c.u32(2)
	if n == 0 || n > maxSubscriptions {
		return einval
	}
	p := &polling{call: c, subs: c.mem.bytes(c.u32(0), n*subscriptionSize), out: c.mem.bytes(c.u32(1), n*eventSize), began: time.Now()}
	for id := range p.clocks {
		p.clocks[id], _ = c.sys.clock(uint32(id))
	}
	if e := p.run(); e != success {
		return e
	}
	c.mem.putU32(c.u32(3), uint32(p.events))
	return success
}

// run waits until there is an event.
func (p *polling) run() errno {
	var timer *time.Timer
	var expired <-chan time.Time
	for {
		changed := p.sys.changed.next()
		first, e := p.scan()
		switch {
		case e != success || p.events > 0:
			return e
		case p.sys.interrupted.CompareAndSwap(true, false):
			return eintr
		case timer == nil && first < math.MaxInt64:
			timer = time.NewTimer(first - time.Since(p.began))
			defer timer.Stop()
			expired = timer.C
		}
		p.sleep(changed, expired)
	}
}

// scan collects what is ready, and returns when the first clock will be, counted from the beginning.
func (p *polling) scan() (first time.Duration, e errno) {
	first = math.MaxInt64
	elapsed := time.Since(p.began)
	for subs := p.subs; len(subs) > 0; subs = subs[subscriptionSize:] {
		s := subscription(subs[:subscriptionSize])
		switch s.kind() {
		case eventClock:
			due, e := p.due(s)
			if e != success || due <= elapsed {
				p.event(s, e, readiness{})
			}
			first = min(first, due)
		case eventRead, eventWrite:
			if r, e := p.ready(s); e != success || r.ready {
				p.event(s, e, r)
			}
		default:
			return 0, einval
		}
	}
	return first, success
}

// due is when a clock's subscription is, counted from the beginning.
func (p *polling) due(s subscription) (time.Duration, errno) {
	if s.clock() >= uint32(len(p.clocks)) {
		return 0, einval
	}
	t := s.timeout()
	if s.clockFlags()&clockAbsolute != 0 {
		t -= min(t, p.clocks[s.clock()])
	}
	return time.Duration(min(t, math.MaxInt64)), success
}

func (p *polling) ready(s subscription) (readiness, errno) {
	d, e := p.sys.table.get(s.fd(), rightPoll)
	if e != success {
		return readiness{}, e
	}
	object, ok := d.object.(poller)
	switch {
	case !ok:
		return readiness{ready: true}, success // files, directories, outputs
	case s.kind() == eventRead:
		return object.readable(), success
	}
	return object.writable(), success
}

// event writes a record.
func (p *polling) event(s subscription, e errno, r readiness) {
	b := p.out[p.events*eventSize:][:eventSize]
	p.events++
	userdata, kind := s.userdata(), s.kind() // before clear: the guest may have put both arrays into one place
	clear(b)
	binary.LittleEndian.PutUint64(b, userdata)
	binary.LittleEndian.PutUint16(b[8:], uint16(e))
	b[10] = kind
	binary.LittleEndian.PutUint64(b[16:], r.bytes)
	if r.hangup {
		binary.LittleEndian.PutUint16(b[24:], eventHangup)
	}
}
