// Package fit decides on which node a pod can run, and on which of these best. It is
// pure: nodes and pods in, a node or the reasons against each out, worded as
// Kubernetes' scheduler words them.
//
// To add a filter, write a function on attempt and name it in filters; to add a
// preference, do so in scorers.
package fit

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// Cluster is what placing a pod looks at. It is not changed by Place.
type Cluster struct {
	Nodes []*Node
	// Namespace returns the labels of a namespace, for affinity to pods of namespaces that
	// are selected by label; nil means that none has labels.
	Namespace func(name string) labels.Set
}

// Unfit says why no node takes a pod; its message is what users read in events and in
// the pod's condition PodScheduled.
type Unfit struct {
	Nodes   int            // how many there are
	Pod     string         // a reason that has nothing to do with nodes; else ""
	Reasons map[string]int // else how many nodes have each reason
}

func (u *Unfit) Error() string {
	if u.Nodes == 0 && u.Pod == "" {
		return "no nodes available to schedule pods"
	}
	if u.Pod != "" {
		return fmt.Sprintf("0/%d nodes are available: %s.", u.Nodes, u.Pod)
	}
	var reasons []string
	for reason, n := range u.Reasons {
		reasons = append(reasons, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(reasons)
	return fmt.Sprintf("0/%d nodes are available: %s.", u.Nodes, strings.Join(reasons, ", "))
}

// attempt is one placing of one pod.
type attempt struct {
	pod      *Pod
	cluster  *Cluster
	affinity *affinity // what the pods that run mean for this one
	spread   []*spread // its topology spread constraints, hard and soft
}

// Place returns the best node for the pod. Among equals it is the one with the fewest
// pods, then the first by name. Errors: *Unfit.
func Place(c *Cluster, p *Pod) (*Node, error) {
	unfit := &Unfit{Nodes: len(c.Nodes), Pod: p.Refused, Reasons: map[string]int{}}
	if unfit.Pod != "" || unfit.Nodes == 0 {
		return nil, unfit
	}
	a := &attempt{pod: p, cluster: c}
	a.affinity = newAffinity(a)
	a.spread = newSpreads(a)
	var fitting []*Node
	for _, n := range c.Nodes {
		if reasons := a.against(n); len(reasons) > 0 {
			for _, r := range reasons {
				unfit.Reasons[r]++
			}
			continue
		}
		fitting = append(fitting, n)
	}
	if len(fitting) == 0 {
		return nil, unfit
	}
	return a.best(fitting), nil
}

// filters say why a node cannot take the pod. The first that objects is heard.
var filters = []func(a *attempt, n *Node) []string{
	(*attempt).unschedulable,
	(*attempt).untolerated,
	(*attempt).unselected,
	(*attempt).portsTaken,
	(*attempt).insufficient,
	(*attempt).uneven,
	(*attempt).repelled,
}

func (a *attempt) against(n *Node) []string {
	for _, filter := range filters {
		if reasons := filter(a, n); len(reasons) > 0 {
			return reasons
		}
	}
	return nil
}
