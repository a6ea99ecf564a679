package fit

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// scorer rates a node: more is better. Ratings of the nodes at hand are stretched to 0
// to 100 and multiplied by the weight; the order is what counts.
type scorer struct {
	weight float64
	rate   func(a *attempt, n *Node) float64
	// absolute ratings are already 0 to 100 and are not stretched.
	absolute bool
}

// The weights are those of Kubernetes' default profile.
var scorers = []scorer{
	{weight: 3, rate: (*attempt).fewTaints},
	{weight: 2, rate: (*attempt).preferredNode},
	{weight: 2, rate: (*attempt).evenly},
	{weight: 2, rate: (*attempt).apart},
	{weight: 2, rate: (*attempt).attracted},
	{weight: 1, rate: (*attempt).roomy, absolute: true},
	{weight: 1, rate: (*attempt).hasImages, absolute: true},
}

const most = 100

// best is the node with the highest sum; nodes is not empty.
func (a *attempt) best(nodes []*Node) *Node {
	if len(nodes) == 1 {
		return nodes[0]
	}
	sums := make(map[*Node]float64, len(nodes))
	ratings := make([]float64, len(nodes))
	for _, s := range scorers {
		for i, n := range nodes {
			ratings[i] = s.rate(a, n)
		}
		if !s.absolute {
			stretch(ratings)
		}
		for i, n := range nodes {
			sums[n] += s.weight * ratings[i]
		}
	}
	return slices.MinFunc(nodes, func(x, y *Node) int {
		return cmp.Or(
			cmp.Compare(sums[y], sums[x]),
			cmp.Compare(len(x.Pods), len(y.Pods)),
			strings.Compare(x.Node.Name, y.Node.Name),
		)
	})
}

// stretch makes the lowest rating 0 and the highest most; equal ones all 0.
func stretch(ratings []float64) {
	low, high := slices.Min(ratings), slices.Max(ratings)
	for i := range ratings {
		if high > low {
			ratings[i] = most * (ratings[i] - low) / (high - low)
		} else {
			ratings[i] = 0
		}
	}
}

// fewTaints counts taints that the pod would rather not meet.
func (a *attempt) fewTaints(n *Node) float64 {
	met := 0
	for i := range n.Node.Spec.Taints {
		if t := &n.Node.Spec.Taints[i]; t.Effect == corev1.TaintEffectPreferNoSchedule && !a.pod.tolerates(t) {
			met++
		}
	}
	return -float64(met)
}

func (a *attempt) preferredNode(n *Node) float64 {
	if a.pod.preferred == nil {
		return 0
	}
	return float64(a.pod.preferred.Score(n.Node))
}

// evenly asks the soft spread constraints.
func (a *attempt) evenly(n *Node) float64 {
	var pods float64
	for _, s := range a.spread {
		if s.hard {
			continue
		}
		if value, ok := n.Node.Labels[s.constraint.TopologyKey]; ok {
			pods += float64(s.counts[value])
		} else {
			pods += float64(len(s.counts)) * 1000 // nodes outside of every domain come last
		}
	}
	return -pods
}

// apart keeps the pods of one owner on different nodes.
func (a *attempt) apart(n *Node) float64 {
	if a.pod.owner == "" {
		return 0
	}
	siblings := 0
	for _, other := range n.Pods {
		if other.owner == a.pod.owner {
			siblings++
		}
	}
	return -float64(siblings)
}

func (a *attempt) attracted(n *Node) float64 {
	var sum int64
	for where, weight := range a.affinity.wished {
		if value, ok := n.Node.Labels[where.key]; ok && value == where.value {
			sum += weight
		}
	}
	return float64(sum)
}

// roomy is how much of CPU and memory would be left, on average.
func (a *attempt) roomy(n *Node) float64 {
	left := func(has, taken, ask int64) float64 {
		if has <= 0 || taken+ask >= has {
			return 0
		}
		return most * float64(has-taken-ask) / float64(has)
	}
	return (left(n.allocatable.CPU, n.weight.CPU, a.pod.weight.CPU) +
		left(n.allocatable.Memory, n.weight.Memory, a.pod.weight.Memory)) / 2
}

// Images below the one size do not count, above the other (for each container) no more.
const (
	smallImage = 23 << 20
	largeImage = 1000 << 20
)

func (a *attempt) hasImages(n *Node) float64 {
	var bytes int64
	containers := a.pod.Pod.Spec.Containers
	for i := range containers {
		bytes += n.images[containers[i].Image]
	}
	limit := int64(largeImage * len(containers))
	bytes = min(max(bytes, smallImage), limit)
	return most * float64(bytes-smallImage) / float64(limit-smallImage)
}
