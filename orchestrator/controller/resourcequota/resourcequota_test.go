package resourcequota_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/controller/customresource"
	"wherry/orchestrator/controller/resourcequota"
	"wherry/orchestrator/state"
)

const (
	podText = `
metadata: {name: p, namespace: default}
spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: i, resources: {requests: {cpu: 100m}}}]}
`
	serviceText = `
metadata: {name: s, namespace: default}
spec: {type: NodePort, ports: [{port: 80}]}
`
	quotaText = `
metadata: {name: q, namespace: default}
spec: {hard: {pods: "9", cpu: "1", count/pods: "9", services.nodeports: "2", count/configmaps: "5"}}
`
)

func run(t *testing.T, f func(c *controllertest.Cluster)) {
	controllertest.Run(t, func(s *state.State, _ controller.Events) []controller.Controller {
		return []controller.Controller{resourcequota.New(s), customresource.New(s)}
	}, f)
}

// used are what the quota says is used, once it has settled.
func used(c *controllertest.Cluster) map[string]string {
	c.Settle(0)
	q, _ := state.Get[*corev1.ResourceQuota](c.State, "default", "q")
	all := map[string]string{}
	for name, n := range q.Status.Used {
		if all[string(name)] = n.String(); q.Status.Hard[name] != q.Spec.Hard[name] {
			c.T.Errorf("the status limits %s to another amount", name)
		}
	}
	return all
}

func want(c *controllertest.Cluster, what string, pairs ...string) {
	c.T.Helper()
	got := used(c)
	for i := 0; i < len(pairs); i += 2 {
		if got[pairs[i]] != pairs[i+1] {
			c.T.Errorf("%s: %s of %s used, want %s", what, got[pairs[i]], pairs[i], pairs[i+1])
		}
	}
}

func TestQuotasFollow(t *testing.T) {
	run(t, func(c *controllertest.Cluster) {
		controllertest.Apply(c, podText, &corev1.Pod{})
		controllertest.Apply(c, quotaText, &corev1.ResourceQuota{})
		want(c, "one pod from before", "pods", "1", "cpu", "100m", "count/pods", "1", "services.nodeports", "0", "count/configmaps", "0")

		end := func(p *corev1.Pod) error { p.Status.Phase = corev1.PodSucceeded; return nil }
		if _, err := state.UpdateStatus(c.T.Context(), c.State, "default", "p", end); err != nil {
			c.T.Fatal(err)
		}
		want(c, "it has ended", "pods", "0", "cpu", "0", "count/pods", "1")
		if err := state.Delete[*corev1.Pod](c.T.Context(), c.State, "default", "p", state.DeleteOptions{}); err != nil {
			c.T.Fatal(err)
		}
		want(c, "it is gone", "count/pods", "0")

		controllertest.Change(c, "q", func(q *corev1.ResourceQuota) { delete(q.Spec.Hard, "cpu") })
		if _, ok := used(c)["cpu"]; ok {
			c.T.Error("what is no longer limited is still counted")
		}
	})
}

func TestWhatIsGivenBackOtherwise(t *testing.T) {
	run(t, func(c *controllertest.Cluster) {
		controllertest.Apply(c, serviceText, &corev1.Service{})
		controllertest.Apply(c, quotaText, &corev1.ResourceQuota{})
		want(c, "a node port", "services.nodeports", "1")
		controllertest.Change(c, "s", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP; s.Spec.Ports[0].NodePort = 0 })
		want(c, "no node port", "services.nodeports", "0")
	})
}

// A pod that is long overdue to go is charged no longer; only time tells.
func TestOverduePods(t *testing.T) {
	run(t, func(c *controllertest.Cluster) {
		p := controllertest.Apply(c, podText, &corev1.Pod{})
		bind := []state.Binding{{Namespace: "default", Name: p.Name, Node: "lost"}}
		if err := c.State.Bind(c.T.Context(), bind)[0]; err != nil {
			c.T.Fatal(err)
		}
		controllertest.Apply(c, quotaText, &corev1.ResourceQuota{})
		grace := int64(30)
		if err := state.Delete[*corev1.Pod](c.T.Context(), c.State, "default", "p", state.DeleteOptions{Grace: &grace}); err != nil {
			c.T.Fatal(err)
		}
		want(c, "on its way", "pods", "1")
		c.Settle(7 * time.Minute)
		want(c, "overdue", "pods", "0", "count/pods", "1")
	})
}

// Kinds that are defined while the server runs are counted as others are.
func TestCustomObjectsAreGivenBack(t *testing.T) {
	run(t, func(c *controllertest.Cluster) {
		controllertest.Apply(c, `
metadata: {name: boats.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat, listKind: BoatList}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
`, &apiextensionsv1.CustomResourceDefinition{})
		c.Settle(0)
		kind, ok := c.State.Kinds().Kind(schema.GroupVersionKind{Group: "example.org", Version: "v1", Kind: "Boat"})
		if !ok {
			c.T.Fatal("there are no boats")
		}
		boat := &unstructured.Unstructured{}
		boat.SetGroupVersionKind(kind.GroupVersionKind)
		boat.SetNamespace("default")
		boat.SetName("b")
		if _, err := c.State.Create(c.T.Context(), kind, boat, state.CreateOptions{}); err != nil {
			c.T.Fatal(err)
		}
		controllertest.Apply(c, `
metadata: {name: q, namespace: default}
spec: {hard: {count/boats.example.org: "2"}}
`, &corev1.ResourceQuota{})
		want(c, "a boat from before", "count/boats.example.org", "1")
		if _, _, err := c.State.Delete(c.T.Context(), kind, "default", "b", state.DeleteOptions{}); err != nil {
			c.T.Fatal(err)
		}
		want(c, "it is gone", "count/boats.example.org", "0")
	})
}
