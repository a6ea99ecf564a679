package engine

import (
	"time"

	"golang.org/x/sys/unix"
)

// thisMoment reads the clocks.
func thisMoment() moment {
	m := moment{time: time.Now()}
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) == nil {
		m.thread, m.cpu = unix.Gettid(), time.Duration(ts.Nano())
	}
	return m
}
