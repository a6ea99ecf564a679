package nodeagent

import (
	"net/netip"
	goruntime "runtime"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
)

func TestMeasureMachine(t *testing.T) {
	m := measureMachine(t.TempDir())
	if m.memory < 16<<20 || m.available > m.memory || m.free > m.disk {
		t.Errorf("got %+v", m)
	}
	if kernelVersion() == "" || osImage() == "" {
		t.Errorf("kernel %q, system %q", kernelVersion(), osImage())
	}
}

func condition(n *corev1.Node, kind corev1.NodeConditionType) corev1.NodeCondition {
	for _, c := range n.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.NodeCondition{}
}

func TestNodeStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := measure{memory: 1 << 30, available: 1 << 29, disk: 100 << 30, free: 50 << 30}
		s := &nodeStatus{
			c: &Config{
				NodeName: "n1", Address: netip.MustParseAddr("192.0.2.7"), MaxPods: 20, LowDisk: 0.1, Version: "v1",
				Labels:   map[string]string{"shed": "north"},
				Capacity: corev1.ResourceList{"cpu": quantity.MustParse("500m")},
			},
			engine:  "compiler",
			measure: func() measure { return m },
		}
		n := s.node()
		if n.Labels[EngineLabel] != "compiler" || n.Labels["shed"] != "north" || n.Labels[corev1.LabelArchStable] != goruntime.GOARCH {
			t.Errorf("labels: %v", n.Labels)
		}
		c := n.Status.Capacity
		if c.Cpu().String() != "500m" || c.Memory().String() != "1Gi" || c.Pods().String() != "20" || c.StorageEphemeral().String() != "100Gi" {
			t.Errorf("capacity: %v", c)
		}
		<-time.After(time.Minute)
		if n := s.changed(); n != nil {
			t.Errorf("nothing has changed, but: %+v", n.Status.Conditions)
		}
		m.available, m.free = 1<<20, 1<<30
		short := s.changed()
		if short == nil {
			t.Fatal("the change is not seen")
		}
		for _, kind := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure} {
			if c := condition(short, kind); c.Status != corev1.ConditionTrue || c.LastTransitionTime.Time.Sub(condition(n, kind).LastTransitionTime.Time) != time.Minute {
				t.Errorf("%+v", c)
			}
		}
		was, is := condition(n, corev1.NodeReady), condition(short, corev1.NodeReady)
		if is.Status != corev1.ConditionTrue || !is.LastTransitionTime.Equal(&was.LastTransitionTime) {
			t.Errorf("%+v", is)
		}
	})
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"node name": {NodeName: "No Name", DataDir: "x"},
		"no data":   {NodeName: "n1"},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
