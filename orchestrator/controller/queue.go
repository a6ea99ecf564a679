package controller

import (
	"sync"
	"time"
)

// Backoff after errors: doubling from first to last.
const (
	firstBackoff = 5 * time.Millisecond
	lastBackoff  = time.Minute
)

// queue hands out each key to one worker at a time, in the order in which keys became
// due. A key that is added while it is worked on is handed out once more afterwards.
type queue struct {
	mu       sync.Mutex
	closed   bool
	ready    []Key
	entries  map[Key]*entry
	nonEmpty chan struct{} // closed and replaced when ready grows or the queue closes
}

// entry is a key that is ready, being worked on, or due later. It is forgotten when it is none of these.
type entry struct {
	ready, working, dirty bool
	failures              int
	timer                 *time.Timer // nil, or adds the key later
}

func newQueue() *queue {
	return &queue{entries: map[Key]*entry{}, nonEmpty: make(chan struct{})}
}

func (q *queue) add(key Key) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.addLocked(key)
}

func (q *queue) addLocked(key Key) {
	if q.closed {
		return
	}
	e := q.entries[key]
	if e == nil {
		e = &entry{}
		q.entries[key] = e
	}
	switch {
	case e.working:
		e.dirty = true
	case !e.ready:
		e.ready = true
		q.ready = append(q.ready, key)
		q.wake()
	}
}

func (q *queue) wake() {
	close(q.nonEmpty)
	q.nonEmpty = make(chan struct{})
}

// get waits for a key; false when the queue is closed. Every get is followed by done or failed.
func (q *queue) get() (Key, bool) {
	for {
		q.mu.Lock()
		if q.closed {
			q.mu.Unlock()
			return Key{}, false
		}
		if len(q.ready) > 0 {
			key := q.ready[0]
			q.ready = q.ready[1:]
			e := q.entries[key]
			e.ready, e.working = false, true
			q.mu.Unlock()
			return key, true
		}
		wait := q.nonEmpty
		q.mu.Unlock()
		<-wait
	}
}

// done ends the work on a key; a positive again adds it once more after that time.
func (q *queue) done(key Key, again time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.entries[key].failures = 0
	q.finish(key, again)
}

// failed ends the work on a key, adds it again with backoff, and says after what time.
func (q *queue) failed(key Key) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.entries[key]
	wait := min(firstBackoff<<min(e.failures, 20), lastBackoff)
	e.failures++
	q.finish(key, wait)
	return wait
}

func (q *queue) finish(key Key, again time.Duration) {
	e := q.entries[key]
	dirty := e.dirty
	e.working, e.dirty = false, false
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
	if dirty {
		q.addLocked(key)
	}
	switch {
	case q.closed:
	case again > 0:
		e.timer = time.AfterFunc(again, func() { q.add(key) })
	case !e.ready && e.failures == 0:
		delete(q.entries, key)
	}
}

// close wakes all workers and stops all timers.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, e := range q.entries {
		if e.timer != nil {
			e.timer.Stop()
		}
	}
	q.wake()
}
