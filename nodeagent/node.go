package nodeagent

import (
	"maps"
	goruntime "runtime"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// EngineLabel says how Wasm guests are executed: "compiler", or "interpreter", which is many times slower.
const EngineLabel = "wherry.dev/engine"

// measure is what the operating system says of the machine.
type measure struct {
	memory, available int64 // bytes; available may be had without hurting anybody
	disk, free        int64 // bytes of the file system of the data directory; 0: not known
}

// A node with less available memory says that it is short, so that pods are scheduled elsewhere.
const lowMemory = 100 << 20

// nodeStatus makes the Node that this machine is.
type nodeStatus struct {
	c       *Config
	engine  string
	measure func() measure

	mu   sync.Mutex
	last *corev1.Node // as was said last
}

// node returns the Node as it is now.
func (s *nodeStatus) node() *corev1.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = s.make(time.Now())
	return s.last
}

// changed returns the Node if it is another than was said last, else nil.
func (s *nodeStatus) changed() *corev1.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.make(time.Now())
	if s.last != nil && equality.Semantic.DeepEqual(timeless(s.last), timeless(n)) {
		return nil
	}
	s.last = n
	return n
}

// timeless is without what changes by itself.
func timeless(n *corev1.Node) *corev1.Node {
	n = n.DeepCopy()
	for i := range n.Status.Conditions {
		n.Status.Conditions[i].LastHeartbeatTime = metav1.Time{}
	}
	return n
}

func (s *nodeStatus) make(now time.Time) *corev1.Node {
	m := s.measure()
	labels := map[string]string{
		corev1.LabelHostname:   s.c.NodeName,
		corev1.LabelOSStable:   goruntime.GOOS,
		corev1.LabelArchStable: goruntime.GOARCH,
		EngineLabel:            s.engine,
	}
	maps.Copy(labels, s.c.Labels)
	capacity := s.capacity(m)
	return &corev1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: s.c.NodeName, Labels: labels},
		Spec:       corev1.NodeSpec{Taints: s.c.Taints},
		Status: corev1.NodeStatus{
			Capacity:    capacity,
			Allocatable: capacity,
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: s.c.Address.String()},
				{Type: corev1.NodeHostName, Address: s.c.NodeName},
			},
			Conditions: s.conditions(now, m),
			NodeInfo: corev1.NodeSystemInfo{
				OperatingSystem: goruntime.GOOS, Architecture: goruntime.GOARCH,
				KernelVersion: kernelVersion(), OSImage: osImage(),
				KubeletVersion:          s.c.Version,
				ContainerRuntimeVersion: "wherry://" + s.c.Version,
				MachineID:               machineID(),
			},
		},
	}
}

// capacity is the machine's, unless the configuration says otherwise.
func (s *nodeStatus) capacity(m measure) corev1.ResourceList {
	all := corev1.ResourceList{
		corev1.ResourceCPU:    *quantity.NewQuantity(int64(goruntime.NumCPU()), quantity.DecimalSI),
		corev1.ResourceMemory: *quantity.NewQuantity(m.memory, quantity.BinarySI),
		corev1.ResourcePods:   *quantity.NewQuantity(int64(s.c.MaxPods), quantity.DecimalSI),
	}
	if m.disk > 0 {
		all[corev1.ResourceEphemeralStorage] = *quantity.NewQuantity(m.disk, quantity.BinarySI)
	}
	maps.Copy(all, s.c.Capacity)
	return all
}

func (s *nodeStatus) conditions(now time.Time, m measure) []corev1.NodeCondition {
	memory := m.available < lowMemory && m.memory > 0
	disk := m.disk > 0 && float64(m.free) < s.c.LowDisk*float64(m.disk)
	all := []corev1.NodeCondition{
		pressure(corev1.NodeMemoryPressure, memory, "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory", "available memory"),
		pressure(corev1.NodeDiskPressure, disk, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure", "free disk space"),
		pressure(corev1.NodePIDPressure, false, "KubeletHasInsufficientPID", "KubeletHasSufficientPID", "PIDs: guests have none"),
		{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "the agent is running"},
	}
	for i := range all {
		all[i].LastHeartbeatTime = metav1.NewTime(now)
		all[i].LastTransitionTime = s.since(now, all[i])
	}
	return all
}

func pressure(kind corev1.NodeConditionType, low bool, short, enough, what string) corev1.NodeCondition {
	if low {
		return corev1.NodeCondition{Type: kind, Status: corev1.ConditionTrue, Reason: short, Message: "the machine is short of " + what}
	}
	return corev1.NodeCondition{Type: kind, Status: corev1.ConditionFalse, Reason: enough, Message: "the machine has enough " + what}
}

func (s *nodeStatus) since(now time.Time, c corev1.NodeCondition) metav1.Time {
	if s.last != nil {
		i := slices.IndexFunc(s.last.Status.Conditions, func(o corev1.NodeCondition) bool { return o.Type == c.Type })
		if i >= 0 && s.last.Status.Conditions[i].Status == c.Status {
			return s.last.Status.Conditions[i].LastTransitionTime
		}
	}
	return metav1.NewTime(now)
}
