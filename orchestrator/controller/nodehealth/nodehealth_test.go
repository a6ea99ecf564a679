package nodehealth_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/controller/nodehealth"
	"wherry/orchestrator/controller/replicaset"
	"wherry/orchestrator/state"
)

// ears hear the nodes that are alive at any time, and remember the others.
type ears struct {
	mu    sync.Mutex
	alive map[string]bool
	last  map[string]time.Time
}

func (e *ears) lastHeard(node string) (time.Time, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.alive[node] {
		return time.Now(), true
	}
	at, ok := e.last[node]
	return at, ok
}

func (e *ears) set(node string, alive bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.alive[node], e.last[node] = alive, time.Now()
}

func (e *ears) hears(node string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.alive[node]
}

// cluster is a controllertest.Cluster with ears.
type cluster struct {
	*controllertest.Cluster
	*ears
}

func run(t *testing.T, f func(c cluster)) {
	t.Helper()
	e := &ears{alive: map[string]bool{}, last: map[string]time.Time{}}
	start := func(s *state.State, events controller.Events) []controller.Controller {
		return []controller.Controller{nodehealth.New(s, events, e.lastHeard), replicaset.New(s, events), scheduler(s), kubelet(s, e)}
	}
	controllertest.Run(t, start, func(c *controllertest.Cluster) { f(cluster{c, e}) })
}

// scheduler binds pods to the first node without taints.
func scheduler(s *state.State) controller.Controller {
	return controller.Controller{
		Name:    "scheduler",
		Sources: []controller.Source{controller.On(controller.Self[*corev1.Pod])},
		Reconcile: func(ctx context.Context, key controller.Key) (time.Duration, error) {
			p, ok := state.Get[*corev1.Pod](s, key.Namespace, key.Name)
			if !ok || p.Spec.NodeName != "" {
				return 0, nil
			}
			for _, n := range state.List[*corev1.Node](s, state.Selector{}) {
				if len(n.Spec.Taints) == 0 {
					return 0, s.Bind(ctx, []state.Binding{{Namespace: p.Namespace, Name: p.Name, Node: n.Name}})[0]
				}
			}
			return 0, fmt.Errorf("no node for %s", p.Name)
		},
	}
}

// kubelet is controllertest's, on the nodes that are alive. As an agent, it says once that a pod is ready,
// and not again because others say something else.
func kubelet(s *state.State, e *ears) controller.Controller {
	k := controllertest.Kubelet(s, nil)
	reconcile := k.Reconcile
	k.Reconcile = func(ctx context.Context, key controller.Key) (time.Duration, error) {
		p, ok := state.Get[*corev1.Pod](s, key.Namespace, key.Name)
		if !ok || !e.hears(p.Spec.NodeName) || p.DeletionTimestamp == nil && controller.Condition(p, corev1.PodReady) != nil {
			return 0, nil
		}
		return reconcile(ctx, key)
	}
	return k
}

// node makes a node that is alive and says so.
func (c cluster) node(name string) {
	c.T.Helper()
	c.set(name, true)
	controllertest.Create(c.Cluster, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
	c.says(name, corev1.ConditionTrue)
}

// says is a status report of a node's agent.
func (c cluster) says(name string, ready corev1.ConditionStatus) {
	c.T.Helper()
	_, err := state.UpdateStatus(c.T.Context(), c.State, "", name, func(n *corev1.Node) error {
		n.Status.Conditions = []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: ready, Reason: "Said"}, {Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse}}
		return nil
	})
	if err != nil {
		c.T.Fatal(err)
	}
}

func (c cluster) change(node string, change func(*corev1.Node)) {
	c.T.Helper()
	_, err := state.Update(c.T.Context(), c.State, "", node, func(n *corev1.Node) error {
		change(n)
		return nil
	})
	if err != nil {
		c.T.Fatal(err)
	}
}

func seconds(key string, n int64) corev1.Toleration {
	return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &n}
}

// usual are the tolerations that admission gives every pod.
func usual() []corev1.Toleration {
	return []corev1.Toleration{seconds(corev1.TaintNodeNotReady, 300), seconds(corev1.TaintNodeUnreachable, 300)}
}

func (c cluster) pod(name, node string, tolerations ...corev1.Toleration) *corev1.Pod {
	c.T.Helper()
	grace := int64(30)
	return controllertest.Create(c.Cluster, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{
			NodeName: node, Tolerations: tolerations, TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{Name: "c", Image: "i"}},
		},
	})
}

// expect compares conditions and taints of a node, and its pods.
func (c cluster) expect(when, node, wantNode, wantPods string) {
	c.T.Helper()
	if n, ok := state.Get[*corev1.Node](c.State, "", node); ok {
		var all []string
		for _, cond := range n.Status.Conditions {
			all = append(all, fmt.Sprintf("%s=%s", cond.Type, cond.Status))
		}
		for _, t := range n.Spec.Taints {
			all = append(all, strings.TrimPrefix(t.Key, "node.kubernetes.io/")+":"+string(t.Effect))
		}
		if got := strings.Join(all, " "); got != wantNode {
			c.T.Errorf("%s: node\n got %s\nwant %s", when, got, wantNode)
		}
	} else if wantNode != "" {
		c.T.Errorf("%s: there is no node %s", when, node)
	}
	if got := c.pods(node); got != wantPods {
		c.T.Errorf("%s: pods of %s %q, want %q", when, node, got, wantPods)
	}
}

// pods shows a node's pods: + ready, - not ready, ! being deleted.
func (c cluster) pods(node string) string {
	var all []string
	for _, p := range state.List[*corev1.Pod](c.State, state.Selector{Node: node}) {
		text := p.Name + "-"
		if controller.IsReady(p) {
			text = p.Name + "+"
		}
		if p.DeletionTimestamp != nil {
			text += "!"
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

const (
	well = "Ready=True MemoryPressure=False"
	gone = "Ready=Unknown MemoryPressure=Unknown unreachable:NoSchedule unreachable:NoExecute"
)

func TestANodeDies(t *testing.T) {
	run(t, func(c cluster) {
		c.node("dying")
		c.node("other")
		c.pod("default", "dying", usual()...)
		c.pod("long", "dying", seconds(corev1.TaintNodeUnreachable, 600))
		c.pod("ever", "dying", corev1.Toleration{Operator: corev1.TolerationOpExists})
		c.pod("none", "dying")
		c.pod("o", "other", usual()...)
		c.Settle(time.Hour)
		c.expect("all is well", "dying", well, "default+ ever+ long+ none+")

		c.set("dying", false)
		c.Settle(nodehealth.Grace - time.Second)
		c.expect("silent", "dying", well, "default+ ever+ long+ none+")
		c.Settle(2 * time.Second)
		c.expect("lost", "dying", gone, "default- ever- long- none-!")
		n, _ := state.Get[*corev1.Node](c.State, "", "dying")
		if ready := n.Status.Conditions[0]; ready.Reason != "NodeStatusUnknown" || ready.Message != "Kubelet stopped posting node status." ||
			time.Since(ready.LastTransitionTime.Time) > 3*time.Second || n.Spec.Taints[1].TimeAdded == nil {
			c.T.Errorf("%+v", n)
		}
		c.Settle(297 * time.Second)
		c.expect("tolerated", "dying", gone, "default- ever- long- none-!")
		c.Settle(3 * time.Second)
		c.expect("after 300 s", "dying", gone, "default-! ever- long- none-!")
		c.Settle(300 * time.Second)
		c.expect("after 600 s", "dying", gone, "default-! ever- long-! none-!")
		c.expect("the other one", "other", well, "o+")
		want := []string{"default", "long", "none"}
		var told []string
		for _, e := range c.Told() {
			if name, _, ok := strings.Cut(e, " TaintManagerEviction Marking for deletion Pod default/"); ok {
				told = append(told, name)
			}
		}
		slices.Sort(told)
		if !slices.Equal(told, want) {
			c.T.Errorf("told of %v, want %v", told, want)
		}

		if err := state.Delete[*corev1.Node](c.T.Context(), c.State, "", "dying", state.DeleteOptions{}); err != nil {
			c.T.Fatal(err)
		}
		c.Settle(time.Second)
		c.expect("deleted", "dying", "", "")
		c.expect("the other one", "other", well, "o+")
	})
}

func TestRecovery(t *testing.T) {
	run(t, func(c cluster) {
		c.node("n")
		c.pod("p", "n", usual()...)
		c.pod("broken", "n", usual()...)
		c.Settle(time.Minute)
		c.set("n", false)
		c.Settle(5 * time.Minute)
		c.expect("lost", "n", gone, "broken- p-")

		c.set("n", true)
		c.Settle(10 * time.Minute)
		c.expect("heard, but it has not said how it is", "n", gone, "broken- p-")

		if _, err := state.UpdateStatus(c.T.Context(), c.State, "default", "broken", func(p *corev1.Pod) error {
			controller.Condition(p, corev1.PodReady).Reason = "ContainersNotReady" // the agent's own word
			return nil
		}); err != nil {
			c.T.Fatal(err)
		}
		c.says("n", corev1.ConditionTrue)
		c.Settle(time.Hour)
		c.expect("back", "n", well, "broken- p+")
	})
}

func TestNotReady(t *testing.T) {
	run(t, func(c cluster) {
		c.node("n")
		c.pod("p", "n", usual()...)
		c.Settle(time.Minute)
		c.says("n", corev1.ConditionFalse)
		const bad = "Ready=False MemoryPressure=False not-ready:NoSchedule not-ready:NoExecute"
		c.Settle(299 * time.Second)
		c.expect("not ready", "n", bad, "p-")
		c.Settle(2 * time.Second)
		c.expect("after 300 s", "n", bad, "")
		c.says("n", corev1.ConditionTrue)
		c.Settle(time.Second)
		c.expect("ready", "n", well, "")
	})
}

// A server that starts anew finds a node whose pods' time has run out, and gives it time to connect.
func TestRestart(t *testing.T) {
	for _, comes := range []bool{true, false} {
		t.Run(fmt.Sprintf("comes=%v", comes), func(t *testing.T) {
			run(t, func(c cluster) {
				long := metav1.NewTime(time.Now().Add(-time.Hour))
				controllertest.Create(c.Cluster, &corev1.Node{
					ObjectMeta: metav1.ObjectMeta{Name: "n"},
					Spec: corev1.NodeSpec{Taints: []corev1.Taint{
						{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoSchedule, TimeAdded: &long},
						{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute, TimeAdded: &long},
					}},
				})
				c.says("n", corev1.ConditionUnknown)
				c.pod("p", "n", seconds(corev1.TaintNodeUnreachable, 1))
				c.Settle(nodehealth.Grace - 2*time.Second)
				const before = "Ready=Unknown MemoryPressure=False unreachable:NoSchedule unreachable:NoExecute"
				c.expect("waiting", "n", before, "p-")
				if comes {
					c.set("n", true)
					c.pod("q", "n", usual()...) // wakes the controller before the node has said how it is
					c.Settle(time.Second)
					c.expect("heard", "n", before, "p- q-")
					c.says("n", corev1.ConditionTrue)
					c.Settle(time.Hour)
					c.expect("back", "n", well, "p- q+")
					return
				}
				c.Settle(3 * time.Second)
				c.expect("lost", "n", gone, "p-!")
			})
		})
	}
}

func TestANodeThatNeverSpoke(t *testing.T) {
	run(t, func(c cluster) {
		c.Settle(time.Hour)
		controllertest.Create(c.Cluster, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
		c.Settle(nodehealth.Grace - 2*time.Second)
		c.expect("young", "n", "", "")
		c.Settle(3 * time.Second)
		c.expect("late", "n", "Ready=Unknown unreachable:NoSchedule unreachable:NoExecute", "")
		n, _ := state.Get[*corev1.Node](c.State, "", "n")
		if r := n.Status.Conditions[0].Reason; r != "NodeStatusNeverUpdated" {
			c.T.Error(r)
		}
	})
}

func TestCordonAndOthersTaints(t *testing.T) {
	run(t, func(c cluster) {
		c.node("n")
		c.pod("p", "n", seconds("example.org/drain", 10))
		c.Settle(time.Minute)
		c.change("n", func(n *corev1.Node) {
			n.Spec.Unschedulable = true
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "example.org/mine", Effect: corev1.TaintEffectNoSchedule})
		})
		c.Settle(time.Hour)
		c.expect("cordoned", "n", well+" example.org/mine:NoSchedule unschedulable:NoSchedule", "p+")
		c.change("n", func(n *corev1.Node) {
			n.Spec.Unschedulable = false
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "example.org/drain", Effect: corev1.TaintEffectNoExecute})
		})
		c.Settle(9 * time.Second)
		c.expect("uncordoned", "n", well+" example.org/mine:NoSchedule example.org/drain:NoExecute", "p+")
		c.Settle(2 * time.Second)
		c.expect("drained", "n", well+" example.org/mine:NoSchedule example.org/drain:NoExecute", "")
	})
}

func TestOutOfService(t *testing.T) {
	run(t, func(c cluster) {
		c.node("n")
		c.pod("p", "n")
		c.Settle(time.Minute)
		c.set("n", false)
		c.Settle(time.Minute)
		c.expect("lost", "n", gone, "p-!")
		c.change("n", func(n *corev1.Node) {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeOutOfService, Value: "nodeshutdown", Effect: corev1.TaintEffectNoExecute})
		})
		c.Settle(time.Second)
		c.expect("out of service", "n", gone+" out-of-service:NoExecute", "")
	})
}

func TestDeletionOfALivingNodesObject(t *testing.T) {
	run(t, func(c cluster) {
		c.node("n")
		held := c.pod("held", "n")
		c.pod("free", "n")
		controllertest.Change(c.Cluster, held.Name, func(p *corev1.Pod) { p.Finalizers = []string{"example.org/hold"} })
		c.Settle(time.Minute)
		if err := state.Delete[*corev1.Node](c.T.Context(), c.State, "", "n", state.DeleteOptions{}); err != nil {
			c.T.Fatal(err)
		}
		c.set("n", false) // nobody else removes its pods
		c.Settle(time.Minute)
		c.expect("held by a finalizer", "n", "", "held+!")
		p, _ := state.Get[*corev1.Pod](c.State, "default", "held")
		if d := controller.Condition(p, corev1.DisruptionTarget); p.Status.Phase != corev1.PodFailed || d == nil || d.Reason != "DeletionByPodGC" {
			c.T.Errorf("%+v", p.Status)
		}
	})
}

const web = `
metadata: {namespace: default, name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 30
      containers: [{name: c, image: one}]
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 300}
`

func TestAReplicaSetMovesOn(t *testing.T) {
	run(t, func(c cluster) {
		c.node("a")
		rs := controllertest.Apply(c.Cluster, web, &appsv1.ReplicaSet{})
		c.Settle(time.Second)
		c.node("b")
		count := func(when string, onA, onB int, ready int32) {
			c.T.Helper()
			live, _ := state.Get[*appsv1.ReplicaSet](c.State, "default", rs.Name)
			a, b := len(strings.Fields(c.pods("a"))), len(strings.Fields(c.pods("b")))
			if a != onA || b != onB || live.Status.ReadyReplicas != ready {
				c.T.Errorf("%s: %d pods on a, %d on b, %d ready; want %d, %d, %d", when, a, b, live.Status.ReadyReplicas, onA, onB, ready)
			}
		}
		count("all is well", 3, 0, 3)
		c.set("a", false)
		c.Settle(nodehealth.Grace + time.Second)
		count("lost", 3, 0, 0)
		c.Settle(300 * time.Second)
		count("evicted", 3, 3, 3)
		c.Settle(time.Hour)
		count("still", 3, 3, 3)
		if err := state.Delete[*corev1.Node](c.T.Context(), c.State, "", "a", state.DeleteOptions{}); err != nil {
			c.T.Fatal(err)
		}
		c.Settle(time.Second)
		count("the node is deleted", 0, 3, 3)
	})
}
