package endpointslice_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/controller/endpointslice"
	"wherry/orchestrator/state"
)

func cluster(s *state.State, _ controller.Events) []controller.Controller {
	return []controller.Controller{endpointslice.New(s)}
}

const service = `
metadata: {namespace: default, name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: www}, {name: metrics, port: 9000}]
`

// pod makes a pod that serves at ip.
func pod(c *controllertest.Cluster, name, ip string, www int32, ready bool) {
	c.T.Helper()
	p := controllertest.Create(c, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "i",
			Ports: []corev1.ContainerPort{{Name: "www", ContainerPort: www}}}}},
	})
	_, err := state.UpdateStatus(c.T.Context(), c.State, "default", p.Name, func(p *corev1.Pod) error {
		status := corev1.ConditionFalse
		if ready {
			status = corev1.ConditionTrue
		}
		p.Status.Phase, p.Status.PodIP, p.Status.PodIPs = corev1.PodRunning, ip, []corev1.PodIP{{IP: ip}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
		return nil
	})
	if err != nil {
		c.T.Fatal(err)
	}
}

func show(c *controllertest.Cluster) string {
	var lines []string
	for _, s := range state.List[*discoveryv1.EndpointSlice](c.State, state.Selector{Namespace: "default"}) {
		var parts []string
		for _, p := range s.Ports {
			parts = append(parts, fmt.Sprintf("%s=%d", *p.Name, *p.Port))
		}
		for _, e := range s.Endpoints {
			mark := map[bool]string{true: "+", false: "-"}
			parts = append(parts, mark[*e.Conditions.Ready]+mark[*e.Conditions.Terminating]+e.Addresses[0])
		}
		lines = append(lines, strings.Join(parts, " "))
	}
	slices.SortFunc(lines, func(a, b string) int { return cmp.Compare(a, b) })
	if e, ok := state.Get[*corev1.Endpoints](c.State, "default", "web"); ok {
		for _, s := range e.Subsets {
			lines = append(lines, fmt.Sprintf("endpoints %d ready %d not", len(s.Addresses), len(s.NotReadyAddresses)))
		}
	}
	return strings.Join(lines, "; ")
}

func TestFollowsPods(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		expect := func(when, want string) {
			t.Helper()
			c.Settle(time.Second)
			if got := show(c); got != want {
				t.Errorf("%s:\n got %s\nwant %s", when, got, want)
			}
		}
		controllertest.Apply(c, service, &corev1.Service{})
		expect("no pods", "")
		pod(c, "a", "10.42.0.1", 8080, true)
		pod(c, "b", "10.42.0.2", 8080, false)
		expect("one ready", "http=8080 metrics=9000 +-10.42.0.1 --10.42.0.2; endpoints 1 ready 1 not")
		pod(c, "d", "10.42.0.3", 9090, true)
		expect("another port of the same name", "http=8080 metrics=9000 +-10.42.0.1 --10.42.0.2; http=9090 metrics=9000 +-10.42.0.3; endpoints 1 ready 1 not; endpoints 1 ready 0 not")
		if err := state.Delete[*corev1.Pod](c.T.Context(), c.State, "default", "a", state.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		expect("a leaves", "http=8080 metrics=9000 -+10.42.0.1 --10.42.0.2; http=9090 metrics=9000 +-10.42.0.3; endpoints 0 ready 1 not; endpoints 1 ready 0 not")
		controllertest.Change(c, "web", func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": "nobody"} })
		expect("nobody", "")
	})
}

func TestSlicesHoldHundred(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		for i := range 120 {
			pod(c, fmt.Sprintf("p%03d", i), fmt.Sprintf("10.42.0.%d", i+1), 8080, true)
		}
		controllertest.Apply(c, service, &corev1.Service{})
		c.Settle(time.Second)
		var sizes []int
		for _, s := range state.List[*discoveryv1.EndpointSlice](c.State, state.Selector{}) {
			sizes = append(sizes, len(s.Endpoints))
		}
		slices.Sort(sizes)
		if !slices.Equal(sizes, []int{20, 100}) {
			t.Errorf("slices of %v", sizes)
		}
	})
}
