package scheduler

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/scheduler/fit"
)

// picture is the nodes with the pods that take their room: those that the watch has
// shown there, and those that have been decided (assumed).
type picture struct {
	nodes     map[string]*fit.Node
	where     map[types.UID]*fit.Node
	guesses   map[types.UID]bool // pods in where that the watch has not shown there
	listed    []*fit.Node        // nodes that exist, by name; nil: to be made
	namespace func(name string) labels.Set
}

func newPicture(namespace func(name string) labels.Set) *picture {
	return &picture{
		nodes:     make(map[string]*fit.Node),
		where:     make(map[types.UID]*fit.Node),
		guesses:   make(map[types.UID]bool),
		namespace: namespace,
	}
}

// cluster is the picture as package fit wants it; valid until the picture changes.
func (p *picture) cluster() *fit.Cluster {
	if p.listed == nil {
		for _, n := range p.nodes {
			if n.Node != nil {
				p.listed = append(p.listed, n)
			}
		}
		slices.SortFunc(p.listed, func(a, b *fit.Node) int { return strings.Compare(a.Node.Name, b.Node.Name) })
	}
	return &fit.Cluster{Nodes: p.listed, Namespace: p.namespace}
}

func (p *picture) node(name string) *fit.Node {
	n, ok := p.nodes[name]
	if !ok {
		n = fit.NewNode()
		p.nodes[name] = n
	}
	return n
}

// setNode says whether a pod that fitted nowhere might now.
func (p *picture) setNode(node *corev1.Node) bool {
	n := p.node(node.Name)
	was := n.Node
	n.Set(node)
	p.listed = nil
	return was == nil ||
		was.Spec.Unschedulable != node.Spec.Unschedulable ||
		!equality.Semantic.DeepEqual(was.Labels, node.Labels) ||
		!equality.Semantic.DeepEqual(was.Spec.Taints, node.Spec.Taints) ||
		!equality.Semantic.DeepEqual(was.Status.Allocatable, node.Status.Allocatable)
}

// removeNode forgets a node; pods that are still on it are remembered, in case it comes
// back.
func (p *picture) removeNode(name string) {
	if n, ok := p.nodes[name]; ok {
		n.Set(nil)
		p.listed = nil
		p.forgetEmpty(name, n)
	}
}

func (p *picture) forgetEmpty(name string, n *fit.Node) {
	if n.Node == nil && len(n.Pods) == 0 {
		delete(p.nodes, name)
	}
}

// setPod shows a pod on its node, and says whether it was not there before.
func (p *picture) setPod(pod *fit.Pod) bool {
	uid := pod.Pod.UID
	n := p.node(pod.Pod.Spec.NodeName)
	was := p.where[uid]
	if was != nil && was != n {
		p.removePod(uid)
	}
	delete(p.guesses, uid)
	n.Add(pod)
	p.where[uid] = n
	return was != n
}

// removePod says whether the pod took room.
func (p *picture) removePod(uid types.UID) bool {
	n, ok := p.where[uid]
	if !ok {
		return false
	}
	name := n.Pods[uid].Pod.Spec.NodeName
	n.Remove(uid)
	delete(p.where, uid)
	delete(p.guesses, uid)
	p.forgetEmpty(name, n)
	return true
}

// assume counts a decided pod on its node.
func (p *picture) assume(pod *fit.Pod, n *fit.Node) {
	n.Add(pod)
	p.where[pod.Pod.UID] = n
	p.guesses[pod.Pod.UID] = true
}

func (p *picture) assumed(uid types.UID) bool { return p.guesses[uid] }
