package pod

import "time"

// Delays between attempts, as a kubelet has them: the first one, and the longest.
const (
	crashDelay, crashDelayMax = 10 * time.Second, 5 * time.Minute
	pullDelay, pullDelayMax   = 10 * time.Second, 5 * time.Minute
	setupDelay, setupDelayMax = 500 * time.Millisecond, 2 * time.Minute
	configDelay               = 10 * time.Second
)

// Backoff doubles a delay. The zero value has none yet.
type Backoff struct {
	Delay time.Duration // the last one; 0: none yet
	Last  time.Time     // when it was taken
}

// next returns how long to wait after a failure at that time. After twice the longest delay without one it begins
// again.
func (b *Backoff) next(at time.Time, first, longest time.Duration) time.Duration {
	if b.Delay == 0 || at.Sub(b.Last) > 2*longest {
		b.Delay = first
	} else {
		b.Delay = min(2*b.Delay, longest)
	}
	b.Last = at
	return b.Delay
}
