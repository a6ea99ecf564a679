package scheduler_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/scheduler"
	"wherry/orchestrator/state"
	"wherry/orchestrator/state/event"
	"wherry/orchestrator/store/memstore"
)

// cluster is a running state and scheduler in virtual time.
type cluster struct {
	*testing.T
	*state.State
	ctx context.Context
}

func bubble(t *testing.T, story func(c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		g, ctx := errgroup.WithContext(ctx)
		s, err := state.Open(ctx, memstore.New(), state.Options{Kinds: resource.New()})
		if err != nil {
			t.Fatal(err)
		}
		w := event.New(s, nil)
		g.Go(func() error { return s.Run(ctx) })
		g.Go(func() error { return w.Run(ctx) })
		sched := scheduler.New(scheduler.Config{State: s, Recorder: w.Recorder(scheduler.Name, state.ManagerScheduler)})
		g.Go(func() error { return sched.Run(ctx) })
		story(&cluster{t, s, ctx})
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func node(name, cpu string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourceCPU:    quantity.MustParse(cpu),
			corev1.ResourceMemory: quantity.MustParse("8Gi"),
			corev1.ResourcePods:   quantity.MustParse("110"),
		}},
	}
}

func pod(name, cpu string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "hello:v1"}}},
	}
	if cpu != "" {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: quantity.MustParse(cpu)}
	}
	return p
}

func (c *cluster) node(n *corev1.Node) {
	c.Helper()
	addNode(c, c.State, n)
	synctest.Wait() // the scheduler has seen it
}

func (c *cluster) pod(p *corev1.Pod) {
	c.Helper()
	if _, err := state.Create(c.ctx, c.State, p); err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) change(name string, change func(p *corev1.Pod)) {
	c.Helper()
	_, err := state.Update(c.ctx, c.State, "default", name, func(p *corev1.Pod) error { change(p); return nil })
	if err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) remove(name string) {
	c.Helper()
	zero := int64(0)
	if err := state.Delete[*corev1.Pod](c.ctx, c.State, "default", name, state.DeleteOptions{Grace: &zero}); err != nil {
		c.Fatal(err)
	}
}

// get is the pod once everything has come to rest.
func (c *cluster) get(name string) *corev1.Pod {
	c.Helper()
	synctest.Wait()
	p, ok := state.Get[*corev1.Pod](c.State, "default", name)
	if !ok {
		c.Fatalf("no pod %s", name)
	}
	return p
}

func (c *cluster) wantOn(name, node string) {
	c.Helper()
	if got := c.get(name).Spec.NodeName; got != node {
		c.Errorf("pod %s is on %q, want %q", name, got, node)
	}
}

// wantRefused compares the message of the condition.
func (c *cluster) wantRefused(name, message string) {
	c.Helper()
	p := c.get(name)
	for _, cond := range p.Status.Conditions {
		if cond.Type == corev1.PodScheduled && cond.Status == corev1.ConditionFalse && cond.Reason == "Unschedulable" && cond.Message == message {
			return
		}
	}
	c.Errorf("pod %s on %q with conditions %+v, want %q", name, p.Spec.NodeName, p.Status.Conditions, message)
}

func (c *cluster) events(reason string) (messages []string) {
	synctest.Wait()
	for _, e := range state.List[*corev1.Event](c.State, state.Selector{}) {
		if e.Reason == reason && e.Source.Component == "default-scheduler" {
			messages = append(messages, e.Message)
		}
	}
	return messages
}

func TestPodIsBound(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.node(node("a", "1"))
		c.pod(pod("p", "100m"))
		c.wantOn("p", "a")
		cond := c.get("p").Status.Conditions
		if len(cond) != 1 || cond[0].Type != corev1.PodScheduled || cond[0].Status != corev1.ConditionTrue {
			c.Errorf("conditions %+v", cond)
		}
		if got := c.events("Scheduled"); len(got) != 1 || got[0] != "Successfully assigned default/p to a" {
			c.Errorf("events %q", got)
		}
	})
}

func TestPodWaitsForANode(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.pod(pod("p", "100m"))
		c.wantRefused("p", "no nodes available to schedule pods")
		if got := c.events("FailedScheduling"); len(got) != 1 {
			c.Errorf("events %q", got)
		}
		c.node(node("a", "1"))
		time.Sleep(2 * time.Second) // virtual
		c.wantOn("p", "a")
	})
}

func TestReasonsAreCountedByNode(t *testing.T) {
	bubble(t, func(c *cluster) {
		small, tainted := node("small", "100m"), node("tainted", "4")
		tainted.Spec.Taints = []corev1.Taint{{Key: "k", Value: "v", Effect: corev1.TaintEffectNoSchedule}}
		c.node(small)
		c.node(tainted)
		c.pod(pod("p", "1"))
		c.wantRefused("p", "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s).")
	})
}

func TestRoomThatIsFreedIsUsed(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.node(node("a", "1"))
		c.pod(pod("first", "800m"))
		c.wantOn("first", "a")
		c.pod(pod("second", "800m"))
		c.wantRefused("second", "0/1 nodes are available: 1 Insufficient cpu.")
		c.remove("first")
		time.Sleep(2 * time.Second) // virtual
		c.wantOn("second", "a")

		c.pod(pod("third", "800m"))
		c.wantOn("third", "")
		_, err := state.UpdateStatus(c.ctx, c.State, "default", "second", func(p *corev1.Pod) error {
			p.Status.Phase = corev1.PodSucceeded
			return nil
		})
		if err != nil {
			c.Fatal(err)
		}
		time.Sleep(2 * time.Second) // virtual
		c.wantOn("third", "a")
	})
}

func TestImportantPodsComeFirst(t *testing.T) {
	bubble(t, func(c *cluster) {
		for _, priority := range []int32{0, 10, 5} {
			p := pod(fmt.Sprintf("p%d", priority), "800m")
			p.Spec.Priority = &priority
			c.pod(p)
		}
		synctest.Wait()
		time.Sleep(time.Minute) // virtual: all have waited out their back-off
		c.node(node("a", "1"))
		c.wantOn("p10", "a")
		c.wantOn("p5", "")
		c.wantOn("p0", "")
	})
}

func TestGatesAndForeignSchedulers(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.node(node("a", "1"))
		gated := pod("gated", "")
		gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "wait"}}
		c.pod(gated)
		foreign := pod("foreign", "")
		foreign.Spec.SchedulerName = "mine"
		c.pod(foreign)
		c.wantOn("gated", "")
		c.wantOn("foreign", "")
		c.change("gated", func(p *corev1.Pod) { p.Spec.SchedulingGates = nil })
		c.wantOn("gated", "a")
	})
}

func TestCordonAndUncordon(t *testing.T) {
	bubble(t, func(c *cluster) {
		n := node("a", "1")
		n.Spec.Unschedulable = true
		c.node(n)
		c.pod(pod("p", ""))
		c.wantRefused("p", "0/1 nodes are available: 1 node(s) were unschedulable.")
		if _, err := state.Update(c.ctx, c.State, "", "a", func(n *corev1.Node) error { n.Spec.Unschedulable = false; return nil }); err != nil {
			c.Fatal(err)
		}
		time.Sleep(2 * time.Second) // virtual
		c.wantOn("p", "a")
	})
}

func TestReplicasSpread(t *testing.T) {
	bubble(t, func(c *cluster) {
		for _, name := range []string{"a", "b", "c"} {
			c.node(node(name, "4"))
		}
		yes := true
		for i := range 6 {
			p := pod(fmt.Sprintf("p%d", i), "")
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "rs", UID: "rs", Controller: &yes}}
			c.pod(p)
		}
		synctest.Wait()
		for _, name := range []string{"a", "b", "c"} {
			if n := len(state.List[*corev1.Pod](c.State, state.Selector{Node: name})); n != 2 {
				c.Errorf("%d pods on %s", n, name)
			}
		}
	})
}

func TestClaimsAreRefusedWithTheReason(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.node(node("a", "1"))
		p := pod("p", "")
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
		}}}
		c.pod(p)
		c.wantRefused("p", `0/1 nodes are available: persistentvolumeclaim "data" not found.`)
	})
}

func TestARefusedPodIsNotWrittenAgain(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.node(node("a", "100m"))
		c.pod(pod("p", "1"))
		before := c.get("p").ResourceVersion
		time.Sleep(time.Hour) // virtual
		if after := c.get("p").ResourceVersion; after != before {
			c.Errorf("resourceVersion went from %s to %s", before, after)
		}
	})
}

// Nodes are never overcommitted, whatever comes and goes while pods are bound.
func TestNeverOvercommitted(t *testing.T) {
	bubble(t, func(c *cluster) {
		random := rand.New(rand.NewPCG(1, 2))
		capacity := map[string]int64{}
		for i := range 5 {
			name := fmt.Sprintf("n%d", i)
			c.node(node(name, "2"))
			capacity[name] = 2000
		}
		for step := range 300 {
			pods := state.List[*corev1.Pod](c.State, state.Selector{Namespace: "default"})
			if random.IntN(3) == 0 && len(pods) > 0 {
				c.remove(pods[random.IntN(len(pods))].Name)
			} else {
				c.pod(pod(fmt.Sprintf("p%d", step), fmt.Sprintf("%dm", 100+random.IntN(900))))
			}
			if random.IntN(4) == 0 {
				time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond) // virtual
			}
			used := map[string]int64{}
			for _, p := range state.List[*corev1.Pod](c.State, state.Selector{}) {
				used[p.Spec.NodeName] += p.Spec.Containers[0].Resources.Requests.Cpu().MilliValue()
			}
			for name, limit := range capacity {
				if used[name] > limit {
					c.Fatalf("step %d: %dm of %dm asked for on %s", step, used[name], limit, name)
				}
			}
		}
		if bound := len(c.events("Scheduled")); bound < 50 {
			c.Errorf("only %d pods were ever bound", bound)
		}
	})
}

func TestManyPodsAtOnce(t *testing.T) {
	bubble(t, func(c *cluster) {
		for i := range 20 {
			c.node(node(fmt.Sprintf("n%02d", i), "4"))
		}
		for i := range 700 {
			c.pod(pod(fmt.Sprintf("p%03d", i), "100m"))
		}
		synctest.Wait()
		for _, p := range state.List[*corev1.Pod](c.State, state.Selector{}) {
			if !strings.HasPrefix(p.Spec.NodeName, "n") {
				c.Fatalf("%s is on %q", p.Name, p.Spec.NodeName)
			}
		}
	})
}
