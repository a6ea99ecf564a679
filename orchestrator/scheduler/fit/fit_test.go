package fit

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// edit changes a node or a pod that is otherwise plain.
type (
	nodeEdit func(n *corev1.Node)
	podEdit  func(p *corev1.Pod)
)

func makeNode(name string, edits ...nodeEdit) *Node {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourceCPU:              quantity.MustParse("4"),
			corev1.ResourceMemory:           quantity.MustParse("8Gi"),
			corev1.ResourceEphemeralStorage: quantity.MustParse("10Gi"),
			corev1.ResourcePods:             quantity.MustParse("10"),
		}},
	}
	for _, edit := range edits {
		edit(node)
	}
	n := NewNode()
	n.Set(node)
	return n
}

var uids int

func makePod(edits ...podEdit) *Pod {
	uids++
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("p", uids), UID: types.UID(fmt.Sprint(uids))},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "hello:v1"}}},
	}
	for _, edit := range edits {
		edit(pod)
	}
	return NewPod(pod)
}

func with(n *Node, pods ...*Pod) *Node {
	for _, p := range pods {
		n.Add(p)
	}
	return n
}

func nodeLabel(key, value string) nodeEdit {
	return func(n *corev1.Node) { n.Labels[key] = value }
}

func taint(effect corev1.TaintEffect) nodeEdit {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "k", Value: "v", Effect: effect})
	}
}

func allocatable(name corev1.ResourceName, amount string) nodeEdit {
	return func(n *corev1.Node) { n.Status.Allocatable[name] = quantity.MustParse(amount) }
}

func asks(name corev1.ResourceName, amount string) podEdit {
	return func(p *corev1.Pod) {
		r := &p.Spec.Containers[0].Resources
		if r.Requests == nil {
			r.Requests = corev1.ResourceList{}
		}
		r.Requests[name] = quantity.MustParse(amount)
	}
}

func label(key, value string) podEdit {
	return func(p *corev1.Pod) {
		if p.Labels == nil {
			p.Labels = map[string]string{}
		}
		p.Labels[key] = value
	}
}

func namespace(ns string) podEdit { return func(p *corev1.Pod) { p.Namespace = ns } }

func tolerate(key string) podEdit {
	return func(p *corev1.Pod) {
		p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists})
	}
}

func port(ip string, number int32, protocol corev1.Protocol) podEdit {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, corev1.ContainerPort{HostIP: ip, HostPort: number, Protocol: protocol})
	}
}

func nodeAffinity(p *corev1.Pod) *corev1.NodeAffinity {
	a := affinityOf(p)
	if a.NodeAffinity == nil {
		a.NodeAffinity = &corev1.NodeAffinity{}
	}
	return a.NodeAffinity
}

func affinityOf(p *corev1.Pod) *corev1.Affinity {
	if p.Spec.Affinity == nil {
		p.Spec.Affinity = &corev1.Affinity{}
	}
	return p.Spec.Affinity
}

func wantsNode(key string, values ...string) podEdit {
	return func(p *corev1.Pod) {
		nodeAffinity(p).RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: corev1.NodeSelectorOpIn, Values: values}},
		}}}
	}
}

func prefersNode(key, value string) podEdit {
	return func(p *corev1.Pod) {
		nodeAffinity(p).PreferredDuringSchedulingIgnoredDuringExecution = []corev1.PreferredSchedulingTerm{{Weight: 1, Preference: corev1.NodeSelectorTerm{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{value}}},
		}}}
	}
}

func podTerm(key, app string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}}
}

func near(key, app string) podEdit {
	return func(p *corev1.Pod) {
		a := affinityOf(p)
		if a.PodAffinity == nil {
			a.PodAffinity = &corev1.PodAffinity{}
		}
		a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution = append(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, podTerm(key, app))
	}
}

func nearIn(term corev1.PodAffinityTerm) podEdit {
	return func(p *corev1.Pod) {
		affinityOf(p).PodAffinity = &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term}}
	}
}

func far(key, app string) podEdit {
	return func(p *corev1.Pod) {
		affinityOf(p).PodAntiAffinity = &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{podTerm(key, app)}}
	}
}

func ratherNear(key, app string) podEdit {
	return func(p *corev1.Pod) {
		affinityOf(p).PodAffinity = &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 10, PodAffinityTerm: podTerm(key, app)}}}
	}
}

func ratherFar(key, app string) podEdit {
	return func(p *corev1.Pod) {
		affinityOf(p).PodAntiAffinity = &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 10, PodAffinityTerm: podTerm(key, app)}}}
	}
}

func spreads(key, app string, when corev1.UnsatisfiableConstraintAction, edits ...func(c *corev1.TopologySpreadConstraint)) podEdit {
	return func(p *corev1.Pod) {
		c := corev1.TopologySpreadConstraint{MaxSkew: 1, TopologyKey: key, WhenUnsatisfiable: when,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}}
		for _, edit := range edits {
			edit(&c)
		}
		p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, c)
	}
}

func owned(uid types.UID) podEdit {
	return func(p *corev1.Pod) {
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{UID: uid, Controller: &yes}}
	}
}

func inZone(zone string) nodeEdit { return nodeLabel("zone", zone) }

// placing is a pod, the nodes, and the node that is right or the message that says why
// there is none.
type placing struct {
	name  string
	pod   *Pod
	nodes []*Node
	want  string
}

func (c *placing) run(t *testing.T) {
	t.Run(c.name, func(t *testing.T) {
		cluster := &Cluster{Nodes: c.nodes, Namespace: func(name string) labels.Set { return labels.Set{"team": name} }}
		got := ""
		if n, err := Place(cluster, c.pod); err != nil {
			got = err.Error()
		} else {
			got = n.Node.Name
		}
		if got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	})
}

func one(n *Node) []*Node { return []*Node{n} }

func refused(reason string) string { return "0/1 nodes are available: 1 " + reason + "." }

func TestFilters(t *testing.T) {
	const (
		unselected = "node(s) didn't match Pod's node affinity/selector"
		noPorts    = "node(s) didn't have free ports for the requested pod ports"
		tainted    = "node(s) had untolerated taint(s)"
	)
	cordon := func(n *corev1.Node) { n.Spec.Unschedulable = true }
	used := port("", 80, corev1.ProtocolTCP)
	for _, c := range []placing{
		{"nothing in the way", makePod(), one(makeNode("a")), "a"},
		{"no nodes", makePod(), nil, "no nodes available to schedule pods"},
		{"cordoned", makePod(), one(makeNode("a", cordon)), refused("node(s) were unschedulable")},
		{"cordoned and tolerated", makePod(tolerate(corev1.TaintNodeUnschedulable)), one(makeNode("a", cordon)), "a"},
		{"NoSchedule", makePod(), one(makeNode("a", taint(corev1.TaintEffectNoSchedule))), refused(tainted)},
		{"NoExecute", makePod(), one(makeNode("a", taint(corev1.TaintEffectNoExecute))), refused(tainted)},
		{"PreferNoSchedule alone", makePod(), one(makeNode("a", taint(corev1.TaintEffectPreferNoSchedule))), "a"},
		{"tolerated", makePod(tolerate("k")), one(makeNode("a", taint(corev1.TaintEffectNoSchedule))), "a"},
		{"other toleration", makePod(tolerate("x")), one(makeNode("a", taint(corev1.TaintEffectNoSchedule))), refused(tainted)},

		{"nodeSelector", makePod(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }),
			[]*Node{makeNode("a"), makeNode("b", nodeLabel("disk", "ssd"))}, "b"},
		{"nodeSelector nowhere", makePod(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }), one(makeNode("a")), refused(unselected)},
		{"node affinity", makePod(wantsNode("disk", "ssd", "nvme")), []*Node{makeNode("a"), makeNode("b", nodeLabel("disk", "nvme"))}, "b"},
		{"node affinity nowhere", makePod(wantsNode("disk", "ssd")), one(makeNode("a", nodeLabel("disk", "hdd"))), refused(unselected)},

		{"port taken", makePod(used), one(with(makeNode("a"), makePod(used))), refused(noPorts)},
		{"other protocol", makePod(port("", 80, corev1.ProtocolUDP)), one(with(makeNode("a"), makePod(used))), "a"},
		{"other address", makePod(port("10.0.0.1", 80, "")), one(with(makeNode("a"), makePod(port("10.0.0.2", 80, "")))), "a"},
		{"any address", makePod(port("10.0.0.1", 80, "")), one(with(makeNode("a"), makePod(used))), refused(noPorts)},
	} {
		c.run(t)
	}
}

func TestResources(t *testing.T) {
	const gpu = "example.com/gpu"
	full := func(name corev1.ResourceName, amount string) *Node {
		return with(makeNode("a"), makePod(asks(name, amount)))
	}
	many := makeNode("a")
	for range 10 {
		many.Add(makePod())
	}
	withInit := makePod(asks(corev1.ResourceCPU, "1"), func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "i", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: quantity.MustParse("3")}}}}
	})
	for _, c := range []placing{
		{"exactly", makePod(asks(corev1.ResourceCPU, "4")), one(makeNode("a")), "a"},
		{"too much", makePod(asks(corev1.ResourceCPU, "4001m")), one(makeNode("a")), refused("Insufficient cpu")},
		{"cpu taken", makePod(asks(corev1.ResourceCPU, "3")), one(full(corev1.ResourceCPU, "2")), refused("Insufficient cpu")},
		{"memory taken", makePod(asks(corev1.ResourceMemory, "5Gi")), one(full(corev1.ResourceMemory, "4Gi")), refused("Insufficient memory")},
		{"storage taken", makePod(asks(corev1.ResourceEphemeralStorage, "8Gi")), one(full(corev1.ResourceEphemeralStorage, "4Gi")), refused("Insufficient ephemeral-storage")},
		{"two at once", makePod(asks(corev1.ResourceCPU, "9"), asks(corev1.ResourceMemory, "9Gi")), one(makeNode("a")),
			"0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."},
		{"no such resource", makePod(asks(gpu, "1")), one(makeNode("a")), refused("Insufficient " + gpu)},
		{"such a resource", makePod(asks(gpu, "1")), []*Node{makeNode("a"), makeNode("b", allocatable(gpu, "1"))}, "b"},
		{"it is taken", makePod(asks(gpu, "1")), one(with(makeNode("b", allocatable(gpu, "1")), makePod(asks(gpu, "1")))), refused("Insufficient " + gpu)},
		{"pods", makePod(), one(many), refused("Too many pods")},
		{"nothing asked of an overcommitted node", makePod(), one(full(corev1.ResourceCPU, "9")), "a"},
		{"init containers count at their peak", withInit, one(full(corev1.ResourceCPU, "1500m")), refused("Insufficient cpu")},
		{"counted by reason", makePod(asks(corev1.ResourceCPU, "3")),
			[]*Node{full(corev1.ResourceCPU, "2"), full(corev1.ResourceCPU, "3"), makeNode("c", taint(corev1.TaintEffectNoSchedule))},
			"0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu."},
	} {
		c.run(t)
	}
}

func TestPodAffinity(t *testing.T) {
	const (
		noAffinity = "node(s) didn't match pod affinity rules"
		noAnti     = "node(s) didn't match pod anti-affinity rules"
		existing   = "node(s) didn't satisfy existing pods anti-affinity rules"
		host       = corev1.LabelHostname
	)
	web, db := label("app", "web"), label("app", "db")
	otherNamespace := podTerm(host, "db")
	otherNamespace.Namespaces = []string{"other"}
	selectedNamespace := podTerm(host, "db")
	selectedNamespace.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "other"}}
	for _, c := range []placing{
		{"near", makePod(near(host, "db")), []*Node{makeNode("a"), with(makeNode("b"), makePod(db))}, "b"},
		{"near nothing", makePod(near(host, "db")), one(makeNode("a")), refused(noAffinity)},
		{"near in the same zone", makePod(near("zone", "db")), []*Node{
			makeNode("a", inZone("x")), with(makeNode("b", inZone("y")), makePod(db)), makeNode("c", inZone("y"))}, "c"},
		{"first of its own", makePod(web, near(host, "web")), one(makeNode("a")), "a"},
		{"second of its own", makePod(web, near(host, "web")), []*Node{makeNode("a"), with(makeNode("b"), makePod(web))}, "b"},
		{"no such key", makePod(web, near("zone", "web")), one(makeNode("a")), refused(noAffinity)},
		{"all terms by one pod", makePod(near(host, "web"), near(host, "db")),
			one(with(makeNode("a"), makePod(web), makePod(db))), refused(noAffinity)},
		{"other namespace", makePod(near(host, "db")), one(with(makeNode("a"), makePod(db, namespace("other")))), refused(noAffinity)},
		{"named namespace", makePod(nearIn(otherNamespace)), one(with(makeNode("a"), makePod(db, namespace("other")))), "a"},
		{"selected namespace", makePod(nearIn(selectedNamespace)), one(with(makeNode("a"), makePod(db, namespace("other")))), "a"},
		{"not selected namespace", makePod(nearIn(selectedNamespace)), one(with(makeNode("a"), makePod(db))), refused(noAffinity)},

		{"far", makePod(far(host, "db")), []*Node{with(makeNode("a"), makePod(db)), makeNode("b")}, "b"},
		{"far nowhere", makePod(far(host, "db")), one(with(makeNode("a"), makePod(db))), refused(noAnti)},
		{"far in the zone", makePod(far("zone", "db")), []*Node{with(makeNode("a", inZone("x")), makePod(db)), makeNode("b", inZone("x")), makeNode("c", inZone("y"))}, "c"},
		{"those that are there refuse", makePod(db), one(with(makeNode("a"), makePod(far(host, "db")))), refused(existing)},
		{"those that are there refuse others", makePod(web), one(with(makeNode("a"), makePod(far(host, "db")))), "a"},
	} {
		c.run(t)
	}
}

func TestTopologySpread(t *testing.T) {
	const reason = "node(s) didn't match pod topology spread constraints"
	web := label("app", "web")
	hard := spreads("zone", "web", corev1.DoNotSchedule)
	minDomains := spreads("zone", "web", corev1.DoNotSchedule, func(c *corev1.TopologySpreadConstraint) { n := int32(3); c.MinDomains = &n })
	honorTaints := spreads("zone", "web", corev1.DoNotSchedule, func(c *corev1.TopologySpreadConstraint) {
		p := corev1.NodeInclusionPolicyHonor
		c.NodeTaintsPolicy = &p
	})
	going := func(p *corev1.Pod) { t := metav1.Now(); p.DeletionTimestamp = &t }
	for _, c := range []placing{
		{"the emptier zone", makePod(web, hard), []*Node{with(makeNode("a", inZone("x")), makePod(web)), makeNode("b", inZone("y"))}, "b"},
		{"skew counts itself", makePod(web, hard, wantsNode("zone", "x", "y"), func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "a"} }),
			[]*Node{with(makeNode("a", inZone("x")), makePod(web)), makeNode("b", inZone("y"))}, "a"},
		{"uneven", makePod(web, hard), []*Node{with(makeNode("a", inZone("x")), makePod(web)), makeNode("b", inZone("y"), allocatable(corev1.ResourcePods, "0"))},
			"0/2 nodes are available: 1 Too many pods, 1 " + reason + "."},
		{"not itself", makePod(hard), []*Node{with(makeNode("a", inZone("x")), makePod(web)), makeNode("b", inZone("y"), allocatable(corev1.ResourcePods, "0"))}, "a"},
		{"no such key", makePod(web, hard), one(makeNode("a")), refused(reason + " (missing required label)")},
		{"those that go do not count", makePod(web, hard), []*Node{with(makeNode("a", inZone("x")), makePod(web, going)), makeNode("b", inZone("y"), allocatable(corev1.ResourcePods, "0"))}, "a"},
		{"too few domains", makePod(web, minDomains), one(with(makeNode("a", inZone("x")), makePod(web))), refused(reason)},
		{"tainted domains are ignored if asked", makePod(web, honorTaints),
			[]*Node{with(makeNode("a", inZone("x")), makePod(web)), makeNode("b", inZone("y"), taint(corev1.TaintEffectNoSchedule))}, "a"},
		{"soft", makePod(web, spreads("zone", "web", corev1.ScheduleAnyway)), []*Node{with(makeNode("a", inZone("x")), makePod(web)), makeNode("b", inZone("y"), allocatable(corev1.ResourcePods, "0"))}, "a"},
	} {
		c.run(t)
	}
}

func TestPreferences(t *testing.T) {
	web := label("app", "web")
	images := func(n *corev1.Node) {
		n.Status.Images = []corev1.ContainerImage{{Names: []string{"hello:v1"}, SizeBytes: 800 << 20}}
	}
	for _, c := range []placing{
		{"the emptier node", makePod(), []*Node{with(makeNode("a"), makePod(asks(corev1.ResourceCPU, "1"))), makeNode("b")}, "b"},
		{"pods that ask for nothing weigh too", makePod(), []*Node{with(makeNode("a"), makePod()), makeNode("b")}, "b"},
		{"the first by name", makePod(), []*Node{makeNode("b"), makeNode("a")}, "a"},
		{"fewer taints", makePod(), []*Node{makeNode("a", taint(corev1.TaintEffectPreferNoSchedule)), with(makeNode("b"), makePod())}, "b"},
		{"the preferred node", makePod(prefersNode("disk", "ssd")), []*Node{makeNode("a"), with(makeNode("b", nodeLabel("disk", "ssd")), makePod())}, "b"},
		{"apart from siblings", makePod(owned("rs")), []*Node{with(makeNode("a"), makePod(owned("rs"))), with(makeNode("b"), makePod(asks(corev1.ResourceCPU, "1")))}, "b"},
		{"rather near", makePod(ratherNear(corev1.LabelHostname, "web")), []*Node{makeNode("a"), with(makeNode("b"), makePod(web))}, "b"},
		{"rather far", makePod(ratherFar(corev1.LabelHostname, "web")), []*Node{with(makeNode("a"), makePod(web)), with(makeNode("b"), makePod(asks(corev1.ResourceCPU, "1")))}, "b"},
		{"softly spread", makePod(web, spreads("zone", "web", corev1.ScheduleAnyway)),
			[]*Node{with(makeNode("a", inZone("x")), makePod(web)), with(makeNode("b", inZone("y")), makePod(asks(corev1.ResourceCPU, "1")))}, "b"},
		{"where the image is", makePod(), []*Node{makeNode("a"), makeNode("b", images)}, "b"},
	} {
		c.run(t)
	}
}

func TestWhatCannotBeHonouredIsRefused(t *testing.T) {
	volume := func(source corev1.VolumeSource) podEdit {
		return func(p *corev1.Pod) { p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: source}} }
	}
	for _, c := range []placing{
		{"claim", makePod(volume(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}})),
			one(makeNode("a")), `0/1 nodes are available: persistentvolumeclaim "data" not found.`},
		{"ephemeral", makePod(volume(corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}})),
			one(makeNode("a")), `0/1 nodes are available: volume "v" needs a persistentvolumeclaim, which this cluster does not provide.`},
		{"resource claim", makePod(func(p *corev1.Pod) { p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu"}} }),
			one(makeNode("a")), `0/1 nodes are available: resource claim "gpu" cannot be allocated: this cluster has no dynamic resources.`},
		{"empty dir", makePod(volume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})), one(makeNode("a")), "a"},
	} {
		c.run(t)
	}
}

// Whatever is added and removed in whatever order, a node's sums are those of its pods.
func TestSumsFollowPods(t *testing.T) {
	n := makeNode("a")
	p, q := makePod(asks(corev1.ResourceCPU, "3"), port("", 80, "")), makePod(asks(corev1.ResourceCPU, "2"), port("", 80, ""), far("zone", "x"))
	n.Add(p)
	n.Add(p)
	n.Add(q)
	if n.requested.CPU != 5000 || len(n.repelling) != 1 {
		t.Errorf("two pods: %+v", n)
	}
	n.Remove(p.Pod.UID)
	n.Remove(p.Pod.UID)
	n.Remove(q.Pod.UID)
	if n.requested.CPU != 0 || n.weight.CPU != 0 || n.weight.Memory != 0 || len(n.ports)+len(n.repelling)+len(n.Pods) != 0 {
		t.Errorf("an emptied node: %+v", n)
	}
}

func BenchmarkPlace(b *testing.B) {
	for _, c := range []struct {
		name string
		pod  func() *Pod
	}{
		{"plain", func() *Pod { return makePod(asks(corev1.ResourceCPU, "1m"), owned("rs")) }},
		{"constrained", func() *Pod {
			return makePod(asks(corev1.ResourceCPU, "1m"), label("app", "web"), far(corev1.LabelHostname, "db"), spreads("zone", "web", corev1.DoNotSchedule))
		}},
	} {
		b.Run(c.name+"/1000 pods, 100 nodes", func(b *testing.B) {
			for b.Loop() {
				var nodes []*Node
				for i := range 100 {
					nodes = append(nodes, makeNode(fmt.Sprintf("n%03d", i), inZone(fmt.Sprint(i%3)), allocatable(corev1.ResourcePods, "110")))
				}
				cluster := &Cluster{Nodes: nodes}
				for range 1000 {
					p := c.pod()
					n, err := Place(cluster, p)
					if err != nil {
						b.Fatal(err)
					}
					n.Add(p)
				}
			}
		})
	}
}
