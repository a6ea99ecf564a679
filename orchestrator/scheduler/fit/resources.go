package fit

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Resources are amounts: CPU in thousandths, everything else in units or bytes.
type Resources struct {
	CPU, Memory, Storage, Pods int64
	Others                     map[corev1.ResourceName]int64
}

func newResources(list corev1.ResourceList) Resources {
	var r Resources
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			r.CPU = q.MilliValue()
		case corev1.ResourceMemory:
			r.Memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			r.Storage = q.Value()
		case corev1.ResourcePods:
			r.Pods = q.Value()
		default:
			if r.Others == nil {
				r.Others = make(map[corev1.ResourceName]int64)
			}
			r.Others[name] = q.Value()
		}
	}
	return r
}

// add adds o, or takes it away with a sign of -1.
func (r *Resources) add(o Resources, sign int64) {
	r.CPU += sign * o.CPU
	r.Memory += sign * o.Memory
	r.Storage += sign * o.Storage
	for name, amount := range o.Others {
		if r.Others == nil {
			r.Others = make(map[corev1.ResourceName]int64)
		}
		r.Others[name] += sign * amount
	}
}

// beyond names what r has more of than limit, pods aside.
func (r Resources) beyond(limit Resources) []corev1.ResourceName {
	var names []corev1.ResourceName
	if r.CPU > limit.CPU {
		names = append(names, corev1.ResourceCPU)
	}
	if r.Memory > limit.Memory {
		names = append(names, corev1.ResourceMemory)
	}
	if r.Storage > limit.Storage {
		names = append(names, corev1.ResourceEphemeralStorage)
	}
	var others []corev1.ResourceName
	for name, amount := range r.Others {
		if amount > limit.Others[name] {
			others = append(others, name)
		}
	}
	slices.Sort(others)
	return append(names, others...)
}

// insufficient names the resources of which the node has too little left. What the pod does
// not ask for does not matter, even where others took too much.
func (a *attempt) insufficient(n *Node) []string {
	var reasons []string
	if int64(len(n.Pods))+1 > n.allocatable.Pods {
		reasons = append(reasons, "Too many pods")
	}
	ask := a.pod.requests
	left := n.allocatable
	left.CPU -= n.requested.CPU
	left.Memory -= n.requested.Memory
	left.Storage -= n.requested.Storage
	left.Others = nil
	for name := range ask.Others {
		if left.Others == nil {
			left.Others = make(map[corev1.ResourceName]int64, len(ask.Others))
		}
		left.Others[name] = n.allocatable.Others[name] - n.requested.Others[name]
	}
	for _, name := range ask.beyond(left) {
		if ask.of(name) > 0 {
			reasons = append(reasons, "Insufficient "+string(name))
		}
	}
	return reasons
}

func (r Resources) of(name corev1.ResourceName) int64 {
	switch name {
	case corev1.ResourceCPU:
		return r.CPU
	case corev1.ResourceMemory:
		return r.Memory
	case corev1.ResourceEphemeralStorage:
		return r.Storage
	}
	return r.Others[name]
}
