package engine

import (
	"time"

	"wherry/wasm/meter"
)

const (
	// period is the time in which a CPU limit holds: a guest with a limit of half a core runs 50 ms in each.
	period = 100 * time.Millisecond
	// maxSlice bounds what one slice can be charged where the system does not tell a thread's processor time: what is
	// beyond it was spent waiting for a processor.
	maxSlice = 20 * time.Millisecond
)

// clock measures the CPU time of one guest, and limits it to the quota that the guest may share with others. It is the guest
// goroutine's.
//
// Time counts between ticks, when the guest or a host function that it called was running; not while it waits.
type clock struct {
	limits  *Limits
	resumed moment // when the guest last began or went on
	now     func() moment
}

// moment is a point in time, and in the processor time of a thread; thread 0: that is not known.
type moment struct {
	time   time.Time
	thread int
	cpu    time.Duration
}

func newClock(l *Limits) *clock { return &clock{limits: l, now: thisMoment} }

// start begins to count.
func (c *clock) start() {
	c.resumed = c.now()
	c.limits.quota.begin(c.resumed.time)
}

// pause counts the time since the guest went on, and returns it.
func (c *clock) pause() (now moment, d time.Duration) {
	now = c.now()
	if now.thread != 0 && now.thread == c.resumed.thread {
		d = now.cpu - c.resumed.cpu
	} else {
		// The goroutine moved to another thread in a host function, or nothing better is known.
		d = min(now.time.Sub(c.resumed.time), maxSlice)
	}
	c.limits.cpu.Add(int64(d))
	c.limits.quota.spend(d)
	return now, d
}

// resume lets the guest go on.
func (c *clock) resume() { c.resumed = c.now() }

// over says how long the guest has to wait until its quota has room; 0: it has.
func (c *clock) over(now time.Time) time.Duration { return c.limits.quota.over(now) }

// minSlice is the shortest slice, in units.
const minSlice = meter.Slice / 40

// slice returns how many units the next slice should have, after one of so many took used: less than usual if the quota
// ends before.
func (c *clock) slice(used time.Duration, units int32) int32 {
	q := &c.limits.quota
	if q.each == 0 || used <= 0 {
		return meter.Slice
	}
	left := q.left()
	if left >= used*meter.Slice/time.Duration(units) {
		return meter.Slice
	}
	return max(minSlice, int32(left*time.Duration(units)/used))
}

// sleep waits, or until stop.
func sleep(d time.Duration, stop <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-stop:
	}
}
