package daemonset_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/controller/daemonset"
	"wherry/orchestrator/state"
)

// cluster: a pod with an image "broken" never gets ready. A scheduler binds pods to the node that they are made for.
func cluster(s *state.State, e controller.Events) []controller.Controller {
	broken := func(p *corev1.Pod) bool { return p.Spec.Containers[0].Image == "broken" || p.Spec.NodeName == "" }
	return []controller.Controller{daemonset.New(s, e), controllertest.Kubelet(s, broken), binder(s)}
}

func binder(s *state.State) controller.Controller {
	return controller.Controller{
		Name: "binder", Sources: []controller.Source{controller.On(controller.Self[*corev1.Pod])},
		Reconcile: func(ctx context.Context, key controller.Key) (time.Duration, error) {
			p, ok := state.Get[*corev1.Pod](s, key.Namespace, key.Name)
			if !ok || p.Spec.NodeName != "" || p.DeletionTimestamp != nil {
				return 0, nil
			}
			terms := p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
			return 0, s.Bind(ctx, []state.Binding{{Namespace: p.Namespace, Name: p.Name, UID: p.UID, Node: terms[0].MatchFields[0].Values[0]}})[0]
		},
	}
}

const logs = `
metadata: {namespace: default, name: logs}
spec:
  selector: {matchLabels: {app: logs}}
  template:
    metadata: {labels: {app: logs}}
    spec:
      nodeSelector: {kind: edge}
      containers: [{name: c, image: one}]
`

func node(c *controllertest.Cluster, name, kind string, taints ...corev1.Taint) {
	controllertest.Create(c, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kind": kind}}, Spec: corev1.NodeSpec{Taints: taints},
	})
}

// show is the pods by node and the status.
func show(c *controllertest.Cluster) string {
	var out []string
	for _, p := range state.List[*corev1.Pod](c.State, state.Selector{Namespace: "default"}) {
		out = append(out, p.Spec.NodeName+":"+p.Spec.Containers[0].Image)
	}
	slices.Sort(out)
	ds, _ := state.Get[*appsv1.DaemonSet](c.State, "default", "logs")
	s := ds.Status
	return fmt.Sprintf("%s | desired %d, current %d, ready %d, updated %d, available %d, misscheduled %d", strings.Join(out, " "),
		s.DesiredNumberScheduled, s.CurrentNumberScheduled, s.NumberReady, s.UpdatedNumberScheduled, s.NumberAvailable, s.NumberMisscheduled)
}

func expect(t *testing.T, c *controllertest.Cluster, when, want string) {
	t.Helper()
	if got := show(c); got != want {
		t.Errorf("%s:\ngot  %s\nwant %s", when, got, want)
	}
}

func setImage(image string) func(*appsv1.DaemonSet) {
	return func(ds *appsv1.DaemonSet) { ds.Spec.Template.Spec.Containers[0].Image = image }
}

func changeNode(c *controllertest.Cluster, name string, change func(*corev1.Node)) {
	c.T.Helper()
	_, err := state.Update(c.T.Context(), c.State, "", name, func(n *corev1.Node) error {
		change(n)
		return nil
	})
	if err != nil {
		c.T.Fatal(err)
	}
}

// A pod is on every node that fits, follows nodes that come, change and go, and stays on one that is cordoned.
func TestNodes(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		node(c, "a", "edge")
		node(c, "b", "edge")
		node(c, "c", "core")
		node(c, "d", "edge", corev1.Taint{Key: "gpu", Effect: corev1.TaintEffectNoSchedule})
		controllertest.Apply(c, logs, &appsv1.DaemonSet{})
		c.Settle(time.Second)
		expect(t, c, "at first", "a:one b:one | desired 2, current 2, ready 2, updated 2, available 2, misscheduled 0")
		node(c, "e", "edge")
		changeNode(c, "a", func(n *corev1.Node) { n.Labels["kind"] = "core" })
		changeNode(c, "b", func(n *corev1.Node) { n.Spec.Unschedulable = true })
		c.Settle(time.Second)
		expect(t, c, "one came, one changed, one is cordoned", "b:one e:one | desired 2, current 2, ready 2, updated 2, available 2, misscheduled 0")
		changeNode(c, "e", func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}}
		})
		c.Settle(time.Second)
		expect(t, c, "a taint keeps new pods off", "b:one e:one | desired 1, current 1, ready 1, updated 1, available 1, misscheduled 1")
		changeNode(c, "e", func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "gpu", Effect: corev1.TaintEffectNoExecute}}
		})
		c.Settle(time.Second)
		expect(t, c, "and another ends them", "b:one | desired 1, current 1, ready 1, updated 1, available 1, misscheduled 0")
		if err := state.Delete[*corev1.Node](c.T.Context(), c.State, "", "b", state.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.Settle(time.Second)
		expect(t, c, "a node is gone", " | desired 0, current 0, ready 0, updated 0, available 0, misscheduled 0")
	})
}

func TestPodsTolerateTheirNodesTroubles(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		node(c, "a", "edge", corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute},
			corev1.Taint{Key: corev1.TaintNodeMemoryPressure, Effect: corev1.TaintEffectNoSchedule})
		controllertest.Apply(c, logs, &appsv1.DaemonSet{})
		c.Settle(time.Second)
		expect(t, c, "at first", "a:one | desired 1, current 1, ready 1, updated 1, available 1, misscheduled 0")
		pod := state.List[*corev1.Pod](c.State, state.Selector{Namespace: "default"})[0]
		if pod.Labels["pod-template-generation"] != "1" || pod.Labels["controller-revision-hash"] == "" {
			t.Errorf("its labels are %v", pod.Labels)
		}
	})
}

// With maxUnavailable no more pods than that are missing, and a broken template gets no further.
func TestRollOut(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		for _, n := range []string{"a", "b", "c", "d"} {
			node(c, n, "edge")
		}
		controllertest.Apply(c, logs, &appsv1.DaemonSet{})
		two := intstr.FromString("50%")
		controllertest.Change(c, "logs", func(ds *appsv1.DaemonSet) { ds.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = &two })
		c.Settle(time.Second)
		controllertest.Change(c, "logs", setImage("broken"))
		c.Settle(time.Minute)
		got := show(c)
		if strings.Count(got, "broken") != 2 || !strings.Contains(got, "desired 4, current 4, ready 2, updated 2, available 2") {
			t.Errorf("broken: %s", got)
		}
		controllertest.Change(c, "logs", setImage("three"))
		c.Settle(time.Minute)
		expect(t, c, "mended", "a:three b:three c:three d:three | desired 4, current 4, ready 4, updated 4, available 4, misscheduled 0")
	})
}

// With maxSurge the old pod of a node stays until the new one is available.
func TestSurge(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		for _, n := range []string{"a", "b"} {
			node(c, n, "edge")
		}
		controllertest.Apply(c, logs, &appsv1.DaemonSet{})
		none, one := intstr.FromInt32(0), intstr.FromInt32(1)
		controllertest.Change(c, "logs", func(ds *appsv1.DaemonSet) {
			ds.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &none, MaxSurge: &one}
		})
		c.Settle(time.Second)
		controllertest.Change(c, "logs", setImage("broken"))
		c.Settle(time.Minute)
		if got := show(c); strings.Count(got, ":one") != 2 || strings.Count(got, ":broken") != 1 || !strings.Contains(got, "available 2") {
			t.Errorf("broken: %s", got)
		}
		controllertest.Change(c, "logs", setImage("two"))
		c.Settle(time.Minute)
		expect(t, c, "mended", "a:two b:two | desired 2, current 2, ready 2, updated 2, available 2, misscheduled 0")
	})
}

func TestOnDeleteAndFailedPods(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		node(c, "a", "edge")
		controllertest.Apply(c, strings.Replace(logs, "spec:\n", "spec:\n  updateStrategy: {type: OnDelete}\n", 1), &appsv1.DaemonSet{})
		c.Settle(time.Second)
		controllertest.Change(c, "logs", setImage("two"))
		c.Settle(time.Minute)
		expect(t, c, "nobody has deleted anything", "a:one | desired 1, current 1, ready 1, updated 0, available 1, misscheduled 0")
		pod := state.List[*corev1.Pod](c.State, state.Selector{Namespace: "default"})[0]
		_, err := state.UpdateStatus(c.T.Context(), c.State, "default", pod.Name, func(p *corev1.Pod) error {
			p.Status.Phase = corev1.PodFailed
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Settle(time.Minute)
		expect(t, c, "the pod has failed", "a:two | desired 1, current 1, ready 1, updated 1, available 1, misscheduled 0")
		if !slices.ContainsFunc(c.Told(), func(e string) bool { return strings.Contains(e, "FailedDaemonPod Found failed daemon pod") }) {
			t.Errorf("nobody was told: %v", c.Told())
		}
	})
}
