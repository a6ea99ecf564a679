package fit

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Node is a node and the pods that are on it, or will be. It is not safe for concurrent
// use.
type Node struct {
	// Node is nil while pods are known to be on a node that is not.
	Node *corev1.Node
	Pods map[types.UID]*Pod

	allocatable Resources
	requested   Resources // the sum over Pods
	weight      Resources // the sum over Pods of what they weigh for the score
	ports       map[hostPort]int
	repelling   map[types.UID]*Pod // those of Pods with required anti-affinity
	images      map[string]int64   // bytes by name
}

// NewNode returns a node without pods, and without a node object.
func NewNode() *Node {
	return &Node{
		Pods:      make(map[types.UID]*Pod),
		ports:     make(map[hostPort]int),
		repelling: make(map[types.UID]*Pod),
	}
}

// Set replaces the node's object; nil takes it away. The pods stay.
func (n *Node) Set(node *corev1.Node) {
	n.Node, n.images, n.allocatable = node, nil, Resources{}
	if node == nil {
		return
	}
	n.allocatable = newResources(node.Status.Allocatable)
	n.images = make(map[string]int64)
	for _, image := range node.Status.Images {
		for _, name := range image.Names {
			n.images[name] = image.SizeBytes
		}
	}
}

// Add puts a pod on the node, in the place of one with the same uid.
func (n *Node) Add(p *Pod) {
	n.Remove(p.Pod.UID)
	n.Pods[p.Pod.UID] = p
	n.requested.add(p.requests, 1)
	n.weight.add(p.weight, 1)
	for _, port := range p.ports {
		n.ports[port]++
	}
	if len(p.antiAffinity) > 0 {
		n.repelling[p.Pod.UID] = p
	}
}

// Remove takes a pod off the node, if it is there.
func (n *Node) Remove(uid types.UID) {
	p, ok := n.Pods[uid]
	if !ok {
		return
	}
	delete(n.Pods, uid)
	delete(n.repelling, uid)
	n.requested.add(p.requests, -1)
	n.weight.add(p.weight, -1)
	for _, port := range p.ports {
		if n.ports[port]--; n.ports[port] == 0 {
			delete(n.ports, port)
		}
	}
}
