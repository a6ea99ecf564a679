package statefulset

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/controller"
)

// verbs of actions.
type verb string

const (
	create verb = "create"
	remove verb = "remove"
	repair verb = "repair" // labels and claims
)

// action is one thing to do to a pod, and why.
type action struct {
	verb verb
	pod  *corev1.Pod
	why  string
}

// plan is what is to be done now, the status as it is before it is done, and when to look again
// though nothing happens (0: never).
type plan struct {
	actions []action
	status  appsv1.StatefulSetStatus
	again   time.Duration
}

// planner makes a plan. Its pods are by ordinal; nil where there is none.
type planner struct {
	*world
	plan
	now       time.Time
	ordered   bool
	first     int
	replicas  []*corev1.Pod // wanted; index 0 is ordinal first
	condemned []*corev1.Pod // not wanted any more, the highest ordinal first
}

// plan says what comes next. With pods that are managed in order it is one thing at a time, and
// nothing while the pod before is not available.
func (w *world) plan(now time.Time) plan {
	p := &planner{world: w, now: now, ordered: w.set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement}
	p.sort()
	p.status = w.count(p.replicas, p.condemned, now)
	if w.set.DeletionTimestamp == nil && p.fill() && p.shrink() {
		p.roll()
	}
	return p.plan
}

func (p *planner) sort() {
	first, last := span(p.set)
	p.first, p.replicas = first, make([]*corev1.Pod, last-first)
	for _, pod := range p.pods {
		n, _ := ordinalOf(p.set, pod)
		if n >= first && n < last {
			p.replicas[n-first] = pod
		} else {
			p.condemned = append(p.condemned, pod)
		}
	}
	slices.SortFunc(p.condemned, func(a, b *corev1.Pod) int {
		m, _ := ordinalOf(p.set, a)
		n, _ := ordinalOf(p.set, b)
		return n - m
	})
}

func (p *planner) do(v verb, pod *corev1.Pod, why string) {
	p.actions = append(p.actions, action{v, pod, why})
}

// fill makes the pods that are missing and takes away those that have ended, whose places are then filled. It
// says whether the plan may go on.
func (p *planner) fill() bool {
	for i, pod := range p.replicas {
		if !p.place(i, pod) && p.ordered {
			return false
		}
	}
	return true
}

// place brings one ordinal on, and says whether its pod is as it should be.
func (p *planner) place(i int, pod *corev1.Pod) bool {
	switch {
	case pod == nil:
		p.do(create, newPod(p.set, p.revisionFor(p.first+i), p.first+i), "it is missing")
		return false
	case pod.DeletionTimestamp != nil:
		return false
	case ended(pod):
		p.do(remove, pod, "it has ended")
		return false
	case len(p.set.Spec.VolumeClaimTemplates) > 0 || !hasIdentity(p.set, pod):
		p.do(repair, pod, "its labels and claims are to be what its ordinal says")
	}
	return p.available(pod)
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
}

// available says whether a pod has been ready for as long as the set asks for, and notes when it will
// have been.
func (p *planner) available(pod *corev1.Pod) bool {
	in, ready := controller.AvailableIn(pod, p.set.Spec.MinReadySeconds, p.now)
	if ready && in > 0 && (p.again == 0 || in < p.again) {
		p.again = in
	}
	return ready && in == 0 && pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil
}

// revisionFor is what a new pod of an ordinal is made of: those below the partition, and those
// that the roll-out has not come to yet, keep the current revision.
func (p *planner) revisionFor(ordinal int) revision {
	s := p.set.Spec.UpdateStrategy
	if s.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return p.update
	}
	keep := p.first + int(p.set.Status.CurrentReplicas)
	if s.RollingUpdate != nil && s.RollingUpdate.Partition != nil {
		keep = p.first + int(*s.RollingUpdate.Partition)
	}
	if ordinal < keep {
		return p.current
	}
	return p.update
}

// shrink takes away pods that are not wanted, the highest ordinal first. In order, the next one goes
// when the last has gone and everybody who stays is well, but an unwell one that is to go is not waited for.
func (p *planner) shrink() bool {
	for _, pod := range p.condemned {
		if pod.DeletionTimestamp != nil {
			if p.ordered {
				return false
			}
			continue
		}
		if len(p.set.Spec.VolumeClaimTemplates) > 0 {
			p.do(repair, pod, "its claims may have to go with it")
		}
		p.do(remove, pod, "it is not wanted any more")
		if p.ordered {
			return false
		}
	}
	return true
}

// roll takes away the pod with the highest ordinal that is of an older revision, so that it is made anew, when those
// above it are well.
func (p *planner) roll() {
	s := p.set.Spec.UpdateStrategy
	if s.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return
	}
	partition := 0
	if s.RollingUpdate != nil && s.RollingUpdate.Partition != nil {
		partition = int(*s.RollingUpdate.Partition)
	}
	for i := len(p.replicas) - 1; i >= partition; i-- {
		pod := p.replicas[i]
		if pod != nil && pod.DeletionTimestamp == nil && pod.Labels[appsv1.StatefulSetRevisionLabel] != p.update.name {
			p.do(remove, pod, "it is of an older revision")
			return
		}
		if pod == nil || !p.available(pod) {
			return
		}
	}
}
