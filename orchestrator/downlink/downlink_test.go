package downlink

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/pki"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store/memstore"
	"wherry/proto/link"
	"wherry/proto/link/memlink"
	"wherry/proto/nodelink"
)

func TestLabelsThatANodeMaySet(t *testing.T) {
	for label, want := range map[string]bool{
		"shed": true, "example.org/shed": true, "wherry.dev/engine": true, "notkubernetes.io/x": true,
		"kubernetes.io/os": true, "kubernetes.io/hostname": true, "topology.kubernetes.io/zone": true,
		"node.kubernetes.io/instance-type": true, "kubelet.kubernetes.io/x": true, "a.node.kubernetes.io/x": true,
		"kubernetes.io/role": false, "node-role.kubernetes.io/control-plane": false,
		"node-restriction.kubernetes.io/x": false, "k8s.io/x": false, "a.k8s.io/x": false,
	} {
		if got := allowedLabel(label); got != want {
			t.Errorf("%s: %t", label, got)
		}
	}
}

func TestWhatAPodNames(t *testing.T) {
	ref := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	env := corev1.Container{
		Env: []corev1.EnvVar{{Name: "plain"},
			{ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: ref("c-env")}}},
			{ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref("s-env")}}}},
		EnvFrom: []corev1.EnvFromSource{
			{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: ref("both")}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: ref("both")}}},
	}
	once := corev1.Container{EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: ref("s-init")}}}}
	volume := func(v corev1.VolumeSource) corev1.Volume { return corev1.Volume{VolumeSource: v} }
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}, Spec: corev1.PodSpec{
		ServiceAccountName: "sa",
		ImagePullSecrets:   []corev1.LocalObjectReference{ref("s-pull"), ref("both")},
		InitContainers:     []corev1.Container{once},
		Containers:         []corev1.Container{env, env},
		Volumes: []corev1.Volume{
			volume(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: ref("c-vol")}}),
			volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s-vol"}}),
			volume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}),
			volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: ref("c-proj")}},
				{Secret: &corev1.SecretProjection{LocalObjectReference: ref("s-proj")}},
			}}}),
		},
	}}
	var got []string
	for _, k := range namedBy(p) {
		got = append(got, fmt.Sprintf("%s %s/%s", k.kind, k.namespace, k.name))
	}
	want := []string{"KIND_NAMESPACE /ns",
		"KIND_CONFIG_MAP ns/both", "KIND_CONFIG_MAP ns/c-env", "KIND_CONFIG_MAP ns/c-proj", "KIND_CONFIG_MAP ns/c-vol",
		"KIND_SECRET ns/both", "KIND_SECRET ns/s-env", "KIND_SECRET ns/s-init", "KIND_SECRET ns/s-proj", "KIND_SECRET ns/s-pull", "KIND_SECRET ns/s-vol",
		"KIND_SERVICE_ACCOUNT ns/sa"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPodStatusKeepsWhatOthersSay(t *testing.T) {
	live := corev1.PodStatus{
		NominatedNodeName: "n2", QOSClass: corev1.PodQOSBurstable,
		Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionFalse}},
	}
	got := mergePodStatus(live, corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}})
	want := corev1.PodStatus{
		Phase: corev1.PodRunning, NominatedNodeName: "n2", QOSClass: corev1.PodQOSBurstable,
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}, {Type: corev1.PodScheduled, Status: corev1.ConditionTrue}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNodeConditionsChangeOnlyWhenTheySaySomethingNew(t *testing.T) {
	then := metav1.NewTime(time.Now().Add(-time.Hour).Truncate(time.Second))
	condition := func(status corev1.ConditionStatus, reason string) corev1.NodeCondition {
		return corev1.NodeCondition{Type: corev1.NodeReady, Status: status, Reason: reason, LastHeartbeatTime: then, LastTransitionTime: then}
	}
	live := corev1.NodeStatus{Conditions: []corev1.NodeCondition{condition(corev1.ConditionTrue, "KubeletReady"), {Type: "Custom"}}}
	merge := func(said corev1.NodeCondition) corev1.NodeCondition {
		said.LastTransitionTime = metav1.NewTime(time.Unix(0, 0)) // a wrong clock
		got := mergeNodeStatus(live, corev1.NodeStatus{Conditions: []corev1.NodeCondition{said}}).Conditions
		if len(got) != 2 || got[1].Type != "Custom" {
			t.Errorf("conditions of others: %v", got)
		}
		return got[0]
	}
	if got := merge(condition(corev1.ConditionTrue, "KubeletReady")); got != live.Conditions[0] {
		t.Errorf("nothing new: %v", got)
	}
	if got := merge(condition(corev1.ConditionTrue, "Other")); got.Reason != "Other" || got.LastTransitionTime != then || got.LastHeartbeatTime == then {
		t.Errorf("another reason: %v", got)
	}
	if got := merge(condition(corev1.ConditionFalse, "Other")); time.Since(got.LastTransitionTime.Time) > time.Minute {
		t.Errorf("another status: %v", got)
	}
}

// sessions is a link.Listener that is handed sessions.
type sessions struct {
	queue  chan link.Session
	closed chan struct{}
	once   sync.Once
}

func (s *sessions) Accept(ctx context.Context) (link.Session, error) {
	select {
	case one := <-s.queue:
		return one, nil
	case <-s.closed:
		return nil, link.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *sessions) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// What takes long to make, and is not changed.
var (
	kinds     = sync.OnceValue(resource.New)
	authority = sync.OnceValues(func() (*pki.PKI, error) {
		dir, err := os.MkdirTemp("", "pki")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		return pki.Open(dir, pki.Options{})
	})
)

// plane runs a downlink over a state in memory.
func plane(t testing.TB, f func(d *Downlink, dial func(protocol string) link.Session)) {
	below, stop := context.WithCancel(context.Background())
	st := memstore.New()
	s, err := state.Open(below, st, state.Options{Kinds: kinds()})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	d := New(Config{State: s, PKI: keys, Logger: slog.New(slog.DiscardHandler)})
	l := &sessions{queue: make(chan link.Session), closed: make(chan struct{})}
	ctx, cancel := context.WithCancel(below)
	var work, following sync.WaitGroup
	following.Go(func() {
		if err := s.Run(below); err != nil {
			t.Error(err)
		}
	})
	work.Go(func() {
		if err := d.Run(ctx, l); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"default", "kube-node-lease"} {
		if _, err := state.Create(ctx, s, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	f(d, func(protocol string) link.Session {
		node, key := "n1", "key"
		if protocol == link.ProtocolJoin {
			node, key = "", ""
		}
		here, there := memlink.Pipe(node, key, protocol)
		l.queue <- there
		return here
	})
	cancel()
	work.Wait()
	stop()
	following.Wait()
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

// talk writes bytes to a new stream and reads until it or the session ends.
func talk(t *testing.T, s link.Session, wire []byte) {
	stream, err := s.Open(t.Context())
	if err != nil {
		return // the session has ended already
	}
	stream.Write(wire) // the other end may have had enough
	stream.CloseWrite()
	var b [4096]byte
	for err == nil {
		_, err = stream.Read(b[:])
	}
	stream.Close()
}

func wire(t testing.TB, messages ...*nodelink.AgentMessage) []byte {
	var b bytes.Buffer
	for _, m := range messages {
		if err := nodelink.WriteMessage(&b, m); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func hello(h *nodelink.Hello) *nodelink.AgentMessage {
	return &nodelink.AgentMessage{Body: &nodelink.AgentMessage_Hello{Hello: h}}
}

// firstAnswer is what the control plane says to a Hello.
func firstAnswer(t testing.TB, s link.Session, h *nodelink.Hello) *nodelink.ServerMessage {
	stream, err := s.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := nodelink.WriteMessage(stream, hello(h)); err != nil {
		t.Fatal(err)
	}
	m := &nodelink.ServerMessage{}
	if err := nodelink.ReadMessage(stream, m, nodelink.MaxMessage); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestHelloIsRefusedWithTheReason(t *testing.T) {
	cases := map[string]struct {
		hello *nodelink.Hello
		code  link.Code
	}{
		"a newer agent":   {&nodelink.Hello{Version: 9, MinVersion: 8, NodeName: "n1"}, link.CodeVersion},
		"an older agent":  {&nodelink.Hello{Version: 0, NodeName: "n1"}, link.CodeVersion},
		"another cluster": {&nodelink.Hello{Version: 1, MinVersion: 1, NodeName: "n1", ClusterId: "other"}, link.CodeUnauthorized},
		"another name":    {&nodelink.Hello{Version: 1, MinVersion: 1, NodeName: "n2"}, link.CodeUnauthorized},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plane(t, func(d *Downlink, dial func(string) link.Session) {
					s := dial(link.ProtocolNode)
					no := firstAnswer(t, s, c.hello).GetRefusal()
					if no == nil || link.Code(no.Code) != c.code || no.Message == "" || !no.Permanent {
						t.Errorf("got %v", no)
					}
					<-s.Context().Done()
				})
			})
		})
	}
}

func TestSilentPeersAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane(t, func(d *Downlink, dial func(string) link.Session) {
			for _, protocol := range []string{link.ProtocolNode, link.ProtocolJoin} {
				<-dial(protocol).Context().Done()
				s := dial(protocol)
				stream, err := s.Open(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				stream.Write([]byte{100}) // the first byte of a message
				<-s.Context().Done()
			}
			hangs := dial(link.ProtocolNode)
			if m := firstAnswer(t, hangs, &nodelink.Hello{Version: 1, MinVersion: 1, NodeName: "n1"}); m.GetWelcome() == nil {
				t.Fatal(m)
			}
			<-hangs.Context().Done()
		})
	})
}

func TestEventsThatANodeMayTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane(t, func(d *Downlink, _ func(string) link.Session) {
			pod := func(node string) corev1.ObjectReference {
				return create(t, d, "Pod", &corev1.Pod{Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i"}}}})
			}
			service := func(kind corev1.ServiceType) corev1.ObjectReference {
				return create(t, d, "Service", &corev1.Service{Spec: corev1.ServiceSpec{Type: kind, Ports: []corev1.ServicePort{{Port: 80}}}})
			}
			ports := service(corev1.ServiceTypeNodePort)
			before := ports
			before.UID = "before"
			w := newWriters(&session{Downlink: d, node: "n1"})
			for name, c := range map[string]struct {
				about corev1.ObjectReference
				may   bool
			}{
				"itself":                         {corev1.ObjectReference{Kind: "Node", Name: "n1"}, true},
				"another node":                   {corev1.ObjectReference{Kind: "Node", Name: "n2"}, false},
				"a pod of it":                    {pod("n1"), true},
				"a pod of another node":          {pod("n2"), false},
				"a pod that is gone":             {corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "gone"}, true},
				"a Service with node ports":      {ports, true},
				"a Service with a balancer":      {service(corev1.ServiceTypeLoadBalancer), true},
				"a Service without node ports":   {service(corev1.ServiceTypeClusterIP), false},
				"the Service before of its name": {before, false},
				"something else":                 {corev1.ObjectReference{Kind: "Secret", Namespace: "default", Name: "s"}, false},
			} {
				if err := w.mayTell(&corev1.Event{InvolvedObject: c.about}); (err == nil) != c.may {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	})
}

// create stores an object under a name of its own and refers to it.
func create[T state.Object](t *testing.T, d *Downlink, kind string, o T) corev1.ObjectReference {
	t.Helper()
	o.SetNamespace("default")
	o.SetGenerateName("x-")
	o, err := state.Create(t.Context(), d.State, o)
	if err != nil {
		t.Error(err)
		return corev1.ObjectReference{}
	}
	return corev1.ObjectReference{Kind: kind, Namespace: "default", Name: o.GetName(), UID: o.GetUID()}
}

// FuzzSession sends bytes where a node speaks: nothing but its session may break.
func FuzzSession(f *testing.F) {
	good := hello(&nodelink.Hello{Version: 1, MinVersion: 1, NodeName: "n1"})
	report := func(r *nodelink.Report) *nodelink.AgentMessage {
		return &nodelink.AgentMessage{Body: &nodelink.AgentMessage_Report{Report: r}}
	}
	inventory := &nodelink.AgentMessage{Body: &nodelink.AgentMessage_Inventory{Inventory: &nodelink.Inventory{
		Have: []*nodelink.Have{{Kind: 1, Name: "n1"}, {Kind: 99, Name: "x"}, {Kind: nodelink.Kind_KIND_POD, Namespace: "default", Name: "p", Uid: "u"}}, Last: true}}}
	f.Add(wire(f, good, inventory, inventory))
	f.Add(wire(f, good, inventory,
		report(&nodelink.Report{Seq: 1, Body: &nodelink.Report_Pod{Pod: &nodelink.PodStatus{Namespace: "default", Name: "p", Gone: true}}}),
		report(&nodelink.Report{Seq: 2, Body: &nodelink.Report_Pod{}}),
		report(&nodelink.Report{Seq: 3, Body: &nodelink.Report_Event{Event: []byte("?")}}),
		report(&nodelink.Report{Seq: 4, Body: &nodelink.Report_Node{Node: []byte("?")}}),
		report(&nodelink.Report{Seq: 5})))
	f.Add(wire(f, good, &nodelink.AgentMessage{Body: &nodelink.AgentMessage_Renew{Renew: &nodelink.Renew{Csr: []byte("x")}}}))
	f.Add(wire(f, good, &nodelink.AgentMessage{Body: &nodelink.AgentMessage_Renew{}}, good))
	f.Fuzz(func(t *testing.T, b []byte) {
		synctest.Test(t, func(t *testing.T) {
			plane(t, func(d *Downlink, dial func(string) link.Session) {
				s := dial(link.ProtocolNode)
				talk(t, s, b)
				talk(t, s, b) // as the opening of a stream
				s.Close(link.CodeOK, "")
				talk(t, dial(link.ProtocolJoin), b)
				after := dial(link.ProtocolNode)
				if m := firstAnswer(t, after, &nodelink.Hello{Version: 1, MinVersion: 1, NodeName: "n1"}); m.GetWelcome() == nil {
					t.Errorf("the next session is told %v", m)
				}
			})
		})
	})
}

// BenchmarkFeedOf1000Pods measures the making of a whole picture.
func BenchmarkFeedOf1000Pods(b *testing.B) {
	plane(b, func(d *Downlink, dial func(string) link.Session) {
		for i := range 1000 {
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("p", i)},
				Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i", Env: []corev1.EnvVar{{Name: "A", Value: "b"}}}}},
			}
			if _, err := state.Create(b.Context(), d.State, pod); err != nil {
				b.Fatal(err)
			}
		}
		here, _ := memlink.Pipe("n1", "key", link.ProtocolNode)
		for b.Loop() {
			s := &session{Downlink: d, link: here, node: "n1", log: d.Logger, feed: newFeed("n1")}
			s.feed.markAll(s)
			changes, err := s.changes(b.Context(), s.feed.take())
			if err != nil || len(changes) != 1001 {
				b.Fatal(len(changes), err)
			}
		}
	})
}
