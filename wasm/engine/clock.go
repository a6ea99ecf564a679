package engine

import (
	"runtime"
	"sync/atomic"
	"time"
)

const (
	// period is the time in which a CPU limit holds: a guest with a limit of half a core runs 50 ms in each.
	period = 100 * time.Millisecond
	// maxSlice bounds what one slice can be charged: what is beyond it was spent waiting for a processor.
	maxSlice = 20 * time.Millisecond
)

// clock measures and limits the CPU time of one guest. It is the guest goroutine's, but for used.
//
// Time counts between ticks, when the guest or a host function that it called was running; not while it waits.
type clock struct {
	quota   time.Duration // in a period; 0: no limit
	resumed time.Time     // when the guest last began or went on
	used    atomic.Int64  // nanoseconds since the start

	period time.Time     // when the current one began
	spent  time.Duration // in it, debts included
}

func newClock(millis int64) *clock {
	return &clock{quota: time.Duration(millis) * period / 1000}
}

// start begins to count.
func (c *clock) start() {
	c.resumed = time.Now()
	c.period = c.resumed
}

// pause counts the time since the guest went on, and returns now.
func (c *clock) pause() time.Time {
	now := time.Now()
	d := min(now.Sub(c.resumed), maxSlice)
	c.used.Add(int64(d))
	c.spent += d
	return now
}

// resume lets the guest go on.
func (c *clock) resume() { c.resumed = time.Now() }

// tick counts a slice, lets others run, and holds the guest back while it is over its quota, or
// until stop.
func (c *clock) tick(stop <-chan struct{}) {
	now := c.pause()
	if c.quota > 0 {
		c.throttle(now, stop)
	}
	runtime.Gosched()
	c.resume()
}

// throttle sleeps until the quota has room.
func (c *clock) throttle(now time.Time, stop <-chan struct{}) {
	for {
		if passed := now.Sub(c.period) / period; passed > 0 {
			c.period = c.period.Add(passed * period)
			c.spent = max(0, c.spent-passed*c.quota)
		}
		if c.spent < c.quota {
			return
		}
		timer := time.NewTimer(c.period.Add(period).Sub(now))
		select {
		case <-timer.C:
			now = time.Now()
		case <-stop:
			timer.Stop()
			return
		}
	}
}
