package scheduler

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	helper "k8s.io/component-helpers/scheduling/corev1"

	"wherry/orchestrator/scheduler/fit"
)

// A pod that was refused is tried again after a second at the earliest, then two, four
// and so on to ten; and after five minutes even if nothing has happened.
const (
	firstBackoff = time.Second
	maxBackoff   = 10 * time.Second
	maxSleep     = 5 * time.Minute
	never        = time.Duration(1<<63 - 1)
)

// item is a pod that waits.
type item struct {
	pod      *fit.Pod
	attempts int
	at       time.Time // when it is tried next
	earliest time.Time // when it may be tried next, if something happens
	number   uint64    // of its arrival
}

// social says whether pods that arrive elsewhere can make it fit.
func (it *item) social() bool {
	a := it.pod.Pod.Spec.Affinity
	return a != nil && a.PodAffinity != nil || len(it.pod.Pod.Spec.TopologySpreadConstraints) > 0
}

// queue is the pods that wait for a node.
type queue struct {
	items    map[types.UID]*item
	arrivals uint64
}

func newQueue() *queue { return &queue{items: make(map[types.UID]*item)} }

// set adds a pod or takes note of its newer version. Only a change of what it asks for
// makes it due.
func (q *queue) set(pod *corev1.Pod, now time.Time) {
	it, ok := q.items[pod.UID]
	if !ok {
		q.arrivals++
		q.items[pod.UID] = &item{pod: fit.NewPod(pod), at: now, number: q.arrivals}
		return
	}
	was := it.pod.Pod
	if was.Generation == pod.Generation && equality.Semantic.DeepEqual(was.Labels, pod.Labels) && equality.Semantic.DeepEqual(was.Spec, pod.Spec) {
		it.pod.Pod = pod
		return
	}
	it.pod, it.attempts, it.at, it.earliest = fit.NewPod(pod), 0, now, now
}

func (q *queue) remove(uid types.UID) { delete(q.items, uid) }

// wake lets all be tried as soon as their back-off allows.
func (q *queue) wake(now time.Time) {
	for _, it := range q.items {
		it.wake(now)
	}
}

// wakeSocial is wake for those to whom it matters where other pods are.
func (q *queue) wakeSocial(now time.Time) {
	for _, it := range q.items {
		if it.social() {
			it.wake(now)
		}
	}
}

func (it *item) wake(now time.Time) {
	soon := it.earliest
	if soon.Before(now) {
		soon = now
	}
	if soon.Before(it.at) {
		it.at = soon
	}
}

// park puts off an item that was refused.
func (q *queue) park(it *item, now time.Time) {
	wait := min(firstBackoff<<min(it.attempts, 10), maxBackoff)
	it.attempts++
	it.earliest, it.at = now.Add(wait), now.Add(maxSleep)
}

// again puts off an item whose binding failed, for no longer than its back-off.
func (q *queue) again(it *item, now time.Time) {
	q.park(it, now)
	it.at = it.earliest
	q.items[it.pod.Pod.UID] = it
}

// due returns what is to be tried now, the most important and then the oldest first.
func (q *queue) due(now time.Time, limit int) []*item {
	var due []*item
	for _, it := range q.items {
		if !it.at.After(now) {
			due = append(due, it)
		}
	}
	slices.SortFunc(due, func(a, b *item) int {
		return cmp.Or(
			cmp.Compare(helper.PodPriority(b.pod.Pod), helper.PodPriority(a.pod.Pod)),
			a.pod.Pod.CreationTimestamp.Compare(b.pod.Pod.CreationTimestamp.Time),
			cmp.Compare(a.number, b.number),
		)
	})
	return due[:min(len(due), limit)]
}

// next is how long it takes until an item is due.
func (q *queue) next(now time.Time) time.Duration {
	wait := never
	for _, it := range q.items {
		wait = min(wait, it.at.Sub(now))
	}
	return max(wait, 0)
}
