package engine

import (
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// contend has guests with the requests compute side by side for ten seconds on so many processors, and returns what each
// had. One that rests waits for something else after each slice.
func contend(processors int, rests bool, requests ...int64) []time.Duration {
	s := newShares()
	s.places = processors
	had := make([]time.Duration, len(requests))
	stop := make(chan struct{})
	var guests sync.WaitGroup
	for i, millis := range requests {
		guests.Go(func() {
			h := newShare(millis)
			s.enter(h, stop)
			defer s.leave(h)
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond): // computes
				}
				had[i] += time.Millisecond
				s.tick(h, time.Millisecond, stop)
				if rests && i == 0 {
					s.leave(h)
					time.Sleep(9 * time.Millisecond)
					s.enter(h, stop)
				}
			}
		})
	}
	time.Sleep(10 * time.Second)
	close(stop)
	guests.Wait()
	return had
}

func TestRequestsWeigh(t *testing.T) {
	tests := map[string]struct {
		processors int
		requests   []int64
		want       []float64 // seconds of ten
	}{
		"alone":             {1, []int64{100}, []float64{10}},
		"alike":             {1, []int64{500, 500}, []float64{5, 5}},
		"three to one":      {1, []int64{300, 100}, []float64{7.5, 2.5}},
		"without a request": {1, []int64{1000, 0}, []float64{9.98, 0.02}},
		"two processors":    {2, []int64{100, 100, 100, 100}, []float64{5, 5, 5, 5}},
		"room for all":      {4, []int64{1000, 0, 10}, []float64{10, 10, 10}},
		// One guest cannot have more than one processor: the others share what is left.
		"more than one can": {2, []int64{900, 100, 100}, []float64{10, 5, 5}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for i, had := range contend(test.processors, false, test.requests...) {
					if math.Abs(had.Seconds()-test.want[i]) > 0.3 {
						t.Errorf("guest %d had %v, want %v s", i, had, test.want[i])
					}
				}
			})
		})
	}
}

// TestWhoRestsIsNotHeldUp: a guest that computes little gets its processor soon, however many compute without end; and
// resting saves up nothing.
func TestWhoRestsIsNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		had := contend(1, true, 100, 100, 100, 100)
		if had[0] < 600*time.Millisecond || had[0] > time.Second {
			t.Errorf("it had %v of the second that it wants", had[0])
		}
	})
}

// TestStuckGuestsLoseTheirPlace: one that waits in a host function which does not say so does not keep others from running.
func TestStuckGuestsLoseTheirPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShares()
		s.places = 1
		stuckOne, other := newShare(0), newShare(0)
		s.enter(stuckOne, nil)
		begin := time.Now()
		s.enter(other, nil)
		if waited := time.Since(begin); waited > 3*stuck {
			t.Errorf("waited %v", waited)
		}
		s.leave(other)
		s.tick(stuckOne, time.Millisecond, nil)
		s.leave(stuckOne)
		if s.places != 1 || len(s.running) != 0 || s.crowded.Load() {
			t.Errorf("in the end %d places, %d run", s.places, len(s.running))
		}
	})
}

// TestKilledGuestsDoNotWait: who is to end needs no place.
func TestKilledGuestsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShares()
		s.places = 0
		stop := make(chan struct{})
		close(stop)
		h := newShare(0)
		begin := time.Now()
		s.enter(h, stop)
		if time.Since(begin) != 0 {
			t.Error("it waited")
		}
		s.leave(h)
		if s.places != 0 {
			t.Errorf("%d places", s.places)
		}
	})
}
