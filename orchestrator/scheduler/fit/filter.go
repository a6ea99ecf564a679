package fit

import (
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	helper "k8s.io/component-helpers/scheduling/corev1"
)

// tolerates says whether the pod stands a taint.
func (p *Pod) tolerates(t *corev1.Taint) bool {
	return helper.TolerationsTolerateTaint(logr.Discard(), p.Pod.Spec.Tolerations, t, false)
}

var cordoned = corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}

func (a *attempt) unschedulable(n *Node) []string {
	if n.Node.Spec.Unschedulable && !a.pod.tolerates(&cordoned) {
		return []string{"node(s) were unschedulable"}
	}
	return nil
}

func (a *attempt) untolerated(n *Node) []string {
	for i := range n.Node.Spec.Taints {
		t := &n.Node.Spec.Taints[i]
		if t.Effect != corev1.TaintEffectPreferNoSchedule && !a.pod.tolerates(t) {
			return []string{"node(s) had untolerated taint(s)"}
		}
	}
	return nil
}

// unselected asks nodeSelector and required node affinity. Terms that cannot be parsed
// match nothing; validation refuses them before.
func (a *attempt) unselected(n *Node) []string {
	if ok, err := a.pod.required.Match(n.Node); err != nil || !ok {
		return []string{"node(s) didn't match Pod's node affinity/selector"}
	}
	return nil
}

const anyIP = "0.0.0.0"

func (a *attempt) portsTaken(n *Node) []string {
	if len(n.ports) == 0 {
		return nil
	}
	for _, want := range a.pod.ports {
		for have := range n.ports {
			if have.port == want.port && have.protocol == want.protocol &&
				(have.ip == want.ip || have.ip == anyIP || want.ip == anyIP) {
				return []string{"node(s) didn't have free ports for the requested pod ports"}
			}
		}
	}
	return nil
}
