package apiserver_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"wherry/orchestrator/state"
)

// running makes a pod that runs, ready or not.
func (c *cluster) running(name string, ready corev1.ConditionStatus, labels map[string]string) {
	c.t.Helper()
	create(c, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: labels},
		Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "i"}}}})
	_, err := state.UpdateStatus(c.t.Context(), c.state, "default", name, func(p *corev1.Pod) error {
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// budget makes a budget for the pods labelled app=NAME, as its controller leaves it.
func (c *cluster) budget(name string, allowed, healthy, desired int32, policy *policyv1.UnhealthyPodEvictionPolicyType) {
	c.t.Helper()
	least := intstr.FromInt32(desired)
	create(c, &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &least, UnhealthyPodEvictionPolicy: policy, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}}})
	_, err := state.UpdateStatus(c.t.Context(), c.state, "default", name, func(b *policyv1.PodDisruptionBudget) error {
		b.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: b.Generation, DisruptionsAllowed: allowed, CurrentHealthy: healthy, DesiredHealthy: desired, ExpectedPods: healthy}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) evict(name, options string) answer {
	c.t.Helper()
	return c.ask("POST", "/api/v1/namespaces/default/pods/"+name+"/eviction",
		`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"`+name+`"}`+options+`}`, "Content-Type: application/json")
}

func TestEvictionsDoNotRaceEachOther(t *testing.T) {
	c := start(t)
	const pods, allowed = 24, 7
	c.budget("web", allowed, pods, pods-allowed, nil)
	for i := range pods {
		c.running(fmt.Sprintf("p%d", i), corev1.ConditionTrue, map[string]string{"app": "web"})
	}
	answers := make([]answer, pods)
	var all sync.WaitGroup
	for i := range pods {
		all.Go(func() { answers[i] = c.evict(fmt.Sprintf("p%d", i), "") })
	}
	all.Wait()
	codes := map[int]int{}
	for _, a := range answers {
		codes[a.StatusCode]++
		if a.StatusCode == http.StatusTooManyRequests && !strings.Contains(a.body, "The disruption budget web needs 17 healthy pods and has 24 currently") && !strings.Contains(a.body, "does not allow evicting pods currently") {
			t.Error(a.body)
		}
	}
	b, _ := state.Get[*policyv1.PodDisruptionBudget](c.state, "default", "web")
	going := 0
	for _, p := range state.List[*corev1.Pod](c.state, state.Selector{Namespace: "default"}) {
		if p.DeletionTimestamp == nil {
			continue
		}
		going++
		if last := p.Status.Conditions[len(p.Status.Conditions)-1]; last.Type != corev1.DisruptionTarget || last.Reason != "EvictionByEvictionAPI" {
			t.Errorf("%s is not marked: %+v", p.Name, last)
		}
	}
	if codes[http.StatusCreated] != allowed || codes[http.StatusTooManyRequests] != pods-allowed || going != allowed || b.Status.DisruptionsAllowed != 0 || len(b.Status.DisruptedPods) != allowed {
		t.Errorf("answers %v, %d going, status %+v", codes, going, b.Status)
	}
}

func TestEvictions(t *testing.T) {
	always := policyv1.AlwaysAllow
	c := start(t)
	c.budget("full", 0, 2, 2, nil)
	c.budget("lenient", 0, 1, 2, &always)
	c.budget("strict", 0, 1, 2, nil)
	c.budget("twice", 1, 2, 1, nil)
	create(c, &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "twice2"},
		Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "twice"}}}})
	create(c, &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "new", Generation: 1},
		Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "new"}}}})
	for name, test := range map[string]struct {
		app   string
		ready corev1.ConditionStatus
		code  int
		says  string
	}{
		"unguarded":        {"none", corev1.ConditionTrue, 201, ""},
		"guarded":          {"full", corev1.ConditionTrue, 429, "The disruption budget full needs 2 healthy pods and has 2 currently"},
		"unhealthy-spared": {"full", corev1.ConditionFalse, 201, ""},
		"unhealthy-always": {"lenient", corev1.ConditionFalse, 201, ""},
		"unhealthy-needed": {"strict", corev1.ConditionFalse, 429, "The disruption budget strict needs 2 healthy pods and has 1 currently"},
		"two-budgets":      {"twice", corev1.ConditionTrue, 500, "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."},
		"new-budget":       {"new", corev1.ConditionTrue, 429, "The disruption budget new is still being processed by the server."},
	} {
		t.Run(name, func(t *testing.T) {
			c.running(name, test.ready, map[string]string{"app": test.app})
			if a := c.evict(name, `,"deleteOptions":{"dryRun":["All"]}`); a.StatusCode != test.code {
				t.Errorf("dry run: %d %s", a.StatusCode, a.body)
			}
			if p, _ := state.Get[*corev1.Pod](c.state, "default", name); p.DeletionTimestamp != nil {
				t.Error("a dry run evicted")
			}
			a := c.evict(name, "")
			if a.StatusCode != test.code || !strings.Contains(a.body, test.says) {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
			if a.StatusCode == 429 && !strings.Contains(a.body, "Cannot evict pod as it would violate the pod's disruption budget.") {
				t.Error(a.body)
			}
		})
	}
}
