package daemonset

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"wherry/orchestrator/controller"
)

// plan is what is to be done, and when to look again though nothing happens (0: never).
type plan struct {
	create, remove []*corev1.Pod
	ended          []*corev1.Pod // those of remove that had failed
	again          time.Duration
}

// planner makes a plan.
type planner struct {
	*world
	plan
	now            time.Time
	sample         *corev1.Pod // what a pod would be, on no node yet
	surge, missing int         // how many more, and how many less, than wanted may run in a roll-out
}

func (w *world) plan(now time.Time) plan {
	p := &planner{world: w, now: now, sample: w.newPod("")}
	p.surge, p.missing = w.budgets()
	known := map[string]bool{}
	for _, node := range w.nodes {
		known[node.Name] = true
		p.node(node)
	}
	for node, pods := range w.pods {
		if !known[node] { // and so has its node gone
			p.remove = append(p.remove, alive(pods)...)
		}
	}
	if w.ds.Spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType && w.ds.DeletionTimestamp == nil {
		p.roll()
	}
	return p.plan
}

// newPod is a pod for a node; for "" it is not aimed at any.
func (w *world) newPod(node string) *corev1.Pod {
	pod := controller.PodFrom(&w.ds.Spec.Template, w.ds.Namespace, w.history.Ref)
	pod.GenerateName = controller.GeneratePrefix(w.ds.Name)
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] = w.hash
	pod.Labels["pod-template-generation"] = strconv.FormatInt(w.ds.Generation, 10)
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, daemonTolerations(&pod.Spec)...)
	if node != "" {
		aimAt(&pod.Spec, node)
	}
	return pod
}

// node plans for one node: a pod if it is to have one and has none, and no more than one but while another takes its
// place.
func (p *planner) node(node *corev1.Node) {
	run, stay := fits(p.sample, node)
	pods := alive(p.pods[node.Name])
	if !stay {
		p.remove = append(p.remove, pods...)
		return
	}
	var running []*corev1.Pod
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
			p.remove = append(p.remove, pod)
			if pod.Status.Phase == corev1.PodFailed {
				p.ended = append(p.ended, pod)
			}
			continue
		}
		running = append(running, pod)
	}
	switch {
	case len(pods) == 0 && run && len(p.pods[node.Name]) == 0:
		p.create = append(p.create, p.newPod(node.Name))
	case len(running) > 1:
		p.remove = append(p.remove, p.superfluous(running)...)
	}
}

// alive are the pods that are not being deleted.
func alive(pods []*corev1.Pod) []*corev1.Pod {
	return slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
}

// superfluous are all pods of a node but one. While a surge lasts, an old one stays until a new one is available.
func (p *planner) superfluous(pods []*corev1.Pod) []*corev1.Pod {
	if p.surge > 0 {
		fresh, old := p.split(pods)
		if len(fresh) == 1 && len(old) == 1 {
			if p.available(fresh[0]) {
				return old
			}
			if !p.available(old[0]) {
				return old
			}
			return nil
		}
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(boundFirst(a, b), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return pods[1:]
}

func boundFirst(a, b *corev1.Pod) int {
	switch unbound := func(p *corev1.Pod) bool { return p.Spec.NodeName == "" }; {
	case unbound(a) == unbound(b):
		return 0
	case unbound(a):
		return 1
	}
	return -1
}

// split tells pods of the newest template from older ones.
func (p *planner) split(pods []*corev1.Pod) (fresh, old []*corev1.Pod) {
	for _, pod := range pods {
		if pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == p.hash {
			fresh = append(fresh, pod)
		} else {
			old = append(old, pod)
		}
	}
	return fresh, old
}

// available says whether a pod has been ready for long enough, and notes when it will have been.
func (p *planner) available(pod *corev1.Pod) bool {
	in, ready := controller.AvailableIn(pod, p.ds.Spec.MinReadySeconds, p.now)
	if ready && in > 0 && (p.again == 0 || in < p.again) {
		p.again = in
	}
	return ready && in == 0 && pod.DeletionTimestamp == nil
}

// budgets are maxSurge and maxUnavailable in nodes; one of them is positive.
func (w *world) budgets() (surge, missing int) {
	s := w.ds.Spec.UpdateStrategy.RollingUpdate
	if s == nil {
		return 0, 1
	}
	wanted := 0
	sample := w.newPod("")
	for _, node := range w.nodes {
		if run, _ := fits(sample, node); run {
			wanted++
		}
	}
	surge, missing = scaled(s.MaxSurge, wanted), scaled(s.MaxUnavailable, wanted)
	if surge == 0 && missing == 0 {
		missing = 1
	}
	return surge, missing
}

func scaled(v *intstr.IntOrString, of int) int {
	if v == nil {
		return 0
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(v, of, true)
	if err != nil {
		return 0 // validation lets no other pass
	}
	return n
}

// roll replaces pods of older templates. Those that do not run are replaced at once; of the others as many as may be
// missing, or as many are doubled as may be too many.
func (p *planner) roll() {
	var old []*corev1.Pod // each the only one of its node, and available
	missing, surging := p.missing, p.surge
	for _, node := range p.nodes {
		pods := alive(p.pods[node.Name])
		if run, _ := fits(p.sample, node); !run {
			continue
		}
		fresh, stale := p.split(pods)
		switch {
		case len(fresh) > 0 && len(stale) > 0:
			surging--
		case len(stale) == 1 && !p.available(stale[0]):
			if !slices.Contains(p.remove, stale[0]) {
				p.remove = append(p.remove, stale[0])
			}
			missing--
		case len(stale) == 1:
			old = append(old, stale[0])
		case len(fresh) == 0 || !p.available(fresh[0]):
			missing--
		}
	}
	for _, pod := range old {
		switch {
		case p.surge > 0 && surging > 0:
			p.create = append(p.create, p.newPod(pod.Spec.NodeName))
			surging--
		case p.surge == 0 && missing > 0:
			p.remove = append(p.remove, pod)
			missing--
		}
	}
}

// count is the status of the set with the pods that there are.
func (w *world) count(now time.Time) appsv1.DaemonSetStatus {
	status := *w.ds.Status.DeepCopy()
	conditions, collisions := status.Conditions, status.CollisionCount
	status = appsv1.DaemonSetStatus{ObservedGeneration: w.ds.Generation, Conditions: conditions, CollisionCount: collisions}
	if w.collisions != 0 {
		status.CollisionCount = &w.collisions
	}
	sample := w.newPod("")
	for _, node := range w.nodes {
		run, _ := fits(sample, node)
		w.countNode(&status, run, w.pods[node.Name], now)
	}
	status.NumberUnavailable = status.DesiredNumberScheduled - status.NumberAvailable
	return status
}

func (w *world) countNode(status *appsv1.DaemonSetStatus, run bool, pods []*corev1.Pod, now time.Time) {
	if !run {
		if len(pods) > 0 {
			status.NumberMisscheduled++
		}
		return
	}
	status.DesiredNumberScheduled++
	if len(pods) == 0 {
		return
	}
	status.CurrentNumberScheduled++
	var best struct{ ready, available, updated bool }
	for _, pod := range pods {
		in, ready := controller.AvailableIn(pod, w.ds.Spec.MinReadySeconds, now)
		best.ready = best.ready || ready && pod.DeletionTimestamp == nil
		best.available = best.available || ready && in == 0 && pod.DeletionTimestamp == nil
		best.updated = best.updated || pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == w.hash && pod.DeletionTimestamp == nil
	}
	for _, c := range []struct {
		is bool
		n  *int32
	}{{best.ready, &status.NumberReady}, {best.available, &status.NumberAvailable}, {best.updated, &status.UpdatedNumberScheduled}} {
		if c.is {
			*c.n++
		}
	}
}
