package engine

import (
	"container/heap"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// minWeight is the weight of a guest that requests nothing, as the kernel's cpu.shares have it; a core is fullWeight.
	minWeight  = 2
	fullWeight = 1024
	// stuck is for how long a guest may hold a place without a tick, in a host function that waits, before the place is
	// given to another.
	stuck = 20 * time.Millisecond
)

// weightOf is the weight of a request in thousandths of a core.
func weightOf(millis int64) int64 { return max(minWeight, millis*fullWeight/1000) }

// shares lets as many guests run at a time as there are processors: those that have had the least for their weight. Guests
// that wait for something else have no place.
type shares struct {
	crowded atomic.Bool // somebody waits

	mu      sync.Mutex // guards what follows, and the shares
	places  int        // free ones
	waiting queue
	running map[*share]struct{}
	floor   time.Duration // what the last one had that was let in: nobody saves up more while he is away
}

// share is what a guest has had.
type share struct {
	weight int64
	had    time.Duration // processor time over weight, as if it had a core's weight
	turn   chan struct{} // has a token when the guest is let in; one slot
	index  int           // in the queue; -1: not waiting
	ticked time.Time     // when it was let in, or last gave way
	lost   bool          // its place has been given to another
}

func newShares() *shares {
	return &shares{places: runtime.GOMAXPROCS(0), running: map[*share]struct{}{}}
}

func newShare(millis int64) *share {
	return &share{weight: weightOf(millis), turn: make(chan struct{}, 1), index: -1}
}

// enter waits for a place, or until stop.
func (s *shares) enter(h *share, stop <-chan struct{}) {
	s.mu.Lock()
	h.had = max(h.had, s.floor)
	s.push(h)
	s.fill()
	s.mu.Unlock()
	s.await(h, stop)
}

// leave gives a place back.
func (s *shares) leave(h *share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vacate(h)
	s.fill()
}

// tick counts what a guest that has a place used. If another is due, that one goes first.
func (s *shares) tick(h *share, used time.Duration, stop <-chan struct{}) {
	if !s.crowded.Load() {
		// Nobody looks at it while nobody waits, but for rescue, which locks.
		s.mu.Lock()
		h.had += used * fullWeight / time.Duration(h.weight)
		h.ticked = time.Now()
		s.mu.Unlock()
		return
	}
	s.mu.Lock()
	h.had += used * fullWeight / time.Duration(h.weight)
	h.ticked = time.Now()
	if !h.lost && (len(s.waiting) == 0 || s.waiting[0].had >= h.had) {
		s.mu.Unlock()
		return
	}
	s.vacate(h)
	s.push(h)
	s.fill()
	s.mu.Unlock()
	s.await(h, stop)
}

// await waits until the guest has been let in.
func (s *shares) await(h *share, stop <-chan struct{}) {
	select {
	case <-h.turn:
		return
	default:
	}
	timer := time.NewTimer(stuck)
	defer timer.Stop()
	for {
		select {
		case <-h.turn:
			return
		case <-stop:
			s.force(h)
			return
		case <-timer.C:
			s.rescue()
			timer.Reset(stuck)
		}
	}
}

// force lets a guest in that is to end, whether there is a place or not.
func (s *shares) force(h *share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.index >= 0 {
		heap.Remove(&s.waiting, h.index)
		s.crowded.Store(len(s.waiting) > 0)
		s.let(h)
	}
	<-h.turn
}

// rescue gives the places to others whose guests have not been heard of.
func (s *shares) rescue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := range s.running {
		if !h.lost && time.Since(h.ticked) > stuck {
			h.lost = true
			s.places++
		}
	}
	s.fill()
}

// What follows is called with the lock held.

func (s *shares) push(h *share) {
	heap.Push(&s.waiting, h)
	s.crowded.Store(true)
}

// fill gives free places to those who wait.
func (s *shares) fill() {
	for s.places > 0 && len(s.waiting) > 0 {
		h := heap.Pop(&s.waiting).(*share)
		s.floor = max(s.floor, h.had)
		s.let(h)
	}
	s.crowded.Store(len(s.waiting) > 0)
}

func (s *shares) let(h *share) {
	s.places--
	s.running[h] = struct{}{}
	h.ticked = time.Now()
	h.turn <- struct{}{}
}

func (s *shares) vacate(h *share) {
	delete(s.running, h)
	if !h.lost {
		s.places++
	}
	h.lost = false
}

// queue is a heap, the one who has had the least first.
type queue []*share

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].had < q[j].had }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	h := x.(*share)
	h.index = len(*q)
	*q = append(*q, h)
}

func (q *queue) Pop() any {
	old := *q
	h := old[len(old)-1]
	h.index = -1
	*q = old[:len(old)-1]
	return h
}
