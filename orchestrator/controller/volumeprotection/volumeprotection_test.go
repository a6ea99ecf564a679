package volumeprotection_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/controller/volumeprotection"
	"wherry/orchestrator/state"
)

const (
	claimText = `
metadata: {name: data, namespace: default}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`
	podText = `
metadata: {name: p, namespace: default}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: i}]
  volumes: [{name: d, persistentVolumeClaim: {claimName: data}}]
`
	volumeText = `
metadata: {name: v}
spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}, hostPath: {path: /x}}
`
)

func run(t *testing.T, f func(c *controllertest.Cluster)) {
	controllertest.Run(t, func(s *state.State, _ controller.Events) []controller.Controller { return volumeprotection.New(s) }, f)
}

func TestClaimsStayWhileTheyAreUsed(t *testing.T) {
	run(t, func(c *controllertest.Cluster) {
		controllertest.Apply(c, claimText, &corev1.PersistentVolumeClaim{})
		controllertest.Apply(c, podText, &corev1.Pod{})
		c.Settle(0)
		if err := state.Delete[*corev1.PersistentVolumeClaim](c.T.Context(), c.State, "default", "data", state.DeleteOptions{}); err != nil {
			c.T.Fatal(err)
		}
		c.Settle(0)
		if claim, ok := state.Get[*corev1.PersistentVolumeClaim](c.State, "default", "data"); !ok || claim.DeletionTimestamp == nil {
			c.T.Fatal("a claim that is used was not held back")
		}
		now := int64(0)
		if err := state.Delete[*corev1.Pod](c.T.Context(), c.State, "default", "p", state.DeleteOptions{Grace: &now}); err != nil {
			c.T.Fatal(err)
		}
		c.Settle(0)
		if _, ok := state.Get[*corev1.PersistentVolumeClaim](c.State, "default", "data"); ok {
			c.T.Error("it is held back still")
		}
	})
}

func TestVolumesStayWhileTheyAreBound(t *testing.T) {
	run(t, func(c *controllertest.Cluster) {
		controllertest.Apply(c, volumeText, &corev1.PersistentVolume{})
		phase := func(p corev1.PersistentVolumePhase) {
			t.Helper()
			if _, err := state.UpdateStatus(c.T.Context(), c.State, "", "v", func(v *corev1.PersistentVolume) error { v.Status.Phase = p; return nil }); err != nil {
				c.T.Fatal(err)
			}
			c.Settle(0)
		}
		phase(corev1.VolumeBound)
		if err := state.Delete[*corev1.PersistentVolume](c.T.Context(), c.State, "", "v", state.DeleteOptions{}); err != nil {
			c.T.Fatal(err)
		}
		c.Settle(0)
		if _, ok := state.Get[*corev1.PersistentVolume](c.State, "", "v"); !ok {
			c.T.Fatal("a volume that is bound was not held back")
		}
		phase(corev1.VolumeReleased)
		if _, ok := state.Get[*corev1.PersistentVolume](c.State, "", "v"); ok {
			c.T.Error("it is held back still")
		}
	})
}
