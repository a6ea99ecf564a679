package fit

// place is a topology key and a node's value of it.
type place struct{ key, value string }

// affinity is what the pods that are somewhere mean for the pod to be placed: numbers
// of pods by place.
type affinity struct {
	attracts map[place]int   // pods that match all its affinity terms
	repels   map[place]bool  // pods that match one of its anti-affinity terms
	refuses  map[place]bool  // pods whose anti-affinity matches it
	wished   map[place]int64 // weights of its wishes
	alone    bool            // no pod matches its affinity terms, but it does itself
}

func newAffinity(a *attempt) *affinity {
	f := &affinity{
		attracts: map[place]int{}, repels: map[place]bool{}, refuses: map[place]bool{}, wished: map[place]int64{},
	}
	p := a.pod
	asks := len(p.affinity)+len(p.antiAffinity)+len(p.wishes) > 0
	for _, n := range a.cluster.Nodes {
		for _, other := range n.repelling {
			for i := range other.antiAffinity {
				if t := &other.antiAffinity[i]; t.matches(a.cluster, p.Pod) {
					f.mark(f.refuses, n, t.key)
				}
			}
		}
		if asks {
			f.count(a, n)
		}
	}
	f.alone = len(f.attracts) == 0 && len(p.affinity) > 0 && p.matchesAll(a.cluster, p)
	return f
}

// count adds what the pods of a node mean for a pod that has affinity.
func (f *affinity) count(a *attempt, n *Node) {
	p := a.pod
	for _, other := range n.Pods {
		if len(p.affinity) > 0 && p.matchesAll(a.cluster, other) {
			for i := range p.affinity {
				if value, ok := n.Node.Labels[p.affinity[i].key]; ok {
					f.attracts[place{p.affinity[i].key, value}]++
				}
			}
		}
		for i := range p.antiAffinity {
			if t := &p.antiAffinity[i]; t.matches(a.cluster, other.Pod) {
				f.mark(f.repels, n, t.key)
			}
		}
		for i := range p.wishes {
			w := &p.wishes[i]
			if value, ok := n.Node.Labels[w.key]; ok && w.matches(a.cluster, other.Pod) {
				f.wished[place{w.key, value}] += w.weight
			}
		}
	}
}

func (f *affinity) mark(places map[place]bool, n *Node, key string) {
	if value, ok := n.Node.Labels[key]; ok {
		places[place{key, value}] = true
	}
}

// matchesAll says whether other is what all of the pod's affinity terms mean.
func (p *Pod) matchesAll(c *Cluster, other *Pod) bool {
	for i := range p.affinity {
		if !p.affinity[i].matches(c, other.Pod) {
			return false
		}
	}
	return true
}

// repelled asks affinity and anti-affinity, of the pod and of those that run.
func (a *attempt) repelled(n *Node) []string {
	for i := range a.pod.affinity {
		key := a.pod.affinity[i].key
		value, ok := n.Node.Labels[key]
		if !ok || a.affinity.attracts[place{key, value}] == 0 && !a.affinity.alone {
			return []string{"node(s) didn't match pod affinity rules"}
		}
	}
	for i := range a.pod.antiAffinity {
		key := a.pod.antiAffinity[i].key
		if value, ok := n.Node.Labels[key]; ok && a.affinity.repels[place{key, value}] {
			return []string{"node(s) didn't match pod anti-affinity rules"}
		}
	}
	for where := range a.affinity.refuses {
		if value, ok := n.Node.Labels[where.key]; ok && value == where.value {
			return []string{"node(s) didn't satisfy existing pods anti-affinity rules"}
		}
	}
	return nil
}
