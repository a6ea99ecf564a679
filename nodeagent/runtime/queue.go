package runtime

import "sync"

// Queue makes the channel of Runtime.Changes: Put never waits, and nothing that was put is lost. An ID that is
// waiting is not put twice.
type Queue struct {
	c    chan ID
	done chan struct{}
	pump sync.WaitGroup

	mu      sync.Mutex
	waiting map[ID]bool
	order   []ID
	more    chan struct{} // holds one token while order is not empty
}

// NewQueue returns a queue, to be closed.
func NewQueue() *Queue {
	q := &Queue{
		c:       make(chan ID),
		done:    make(chan struct{}),
		waiting: map[ID]bool{},
		more:    make(chan struct{}, 1),
	}
	q.pump.Go(q.run)
	return q
}

// C is the channel. It is never closed.
func (q *Queue) C() <-chan ID { return q.c }

// Put announces a change of id.
func (q *Queue) Put(id ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting[id] {
		return
	}
	q.waiting[id] = true
	q.order = append(q.order, id)
	select {
	case q.more <- struct{}{}:
	default: // there is a token
	}
}

// Close drops what waits. Put may still be called. Close is called once.
func (q *Queue) Close() {
	close(q.done)
	q.pump.Wait()
}

func (q *Queue) run() {
	for {
		select {
		case <-q.more:
		case <-q.done:
			return
		}
		for id, ok := q.take(); ok; id, ok = q.take() {
			select {
			case q.c <- id:
			case <-q.done:
				return
			}
		}
	}
}

// take removes the first ID before it is sent: a change while it is being sent is a new one.
func (q *Queue) take() (id ID, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 {
		return ID{}, false
	}
	id, q.order = q.order[0], q.order[1:]
	delete(q.waiting, id)
	return id, true
}
