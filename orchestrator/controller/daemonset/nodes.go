package daemonset

import (
	"slices"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	corehelpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// kindOf is the kind of nodes.
func kindOf(s *state.State) *resource.Kind {
	k, _ := s.Kinds().For(&corev1.Node{}) // every cluster has it
	return k
}

// keysOfNode wakes all DaemonSets when something of a node has changed that they look at: heartbeats are none.
func (c *daemonSets) keysOfNode(e state.Event) []controller.Key {
	node := e.Entry.Object().(*corev1.Node)
	if e.Prev != nil && e.Type != state.Deleted {
		old := e.Prev.Object().(*corev1.Node)
		if equality.Semantic.DeepEqual(old.Labels, node.Labels) && equality.Semantic.DeepEqual(old.Spec, node.Spec) {
			return nil
		}
	}
	return c.keys("", func(*appsv1.DaemonSet) bool { return true })
}

// fits says whether the DaemonSet wants a pod on the node, and whether one that is there already may stay.
func fits(pod *corev1.Pod, node *corev1.Node) (run, stay bool) {
	if pod.Spec.NodeName != "" && pod.Spec.NodeName != node.Name {
		return false, false
	}
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err != nil || !ok {
		return false, false
	}
	stay = !repelled(pod, node, corev1.TaintEffectNoExecute)
	return stay && !repelled(pod, node, corev1.TaintEffectNoSchedule), stay
}

// repelled says whether the node has a taint with the effect that the pod does not tolerate.
func repelled(pod *corev1.Pod, node *corev1.Node, effect corev1.TaintEffect) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool {
		return t.Effect == effect && !corehelpers.TolerationsTolerateTaint(logr.Discard(), pod.Spec.Tolerations, &t, false)
	})
}

// daemonTolerations are what every pod of a DaemonSet tolerates: what happens to its node is what
// it may be there for (DaemonSet concepts, "Taints and tolerations").
func daemonTolerations(spec *corev1.PodSpec) []corev1.Toleration {
	exists := func(key string, effect corev1.TaintEffect) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: effect}
	}
	all := []corev1.Toleration{
		exists(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute),
		exists(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute),
		exists(corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule),
		exists(corev1.TaintNodeMemoryPressure, corev1.TaintEffectNoSchedule),
		exists(corev1.TaintNodePIDPressure, corev1.TaintEffectNoSchedule),
		exists(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule),
	}
	if spec.HostNetwork {
		all = append(all, exists(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule))
	}
	return all
}

// byNode orders pods by the node that they run on, or, if they are not bound yet, that they are made for.
func byNode(pods []*corev1.Pod) map[string][]*corev1.Pod {
	all := map[string][]*corev1.Pod{}
	for _, p := range pods {
		node := p.Spec.NodeName
		if node == "" {
			node = target(p)
		}
		all[node] = append(all[node], p)
	}
	return all
}

// target is the node that a pod's affinity names.
func target(p *corev1.Pod) string {
	if p.Spec.Affinity == nil || p.Spec.Affinity.NodeAffinity == nil || p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	for _, term := range p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, f := range term.MatchFields {
			if f.Key == "metadata.name" && f.Operator == corev1.NodeSelectorOpIn && len(f.Values) == 1 {
				return f.Values[0]
			}
		}
	}
	return ""
}

// aimAt has the scheduler bind the pod to the node and to no other. Terms of the template are replaced: they
// were judged when the node was chosen.
func aimAt(spec *corev1.PodSpec, node string) {
	if spec.Affinity == nil {
		spec.Affinity = &corev1.Affinity{}
	}
	if spec.Affinity.NodeAffinity == nil {
		spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
			{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node}},
		}}},
	}
}
