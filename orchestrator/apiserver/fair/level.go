package fair

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/types"
)

// estimate is how long a request is taken to last, in seconds, until it has ended.
const estimate = 0.003

// level is a priority level. Everything in it is guarded by Sharer.mu.
type level struct {
	sharer *Sharer
	name   string
	uid    types.UID
	exempt bool

	seats    int // its own
	lendable int // of them, those that others may use while they are idle
	limit    int // what it may borrow
	inUse    int

	queues  []*queue // nil: nothing waits
	hand    int
	length  int // of a queue
	waiting int
	virtual float64 // the work that a queue which begins anew is taken to have got
}

// queue holds requests of one or more flows.
type queue struct {
	waiters []*waiter
	work    float64 // seats times seconds that it has got
	running int
}

// waiter is a request.
type waiter struct {
	width   int
	flow    uint64
	queue   *queue // nil at levels without
	granted chan struct{}
	seated  bool
	begin   time.Time
}

func (l *level) configure(object *flowcontrolv1.PriorityLevelConfiguration, seats int, shares float64) {
	l.uid, l.exempt = object.UID, object.Spec.Type == flowcontrolv1.PriorityLevelEnablementExempt
	l.seats = int(math.Ceil(float64(seats) * float64(sharesOf(object)) / max(shares, 1)))
	l.lendable, l.limit = 0, seats
	queues, hand, length := 0, 0, 0
	if limited := object.Spec.Limited; limited != nil {
		l.lendable = part(l.seats, limited.LendablePercent)
		if limited.BorrowingLimitPercent != nil {
			l.limit = part(l.seats, limited.BorrowingLimitPercent)
		}
		if q := limited.LimitResponse.Queuing; q != nil && limited.LimitResponse.Type == flowcontrolv1.LimitResponseTypeQueue {
			queues, hand, length = int(max(q.Queues, 1)), int(q.HandSize), int(q.QueueLengthLimit)
		}
	}
	if exempt := object.Spec.Exempt; exempt != nil {
		l.lendable = part(l.seats, exempt.LendablePercent)
	}
	l.reshape(queues, hand, length)
}

// reshape deals what waits to new queues if their number or the hands change.
func (l *level) reshape(queues, hand, length int) {
	l.length = length
	if len(l.queues) == queues && l.hand == hand {
		return
	}
	old := l.queues
	l.queues, l.hand, l.waiting = nil, hand, 0
	for range queues {
		l.queues = append(l.queues, &queue{work: l.virtual})
	}
	for _, q := range old {
		for _, w := range q.waiters {
			if l.queues == nil {
				l.sit(w) // it waits no longer: the level has lost its queues
				continue
			}
			l.put(w)
		}
	}
}

// fits says whether there are seats for w: the level's own, or idle ones of others.
func (l *level) fits(w *waiter) bool {
	over := l.inUse + w.width - l.seats
	if over <= 0 {
		return true
	}
	return over <= l.limit && over <= l.sharer.spare(l)
}

// spare is how many seats others lend to l.
func (s *Sharer) spare(l *level) int {
	idle, borrowed := 0, 0
	for _, other := range s.levels {
		if other == l || other.exempt && other.lendable == 0 {
			continue
		}
		idle += min(other.lendable, max(other.seats-other.inUse, 0))
		borrowed += max(other.inUse-other.seats, 0)
	}
	return idle - borrowed
}

// sit gives w its seats.
func (l *level) sit(w *waiter) {
	w.seated, w.begin = true, time.Now()
	l.inUse += w.width
	close(w.granted)
}

// enqueue puts w into the shortest queue of its flow's hand; false: it is full.
func (l *level) enqueue(w *waiter, flow uint64) bool {
	w.flow = flow
	if q := l.shortest(flow); len(q.waiters) >= l.length && !l.fits(w) {
		return false
	}
	l.put(w)
	return true
}

func (l *level) put(w *waiter) {
	w.queue = l.shortest(w.flow)
	if len(w.queue.waiters) == 0 && w.queue.running == 0 {
		w.queue.work = max(w.queue.work, l.virtual)
	}
	w.queue.waiters = append(w.queue.waiters, w)
	l.waiting++
}

// shortest is the queue with the least work ahead of those that the flow was dealt.
func (l *level) shortest(flow uint64) *queue {
	var best *queue
	ahead := func(q *queue) int {
		n := q.running
		for _, w := range q.waiters {
			n += w.width
		}
		return n
	}
	for _, i := range deal(flow, len(l.queues), l.hand) {
		if q := l.queues[i]; best == nil || ahead(q) < ahead(best) {
			best = q
		}
	}
	return best
}

// dispatch seats who can be, the least served queue first.
func (l *level) dispatch() {
	for l.waiting > 0 {
		var next *queue
		for _, q := range l.queues {
			if len(q.waiters) > 0 && (next == nil || q.work < next.work) {
				next = q
			}
		}
		w := next.waiters[0]
		if !l.fits(w) {
			return
		}
		next.waiters = next.waiters[1:]
		l.waiting--
		l.virtual = max(l.virtual, next.work)
		next.work += float64(w.width) * estimate
		next.running += w.width
		l.sit(w)
	}
}

// done takes w's seats back.
func (l *level) done(w *waiter) {
	l.sharer.mu.Lock()
	defer l.sharer.mu.Unlock()
	l.inUse -= w.width
	if w.queue != nil {
		w.queue.running -= w.width
		w.queue.work += float64(w.width) * (time.Since(w.begin).Seconds() - estimate)
	}
	l.dispatch()
	for _, other := range l.sharer.levels { // seats that are lent may have become idle
		if other != l {
			other.dispatch()
		}
	}
}

// forget takes w out of its queue.
func (l *level) forget(w *waiter) {
	before := len(w.queue.waiters)
	w.queue.waiters = slices.DeleteFunc(w.queue.waiters, func(o *waiter) bool { return o == w })
	l.waiting -= before - len(w.queue.waiters)
}

// hash is the identity of a flow.
func hash(schema, flow string) uint64 {
	sum := sha256.Sum256([]byte(schema + "\x00" + flow))
	return binary.BigEndian.Uint64(sum[:])
}

// deal deals a hand of distinct queues from a hash: each card comes from what is left of the deck.
func deal(hash uint64, queues, hand int) []int {
	hand = min(max(hand, 1), queues)
	cards := make([]int, 0, hand)
	for i := range hand {
		left := uint64(queues - i)
		card := int(hash % left)
		hash /= left
		// The card's place among those that were not dealt yet.
		for _, dealt := range slices.Sorted(slices.Values(cards)) {
			if card >= dealt {
				card++
			}
		}
		cards = append(cards, card)
	}
	return cards
}
