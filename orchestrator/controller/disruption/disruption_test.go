package disruption_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/controller/disruption"
	"wherry/orchestrator/controller/replicaset"
	"wherry/orchestrator/state"
)

const setText = `
metadata: {name: web, namespace: default}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: i}]}}
`

func budget(c *controllertest.Cluster, spec string) {
	controllertest.Apply(c, "metadata: {name: b, namespace: default}\nspec: {selector: {matchLabels: {app: web}}, "+spec+"}", &policyv1.PodDisruptionBudget{})
}

// status is the budget's, in words.
func status(c *controllertest.Cluster) string {
	c.Settle(0)
	b, _ := state.Get[*policyv1.PodDisruptionBudget](c.State, "default", "b")
	s := b.Status
	reason := ""
	if cond := meta.FindStatusCondition(s.Conditions, policyv1.DisruptionAllowedCondition); cond != nil {
		reason = cond.Reason
	}
	return fmt.Sprintf("expected %d healthy %d of %d allowed %d disrupted %d %s", s.ExpectedPods, s.CurrentHealthy, s.DesiredHealthy, s.DisruptionsAllowed, len(s.DisruptedPods), reason)
}

// run starts a ReplicaSet of four pods, of which those that sick says never become ready.
func run(t *testing.T, sick func(*corev1.Pod) bool, f func(c *controllertest.Cluster)) {
	controllertest.Run(t, func(s *state.State, e controller.Events) []controller.Controller {
		return append(disruption.New(s, e), replicaset.New(s, e), controllertest.Kubelet(s, sick))
	}, func(c *controllertest.Cluster) {
		controllertest.Apply(c, setText, &appsv1.ReplicaSet{})
		c.Settle(0)
		f(c)
	})
}

func TestStatus(t *testing.T) {
	for spec, want := range map[string]string{
		`minAvailable: 3`:       "expected 4 healthy 4 of 3 allowed 1 disrupted 0 SufficientPods",
		`minAvailable: 4`:       "expected 4 healthy 4 of 4 allowed 0 disrupted 0 InsufficientPods",
		`minAvailable: "40%"`:   "expected 4 healthy 4 of 2 allowed 2 disrupted 0 SufficientPods",
		`maxUnavailable: 1`:     "expected 4 healthy 4 of 3 allowed 1 disrupted 0 SufficientPods",
		`maxUnavailable: "30%"`: "expected 4 healthy 4 of 2 allowed 2 disrupted 0 SufficientPods",
		`maxUnavailable: 9`:     "expected 4 healthy 4 of 0 allowed 4 disrupted 0 SufficientPods",
	} {
		t.Run(spec, func(t *testing.T) {
			run(t, nil, func(c *controllertest.Cluster) {
				budget(c, spec)
				if got := status(c); got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
			})
		})
	}
}

func TestBudgetsFollowTheirPods(t *testing.T) {
	run(t, nil, func(c *controllertest.Cluster) {
		budget(c, "minAvailable: 3")
		status(c)
		controllertest.Change(c, "web", func(rs *appsv1.ReplicaSet) { n := int32(5); rs.Spec.Replicas = &n })
		if got := status(c); !strings.HasPrefix(got, "expected 5 healthy 5 of 3 allowed 2") {
			t.Error(got)
		}
	})
}

func TestUnmanagedPods(t *testing.T) {
	run(t, nil, func(c *controllertest.Cluster) {
		controllertest.Apply(c, "metadata: {name: alone, namespace: default, labels: {app: other}}\nspec: {containers: [{name: c, image: i}]}", &corev1.Pod{})
		controllertest.Apply(c, "metadata: {name: b, namespace: default}\nspec: {selector: {matchLabels: {app: other}}, maxUnavailable: 1}", &policyv1.PodDisruptionBudget{})
		if got := status(c); got != "expected 0 healthy 1 of 0 allowed 0 disrupted 0 InsufficientPods" {
			t.Error(got)
		}
		if told := strings.Join(c.Told(), "\n"); !strings.Contains(told, "b UnmanagedPods Pods selected by this PodDisruptionBudget") {
			t.Error(told)
		}
	})
}

func TestPodsOfUnknownControllersLetNothingBeEvicted(t *testing.T) {
	run(t, nil, func(c *controllertest.Cluster) {
		yes := true
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "lost", Namespace: "default", Labels: map[string]string{"app": "lost"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "gone", UID: "u", Controller: &yes}}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
		controllertest.Create(c, p)
		controllertest.Apply(c, "metadata: {name: b, namespace: default}\nspec: {selector: {matchLabels: {app: lost}}, maxUnavailable: 1}", &policyv1.PodDisruptionBudget{})
		if got := status(c); !strings.HasSuffix(got, "allowed 0 disrupted 0 SyncFailed") {
			t.Error(got)
		}
	})
}

// A pod that was evicted but stays counts again after a while, and loses its mark.
func TestEvictedPodsThatStay(t *testing.T) {
	run(t, nil, func(c *controllertest.Cluster) {
		budget(c, "minAvailable: 3")
		status(c)
		pod := state.List[*corev1.Pod](c.State, state.Selector{Namespace: "default"})[0]
		now := metav1.NewTime(time.Now())
		if _, err := state.UpdateStatus(c.T.Context(), c.State, "default", "b", func(b *policyv1.PodDisruptionBudget) error {
			b.Status.DisruptedPods = map[string]metav1.Time{pod.Name: now}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := state.UpdateStatus(c.T.Context(), c.State, "default", pod.Name, func(p *corev1.Pod) error {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, LastTransitionTime: now})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if got := status(c); got != "expected 4 healthy 3 of 3 allowed 0 disrupted 1 InsufficientPods" {
			t.Error(got)
		}
		c.Settle(3 * time.Minute)
		if got := status(c); got != "expected 4 healthy 4 of 3 allowed 1 disrupted 0 SufficientPods" {
			t.Error(got)
		}
		after, _ := state.Get[*corev1.Pod](c.State, "default", pod.Name)
		if mark := controller.Condition(after, corev1.DisruptionTarget); mark.Status != corev1.ConditionFalse {
			t.Errorf("%+v", mark)
		}
	})
}
