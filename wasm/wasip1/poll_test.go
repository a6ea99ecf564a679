package wasip1

import (
	"context"
	"encoding/binary"
	"io"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tetratelabs/wazero/sys"
)

func clockSub(userdata uint64, clock uint32, timeout uint64, flags uint16) []byte {
	b := make([]byte, subscriptionSize)
	binary.LittleEndian.PutUint64(b, userdata)
	b[8] = eventClock
	binary.LittleEndian.PutUint32(b[16:], clock)
	binary.LittleEndian.PutUint64(b[24:], timeout)
	binary.LittleEndian.PutUint16(b[40:], flags)
	return b
}

func fdSub(userdata uint64, kind byte, fd uint64) []byte {
	b := make([]byte, subscriptionSize)
	binary.LittleEndian.PutUint64(b, userdata)
	b[8] = kind
	binary.LittleEndian.PutUint32(b[16:], uint32(fd))
	return b
}

// event is a record that poll_oneoff wrote.
type event struct {
	userdata uint64
	e        errno
	kind     byte
	bytes    uint64
	hangup   bool
}

func (c *caller) poll(subs ...[]byte) ([]event, errno) {
	c.t.Helper()
	in := c.put(slices.Concat(subs...))
	out, n := c.alloc(len(subs)*eventSize), c.alloc(4)
	if e := c.call("poll_oneoff", in, out, uint64(len(subs)), n); e != success {
		return nil, e
	}
	var events []event
	for i := range uint64(c.u32(n)) {
		b := c.bytes(out+i*eventSize, eventSize)
		events = append(events, event{
			binary.LittleEndian.Uint64(b), errno(binary.LittleEndian.Uint16(b[8:])), b[10],
			binary.LittleEndian.Uint64(b[16:]), b[24] == eventHangup,
		})
	}
	return events, success
}

func TestPollClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, Config{})
		now := uint64(time.Now().UnixNano())
		tests := []struct {
			name string
			subs [][]byte
			took time.Duration
			want []event
		}{
			{"relative", [][]byte{clockSub(7, clockMonotonic, uint64(time.Minute), 0)}, time.Minute, []event{{userdata: 7}}},
			{"at once", [][]byte{clockSub(7, clockRealtime, 0, 0)}, 0, []event{{userdata: 7}}},
			{"the earlier of two", [][]byte{clockSub(1, 1, uint64(time.Hour), 0), clockSub(2, 0, uint64(time.Second), 0)}, time.Second, []event{{userdata: 2}}},
			{"both of two", [][]byte{clockSub(1, 1, 5, 0), clockSub(2, 0, 5, 0)}, 5, []event{{userdata: 1}, {userdata: 2}}},
			{"absolute, past", [][]byte{clockSub(1, clockRealtime, now, clockAbsolute)}, 0, []event{{userdata: 1}}},
			{"absolute", [][]byte{clockSub(1, clockRealtime, now+uint64(2*time.Hour), clockAbsolute)}, 2*time.Hour - time.Minute - time.Second - 5, []event{{userdata: 1}}},
			{"unknown clock", [][]byte{clockSub(1, 9, 5, 0)}, 0, []event{{userdata: 1, e: einval}}},
			{"never and soon", [][]byte{clockSub(1, 1, math.MaxUint64, 0), clockSub(2, 1, 5, 0)}, 5, []event{{userdata: 2}}},
		}
		for _, test := range tests {
			began := time.Now()
			got, e := c.poll(test.subs...)
			if e != success || !slices.Equal(got, test.want) || time.Since(began) != test.took {
				t.Errorf("%s: %+v, errno %d after %v; want %+v after %v", test.name, got, e, time.Since(began), test.want, test.took)
			}
		}
	})
}

func TestPollDescriptors(t *testing.T) {
	c, _ := inDir(t)
	file := c.open("file", oflagCreate)
	noPoll := c.open("file", 0, rightRead)
	got, e := c.poll(
		fdSub(1, eventRead, file), fdSub(2, eventWrite, file), fdSub(3, eventRead, 3), fdSub(4, eventWrite, 1),
		fdSub(5, eventRead, 99), fdSub(6, eventRead, noPoll), fdSub(7, eventRead, 0), clockSub(8, 1, uint64(time.Hour), 0))
	want := []event{
		{userdata: 1, kind: eventRead}, {userdata: 2, kind: eventWrite}, {userdata: 3, kind: eventRead},
		{userdata: 4, kind: eventWrite}, {userdata: 5, kind: eventRead, e: ebadf}, {userdata: 6, kind: eventRead, e: enotcapable},
		{userdata: 7, kind: eventRead, hangup: true},
	}
	if e != success || !slices.Equal(got, want) {
		t.Errorf("%+v, errno %d", got, e)
	}
	if _, e := c.poll(); e != einval {
		t.Errorf("no subscriptions: errno %d", e)
	}
	if _, e := c.poll(fdSub(1, 3, 0)); e != einval {
		t.Errorf("unknown type: errno %d", e)
	}
	c.want(einval, "poll_oneoff", 16, 16, maxSubscriptions+1, 16)
	at := c.put(fdSub(5, eventWrite, 1))
	c.must("poll_oneoff", at, at, 1, c.alloc(4)) // one place for both arrays
	if c.u64(at) != 5 {
		t.Error("userdata is lost")
	}
}

// TestPollStdin waits for a terminal that is slow.
func TestPollStdin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		c := newCaller(t, Config{Stdin: r})
		c.must("fd_fdstat_set_flags", 0, uint64(flagNonblock))
		if _, e := c.read(0, 10); e != eagain {
			t.Errorf("read: errno %d", e)
		}
		got, e := c.poll(fdSub(1, eventRead, 0), clockSub(2, 1, uint64(time.Minute), 0))
		if want := []event{{userdata: 2}}; e != success || !slices.Equal(got, want) {
			t.Errorf("nothing typed: %+v, errno %d", got, e)
		}
		go func() {
			time.Sleep(time.Hour)
			io.WriteString(w, "hello")
			w.Close()
		}()
		began := time.Now()
		got, e = c.poll(fdSub(1, eventRead, 0), clockSub(2, 1, uint64(24*time.Hour), 0))
		if want := []event{{userdata: 1, kind: eventRead, bytes: 5}}; e != success || !slices.Equal(got, want) || time.Since(began) != time.Hour {
			t.Errorf("typed: %+v, errno %d after %v", got, e, time.Since(began))
		}
		if got, e := c.read(0, 10); e != success || got != "hello" {
			t.Errorf("read: %q, errno %d", got, e)
		}
		c.must("fd_fdstat_set_flags", 0, 0)
		if got, e := c.read(0, 10); e != success || got != "" {
			t.Errorf("read at the end, blocking: %q, errno %d", got, e)
		}
	})
}

func TestGuestSleepsInVirtualTime(t *testing.T) {
	module := built.module(t, "sleep")
	synctest.Test(t, func(t *testing.T) {
		r := startModule(t, "sleep", module, Config{Args: []string{"36h"}})
		code, out := r.wait(t)
		if want := "from 2000-01-01 00:00:00 slept 36h0m0s\n"; code != 0 || out != want {
			t.Errorf("exit %d, %q, want %q", code, out, want)
		}
	})
}

// blocked calls a function that waits, and returns its result, or what it panicked with, when it comes.
func (c *caller) blocked(name string, args ...uint64) func() any {
	result := make(chan any, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				result <- r
			}
		}()
		result <- c.call(name, args...)
	}()
	synctest.Wait()
	return func() any {
		synctest.Wait()
		select {
		case r := <-result:
			return r
		default:
			return "it goes on waiting"
		}
	}
}

// waits are calls that wait for ever: on standard input, a listener, a connection, datagrams, a name, a clock.
func waits(c *caller, n *memNetwork) map[string][]uint64 {
	vec := c.vector(make([]byte, 8))
	count := c.alloc(8)
	listener := uint64(3)
	c.must("fd_fdstat_set_flags", listener, 0)
	conn := c.connectTo(n)
	packet := c.socket(familyInet, socketDatagram)
	stuck, _ := c.addr("10.42.0.9", 9999)
	fresh := c.socket(familyInet, socketStream)
	name, length := c.str("stuck")
	long := c.put(clockSub(1, clockMonotonic, uint64(time.Hour), 0))
	return map[string][]uint64{
		"fd_read":          {0, vec, 1, count},
		"sock_accept":      {listener, 0, count},
		"sock_recv":        {conn, vec, 1, 0, count, count},
		"sock_recv_from":   {packet, vec, 1, 0, 0, count, count, count},
		"sock_connect":     {fresh, stuck, 9999},
		"sock_getaddrinfo": {name, length, 0, 0, 0, 0, 1, count},
		"poll_oneoff":      {long, c.alloc(eventSize), 1, count},
	}
}

func TestKillAndCloseEndEveryWait(t *testing.T) {
	for name := range map[string]int{"fd_read": 0, "sock_accept": 0, "sock_recv": 0, "sock_recv_from": 0, "sock_connect": 0, "sock_getaddrinfo": 0, "poll_oneoff": 0} {
		for _, how := range []string{"kill", "close"} {
			t.Run(name+" "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r, w := io.Pipe()
					n := newMemNetwork()
					asked, told := 0, 0
					c := newCaller(t, Config{Stdin: r, Network: n, Listen: []Address{{"tcp", n.at(80)}},
						Blocked: func() func() { asked++; return func() { told++ } }})
					ctx, cancel := context.WithCancel(c.ctx)
					defer cancel()
					c.ctx = ctx
					args := waits(c, n)[name]
					asked, told = 0, 0
					result := c.blocked(name, args...)
					if asked != 1 || told != 0 {
						t.Fatalf("it waited %d times, and went on %d times", asked, told)
					}
					if how == "kill" {
						cancel()
					} else if err := c.sys.Close(); err != nil {
						t.Error(err)
					}
					got := result()
					exit, ok := got.(*sys.ExitError)
					if !ok || exit.ExitCode() != sys.ExitCodeContextCanceled || told != 1 {
						t.Errorf("result %v, went on %d times", got, told)
					}
					w.Close()
				})
			})
		}
	}
}

func TestTerminate(t *testing.T) {
	tests := []struct {
		name string
		want any
	}{
		{"sock_accept", ecanceled},
		{"poll_oneoff", eintr},
		{"fd_read", "it goes on waiting"},
		{"sock_recv", "it goes on waiting"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, w := io.Pipe()
				defer w.Close()
				n := newMemNetwork()
				c := newCaller(t, Config{Stdin: r, Network: n, Listen: []Address{{"tcp", n.at(80)}}})
				ctx, cancel := context.WithCancel(c.ctx)
				c.ctx = ctx
				result := c.blocked(test.name, waits(c, n)[test.name]...)
				c.sys.Terminate()
				c.sys.Terminate()
				if got := result(); got != test.want {
					t.Errorf("%v, want %v", got, test.want)
				}
				cancel()
				synctest.Wait()
			})
		})
	}
}

// TestTerminateOnce shows what a guest sees that polls its listener, then goes on sleeping.
func TestTerminateOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		c := newCaller(t, Config{Network: n, Listen: []Address{{"tcp", n.at(80)}, {"tcp", n.at(81)}}})
		if got, e := c.poll(fdSub(1, eventRead, 3), clockSub(2, 1, 5, 0)); e != success || len(got) != 1 || got[0].userdata != 2 {
			t.Errorf("idle: %+v, errno %d", got, e)
		}
		c.sys.Terminate()
		got, e := c.poll(fdSub(1, eventRead, 3), clockSub(2, 1, uint64(time.Hour), 0))
		if want := []event{{userdata: 1, kind: eventRead, hangup: true}}; e != success || !slices.Equal(got, want) {
			t.Errorf("terminated: %+v, errno %d", got, e)
		}
		c.want(ecanceled, "sock_accept", 3, 0, c.alloc(4))
		c.want(ecanceled, "sock_accept", 4, 0, c.alloc(4)) // was never bound
		if _, e := c.poll(clockSub(2, 1, uint64(time.Hour), 0)); e != eintr {
			t.Errorf("first sleep: errno %d", e)
		}
		if _, e := c.poll(clockSub(2, 1, uint64(time.Hour), 0)); e != success {
			t.Errorf("second sleep: errno %d", e)
		}
	})
}
