package replicaset_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/controller/replicaset"
	"wherry/orchestrator/state"
)

func both(s *state.State, e controller.Events) []controller.Controller {
	return []controller.Controller{replicaset.New(s, e), replicaset.NewReplicationController(s, e), controllertest.Kubelet(s, nil)}
}

// A ReplicationController keeps its pods, adopts and releases, and is written to no more than it has to be.
func TestReplicationController(t *testing.T) {
	controllertest.Run(t, both, func(c *controllertest.Cluster) {
		controllertest.Apply(c, `
metadata: {namespace: default, name: orphan, labels: {app: old}}
spec: {containers: [{name: c, image: one}]}
`, &corev1.Pod{})
		controllertest.Apply(c, `
metadata: {namespace: default, name: old}
spec:
  replicas: 3
  template:
    metadata: {labels: {app: old}}
    spec: {containers: [{name: c, image: one}]}
`, &corev1.ReplicationController{})
		show := func() string {
			rc, _ := state.Get[*corev1.ReplicationController](c.State, "default", "old")
			pods := state.List[*corev1.Pod](c.State, state.Selector{Namespace: "default", Owner: rc.UID})
			return fmt.Sprintf("%d pods, %d/%d/%d", len(pods), rc.Status.Replicas, rc.Status.ReadyReplicas, rc.Status.AvailableReplicas)
		}
		c.Settle(time.Second)
		if got := show(); got != "3 pods, 3/3/3" {
			t.Errorf("at first: %s", got)
		}
		if p, _ := state.Get[*corev1.Pod](c.State, "default", "orphan"); len(p.OwnerReferences) != 1 || p.OwnerReferences[0].Kind != "ReplicationController" {
			t.Errorf("the orphan was not adopted: %+v", p.OwnerReferences)
		}
		before := c.State.Revision()
		c.Settle(time.Hour)
		if after := c.State.Revision(); after != before {
			t.Errorf("%d writes though nothing has changed", after-before)
		}
		controllertest.Change(c, "orphan", func(p *corev1.Pod) { p.Labels = nil })
		c.Settle(time.Second)
		if got := show(); got != "3 pods, 3/3/3" {
			t.Errorf("one was released: %s", got)
		}
		controllertest.Change(c, "old", func(rc *corev1.ReplicationController) { rc.Spec.Replicas = new(int32) })
		c.Settle(time.Minute)
		if got := show(); got != "0 pods, 0/0/0" {
			t.Errorf("scaled to none: %s", got)
		}
	})
}
