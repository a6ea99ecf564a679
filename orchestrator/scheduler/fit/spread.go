package fit

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// spread is one topology spread constraint and the matching pods by domain.
type spread struct {
	constraint *corev1.TopologySpreadConstraint
	hard       bool
	counts     map[string]int // by the value of the topology key; every eligible domain is in it
	fewest     int            // 0 if there are fewer domains than the constraint wants
	itself     int            // 1 if the pod itself matches
}

// newSpreads counts for every constraint of the pod. A selector that cannot be parsed
// matches nothing; validation refuses it before.
func newSpreads(a *attempt) []*spread {
	constraints := a.pod.Pod.Spec.TopologySpreadConstraints
	spreads := make([]*spread, 0, len(constraints))
	for i := range constraints {
		c := &constraints[i]
		s := &spread{constraint: c, hard: c.WhenUnsatisfiable == corev1.DoNotSchedule, counts: map[string]int{}}
		selector, err := metav1.LabelSelectorAsSelector(c.LabelSelector)
		if err != nil {
			selector = labels.Nothing()
		}
		if selector.Matches(labels.Set(a.pod.Pod.Labels)) {
			s.itself = 1
		}
		for _, n := range a.cluster.Nodes {
			s.count(a, n, selector)
		}
		s.fewest = s.minimum()
		spreads = append(spreads, s)
	}
	return spreads
}

// count adds the pods of a node, if the constraint looks at it.
func (s *spread) count(a *attempt, n *Node, selector labels.Selector) {
	value, ok := n.Node.Labels[s.constraint.TopologyKey]
	if !ok || !s.eligible(a, n) {
		return
	}
	matching := 0
	for _, other := range n.Pods {
		if other.Pod.Namespace == a.pod.Pod.Namespace && other.Pod.DeletionTimestamp == nil &&
			selector.Matches(labels.Set(other.Pod.Labels)) {
			matching++
		}
	}
	s.counts[value] += matching
}

// eligible applies the constraint's node policies: affinity is honoured and taints
// ignored unless it says otherwise. A node must have the keys of all hard constraints.
func (s *spread) eligible(a *attempt, n *Node) bool {
	constraints := a.pod.Pod.Spec.TopologySpreadConstraints
	for i := range constraints {
		if constraints[i].WhenUnsatisfiable == s.constraint.WhenUnsatisfiable {
			if _, ok := n.Node.Labels[constraints[i].TopologyKey]; !ok {
				return false
			}
		}
	}
	if p := s.constraint.NodeAffinityPolicy; p == nil || *p == corev1.NodeInclusionPolicyHonor {
		if a.unselected(n) != nil {
			return false
		}
	}
	if p := s.constraint.NodeTaintsPolicy; p != nil && *p == corev1.NodeInclusionPolicyHonor {
		return a.untolerated(n) == nil
	}
	return true
}

func (s *spread) minimum() int {
	domains := int32(1)
	if s.constraint.MinDomains != nil {
		domains = *s.constraint.MinDomains
	}
	if int32(len(s.counts)) < domains {
		return 0
	}
	fewest := math.MaxInt
	for _, n := range s.counts {
		fewest = min(fewest, n)
	}
	return fewest
}

// uneven asks the hard constraints.
func (a *attempt) uneven(n *Node) []string {
	const reason = "node(s) didn't match pod topology spread constraints"
	for _, s := range a.spread {
		if !s.hard {
			continue
		}
		value, ok := n.Node.Labels[s.constraint.TopologyKey]
		if !ok {
			return []string{reason + " (missing required label)"}
		}
		if s.counts[value]+s.itself-s.fewest > int(s.constraint.MaxSkew) {
			return []string{reason}
		}
	}
	return nil
}
