package nodehealth

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// reported are the conditions that an agent keeps: when it is lost, nobody knows them.
var reported = []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure}

// condition is the status of one of the node's conditions, "" if it has none of the type.
func condition(n *corev1.Node, kind corev1.NodeConditionType) corev1.ConditionStatus {
	for _, c := range n.Status.Conditions {
		if c.Type == kind {
			return c.Status
		}
	}
	return ""
}

// unknown says that forget has nothing to do.
func unknown(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if slices.Contains(reported, c.Type) && c.Status != corev1.ConditionUnknown {
			return false
		}
	}
	return condition(n, corev1.NodeReady) == corev1.ConditionUnknown
}

// forget makes what a silent agent has said Unknown. Ready is added for an agent that has never
// said anything.
func forget(n *corev1.Node, now time.Time) {
	at := metav1.NewTime(now)
	for i, c := range n.Status.Conditions {
		if slices.Contains(reported, c.Type) && c.Status != corev1.ConditionUnknown {
			c.Status, c.Reason, c.Message, c.LastTransitionTime = corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status.", at
			n.Status.Conditions[i] = c
		}
	}
	if condition(n, corev1.NodeReady) == "" {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{
			Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.",
			LastHeartbeatTime: n.CreationTimestamp, LastTransitionTime: at,
		})
	}
}

// rules say which taint follows from a condition. All keep new pods away.
var rules = []struct {
	kind   corev1.NodeConditionType
	status corev1.ConditionStatus
	taint  string
	evicts bool // makes those that are there leave, too
}{
	{corev1.NodeReady, corev1.ConditionFalse, corev1.TaintNodeNotReady, true},
	{corev1.NodeReady, corev1.ConditionUnknown, corev1.TaintNodeUnreachable, true},
	{corev1.NodeMemoryPressure, corev1.ConditionTrue, corev1.TaintNodeMemoryPressure, false},
	{corev1.NodeDiskPressure, corev1.ConditionTrue, corev1.TaintNodeDiskPressure, false},
	{corev1.NodePIDPressure, corev1.ConditionTrue, corev1.TaintNodePIDPressure, false},
	{corev1.NodeNetworkUnavailable, corev1.ConditionTrue, corev1.TaintNodeNetworkUnavailable, false},
}

// taintID is what taints of a node differ in.
type taintID struct {
	key    string
	effect corev1.TaintEffect
}

// verdicts are the taints that are ours to set and remove, in order, and whether the node should have them.
func verdicts(n *corev1.Node) ([]taintID, map[taintID]bool) {
	var order []taintID
	should := map[taintID]bool{}
	add := func(key string, effect corev1.TaintEffect, is bool) {
		order = append(order, taintID{key, effect})
		should[taintID{key, effect}] = is
	}
	for _, r := range rules {
		is := condition(n, r.kind) == r.status
		add(r.taint, corev1.TaintEffectNoSchedule, is)
		if r.evicts {
			add(r.taint, corev1.TaintEffectNoExecute, is)
		}
	}
	add(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule, n.Spec.Unschedulable)
	return order, should
}

// taints are those that the node should have. Those of others stay; one that evicts gets the
// time at which it was first seen, for that is what tolerationSeconds counts from.
func taints(n *corev1.Node, now time.Time) []corev1.Taint {
	at := metav1.NewTime(now)
	order, should := verdicts(n)
	var all []corev1.Taint
	for _, t := range n.Spec.Taints {
		id := taintID{t.Key, t.Effect}
		if is, ours := should[id]; ours && !is {
			continue
		}
		if t.Effect == corev1.TaintEffectNoExecute && t.TimeAdded == nil {
			t.TimeAdded = &at
		}
		delete(should, id)
		all = append(all, t)
	}
	for _, id := range order {
		if should[id] {
			all = append(all, corev1.Taint{Key: id.key, Effect: id.effect, TimeAdded: &at})
		}
	}
	return all
}

func same(a, b []corev1.Taint) bool { return equality.Semantic.DeepEqual(a, b) }
