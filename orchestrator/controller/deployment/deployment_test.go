package deployment_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/controller/deployment"
	"wherry/orchestrator/controller/replicaset"
	"wherry/orchestrator/state"
)

// cluster has the controllers that a rollout needs. A pod with an image "broken" never
// gets ready.
func cluster(s *state.State, e controller.Events) []controller.Controller {
	broken := func(p *corev1.Pod) bool { return p.Spec.Containers[0].Image == "broken" }
	return []controller.Controller{deployment.New(s, e), replicaset.New(s, e), controllertest.Kubelet(s, broken)}
}

const web = `
metadata: {namespace: default, name: web}
spec:
  replicas: 4
  progressDeadlineSeconds: 60
  revisionHistoryLimit: 2
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 1}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: one}]}
`

func setImage(image string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image }
}

// show is the Deployment's ReplicaSets, by revision, and its conditions.
func show(c *controllertest.Cluster) string {
	d, _ := state.Get[*appsv1.Deployment](c.State, "default", "web")
	sets := state.List[*appsv1.ReplicaSet](c.State, state.Selector{Namespace: "default"})
	slices.SortFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Compare(a.Annotations["deployment.kubernetes.io/revision"], b.Annotations["deployment.kubernetes.io/revision"])
	})
	var out []string
	for _, rs := range sets {
		out = append(out, fmt.Sprintf("%s:%s=%d/%d", rs.Annotations["deployment.kubernetes.io/revision"],
			rs.Spec.Template.Spec.Containers[0].Image, rs.Status.AvailableReplicas, *rs.Spec.Replicas))
	}
	for _, cond := range slices.SortedFunc(slices.Values(d.Status.Conditions), func(a, b appsv1.DeploymentCondition) int { return cmp.Compare(a.Type, b.Type) }) {
		out = append(out, fmt.Sprintf("%s=%s", cond.Reason, cond.Status))
	}
	return strings.Join(out, " ")
}

func expect(c *controllertest.Cluster, when, want string) {
	c.T.Helper()
	if got := show(c); got != want {
		c.T.Errorf("%s:\n got %s\nwant %s", when, got, want)
	}
}

func TestRollOut(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		controllertest.Apply(c, web, &appsv1.Deployment{})
		c.Settle(0)
		expect(c, "created", "1:one=4/4 MinimumReplicasAvailable=True NewReplicaSetAvailable=True")

		controllertest.Change(c, "web", setImage("two"))
		c.Settle(time.Second)
		expect(c, "new image", "1:one=0/0 2:two=4/4 MinimumReplicasAvailable=True NewReplicaSetAvailable=True")

		controllertest.Change(c, "web", func(d *appsv1.Deployment) { n := int32(6); d.Spec.Replicas = &n })
		c.Settle(time.Second)
		expect(c, "scaled", "1:one=0/0 2:two=6/6 MinimumReplicasAvailable=True NewReplicaSetAvailable=True")

		controllertest.Change(c, "web", setImage("broken"))
		c.Settle(30 * time.Second)
		expect(c, "stuck", "1:one=0/0 2:two=5/5 3:broken=0/2 MinimumReplicasAvailable=True ReplicaSetUpdated=True")
		c.Settle(time.Minute)
		expect(c, "too late", "1:one=0/0 2:two=5/5 3:broken=0/2 MinimumReplicasAvailable=True ProgressDeadlineExceeded=False")

		controllertest.Change(c, "web", setImage("one")) // what kubectl rollout undo does
		c.Settle(time.Second)
		expect(c, "rolled back", "2:two=0/0 3:broken=0/0 4:one=6/6 MinimumReplicasAvailable=True NewReplicaSetAvailable=True")

		controllertest.Change(c, "web", setImage("five"))
		c.Settle(time.Second)
		expect(c, "history is kept to its limit", "3:broken=0/0 4:one=0/0 5:five=6/6 MinimumReplicasAvailable=True NewReplicaSetAvailable=True")
	})
}

// TestFences watches a rollout pod by pod: never more than maxSurge above, never more than
// maxUnavailable below.
func TestFences(t *testing.T) {
	for _, fence := range []struct{ surge, unavailable int }{{1, 0}, {0, 1}, {2, 2}, {4, 0}, {0, 4}} {
		t.Run(fmt.Sprint(fence), func(t *testing.T) {
			controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
				controllertest.Apply(c, web, &appsv1.Deployment{})
				c.Settle(0)
				controllertest.Change(c, "web", func(d *appsv1.Deployment) {
					surge, unavailable := intstr.FromInt(fence.surge), intstr.FromInt(fence.unavailable)
					d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable}
				})
				pods := watchPods(c)
				controllertest.Change(c, "web", setImage("two"))
				c.Settle(time.Minute)
				most, least := pods()
				if most > 4+fence.surge || least < 4-fence.unavailable {
					t.Errorf("between %d and %d pods", least, most)
				}
				expect(c, "done", "1:one=0/0 2:two=4/4 MinimumReplicasAvailable=True NewReplicaSetAvailable=True")
			})
		})
	}
}

// watchPods follows the pods; the function that it returns ends that and says how many were
// asked for at most and ready at least.
func watchPods(c *controllertest.Cluster) func() (most, least int) {
	kind, _ := c.State.Kinds().For(&corev1.Pod{})
	w, err := c.State.Watch(c.T.Context(), kind, state.WatchOptions{Initial: true})
	if err != nil {
		c.T.Fatal(err)
	}
	type world struct{ most, least int }
	done, stop := make(chan world), make(chan struct{})
	go func() {
		active, ready, seen := map[string]bool{}, map[string]bool{}, world{least: 4}
		for {
			events, _, err := w.Next(c.T.Context())
			if err != nil {
				<-stop
				done <- seen
				return
			}
			for _, e := range events {
				if e.Entry == nil {
					continue
				}
				p := e.Entry.Object().(*corev1.Pod)
				delete(active, p.Name)
				delete(ready, p.Name)
				if e.Type != state.Deleted && controller.IsActive(p) {
					active[p.Name] = true
					if controller.IsReady(p) {
						ready[p.Name] = true
					}
				}
				seen.most = max(seen.most, len(active))
				if e.Prev != nil { // not while the first pods are counted
					seen.least = min(seen.least, len(ready))
				}
			}
		}
	}()
	return func() (int, int) {
		w.Close()
		close(stop)
		seen := <-done
		return seen.most, seen.least
	}
}

func TestRecreateNeverMixes(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		controllertest.Apply(c, strings.Replace(web, "{type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 1}}", "{type: Recreate}", 1), &appsv1.Deployment{})
		c.Settle(0)
		controllertest.Change(c, "web", setImage("two"))
		c.Settle(time.Second)
		expect(c, "done", "1:one=0/0 2:two=4/4 MinimumReplicasAvailable=True NewReplicaSetAvailable=True")
		var order []string
		for _, e := range c.Told() {
			if strings.Contains(e, "ScalingReplicaSet") {
				order = append(order, e[strings.LastIndex(e, " from "):])
			}
		}
		if want := []string{" from 0 to 4", " from 4 to 0", " from 0 to 4"}; !slices.Equal(order, want) {
			t.Errorf("scaled %v, want %v", order, want)
		}
	})
}

func TestPauseAndProportions(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		controllertest.Apply(c, web, &appsv1.Deployment{})
		c.Settle(0)
		controllertest.Change(c, "web", setImage("broken"))
		c.Settle(time.Second)
		expect(c, "stuck", "1:one=3/3 2:broken=0/2 MinimumReplicasAvailable=True ReplicaSetUpdated=True")
		controllertest.Change(c, "web", func(d *appsv1.Deployment) { n := int32(9); d.Spec.Replicas = &n })
		c.Settle(time.Second)
		expect(c, "scaled in proportion", "1:one=6/6 2:broken=0/4 MinimumReplicasUnavailable=False ReplicaSetUpdated=True")

		controllertest.Change(c, "web", func(d *appsv1.Deployment) { d.Spec.Paused = true })
		controllertest.Change(c, "web", setImage("three"))
		c.Settle(time.Second)
		expect(c, "paused", "1:one=6/6 2:broken=0/4 MinimumReplicasUnavailable=False DeploymentPaused=Unknown")
		controllertest.Change(c, "web", func(d *appsv1.Deployment) { d.Spec.Paused = false })
		c.Settle(time.Second)
		expect(c, "resumed", "1:one=0/0 2:broken=0/0 3:three=9/9 MinimumReplicasAvailable=True NewReplicaSetAvailable=True")
	})
}
