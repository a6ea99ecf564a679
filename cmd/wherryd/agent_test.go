package main_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"wherry/nodeagent"
	"wherry/nodeagent/journal"
	"wherry/nodeagent/runtime"
	"wherry/nodeagent/runtime/fake"
	"wherry/orchestrator/state"
	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// What a whole agent does, with the fake runtime, beside a real control plane.

// machine runs agents, one after the other, over the same data directory and containers.
type machine struct {
	p      *plane
	name   string
	dir    string
	token  string
	fake   *fake.Machine
	wasm   *module // runs Wasm guests instead of the fake runtime, all of this module
	cancel func()
	ended  chan error
}

func newMachine(p *plane, name string) *machine {
	m := &machine{p: p, name: name, dir: p.t.TempDir(), token: p.token(time.Hour), fake: &fake.Machine{}}
	m.boot()
	time.Sleep(time.Second)
	return m
}

func (m *machine) boot() {
	m.p.t.Helper()
	a, err := nodeagent.New(m.config())
	if err != nil {
		m.p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel, m.ended = cancel, make(chan error, 1)
	go func() { m.ended <- a.Run(ctx) }()
}

func (m *machine) config() nodeagent.Config {
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(serverAddress))
	c := nodeagent.Config{
		NodeName: m.name, DataDir: m.dir, Version: "test", Token: m.token, Log: quiet(m.p.t),
		Dial: func(ctx context.Context, tc *tls.Config) (link.Session, error) {
			return link.DialQUIC(ctx, m.p.net.Conn(), to, tc, link.Options{})
		},
		Images:  images{},
		Address: netip.MustParseAddr("192.0.2.7"),
		Host:    noNetwork{},
	}
	if m.wasm != nil {
		c.Images = m.wasm
	} else {
		c.Runtimes = []runtime.Runtime{m.fake.Driver()}
	}
	return c
}

// halt stops the agent; containers go on.
func (m *machine) halt() {
	m.p.t.Helper()
	m.cancel()
	m.p.check(<-m.ended)
}

// off stops the agent and all containers.
func (m *machine) off() {
	m.halt()
	m.fake.Halt()
}

func (m *machine) starts() (n int) {
	for _, call := range m.fake.Calls() {
		if strings.HasPrefix(call, "start") {
			n++
		}
	}
	return n
}

// images are all there.
type images struct{}

func (images) Present(context.Context, string) bool { return true }
func (images) InUse(string, []string)               {}
func (images) Ensure(_ context.Context, ref, _ string, _ [][]byte) (runtime.Image, error) {
	return runtime.Image{Ref: ref, Digest: "sha256:abc", Kind: "fake"}, nil
}

// noNetwork is a machine that reaches nobody.
type noNetwork struct{}

var errNoNetwork = errors.New("there is no network")

func (noNetwork) Dial(context.Context, string, string) (net.Conn, error) { return nil, errNoNetwork }
func (noNetwork) Listen(context.Context, string, string) (net.Listener, error) {
	return nil, errNoNetwork
}
func (noNetwork) ListenPacket(context.Context, string, string) (net.PacketConn, error) {
	return nil, errNoNetwork
}

// run makes a pod of one container with a script for the fake runtime.
func (m *machine) run(name string, args ...string) *corev1.Pod {
	m.p.t.Helper()
	return create(m.p, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PodSpec{NodeName: m.name, Containers: []corev1.Container{{Name: "app", Image: "hello:v1", Args: args}}},
	})
}

func (p *plane) get(name string) *corev1.Pod {
	pod, _ := state.Get[*corev1.Pod](p.state, "default", name)
	return pod
}

// wantPod compares the phase, readiness and restarts of a pod, "-" if there is none.
func (p *plane) wantPod(name, want string) {
	p.t.Helper()
	got := "-"
	if pod := p.get(name); pod != nil {
		got = string(pod.Status.Phase)
		for _, c := range pod.Status.ContainerStatuses {
			got += fmt.Sprintf(" %v/%d", c.Ready, c.RestartCount)
		}
	}
	if got != want {
		p.t.Errorf("pod %s is %q, want %q", name, got, want)
	}
}

func (p *plane) delete(name string, grace int64) {
	p.t.Helper()
	p.check(state.Delete[*corev1.Pod](p.t.Context(), p.state, "default", name, state.DeleteOptions{Grace: &grace}))
}

func TestAgentRunsPods(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		m := newMachine(p, "n1")
		defer m.off()
		n, ok := state.Get[*corev1.Node](p.state, "", "n1")
		if !ok || n.Labels[corev1.LabelHostname] != "n1" || n.Status.Addresses[0].Address != "192.0.2.7" || n.Status.Capacity.Pods().Value() != 110 {
			t.Fatalf("node: %+v", n)
		}
		m.run("web", "log=hello", "term=3s")
		m.run("job", "run=5s", "exit=0")
		time.Sleep(time.Second)
		p.wantPod("web", "Running true/0")
		web := p.get("web")
		if !strings.HasPrefix(web.Status.PodIP, "10.42.") || web.Status.HostIP != "192.0.2.7" {
			t.Errorf("status: %+v", web.Status)
		}
		if events := state.List[*corev1.Event](p.state, state.Selector{Namespace: "default"}); len(events) < 6 {
			t.Errorf("only %d events", len(events))
		}
		p.delete("web", 30)
		time.Sleep(2 * time.Second)
		p.wantPod("web", "Running true/0")
		time.Sleep(2 * time.Second)
		p.wantPod("web", "-")
		time.Sleep(3 * time.Second)
		p.wantPod("job", "Running true/1")
	})
}

func TestAgentServesLogs(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		m := newMachine(p, "n1")
		defer m.off()
		m.run("web", "log=hello", "run=1m")
		time.Sleep(time.Second)
		open := func(container string) (link.Stream, error) {
			return p.down.Open(t.Context(), "n1", &nodelink.Open{Body: &nodelink.Open_Log{Log: &nodelink.Log{
				PodUid: string(p.get("web").UID), Container: container, Follow: true, TailLines: -1,
			}}})
		}
		st, err := open("app")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		text, err := io.ReadAll(st)
		if err != nil || string(text) != "hello\n" {
			t.Errorf("log: %q, %v", text, err)
		}
		if took := time.Since(began); took < 50*time.Second || took > time.Minute {
			t.Errorf("the log was followed for %v", took)
		}
		st.Reset(link.CodeOK) // it has ended already
		if _, err := open("other"); err == nil || !strings.Contains(err.Error(), `container "other" in pod "web" is not available`) {
			t.Errorf("a log of nobody: %v", err)
		}
	})
}

// Both ends of what nodes tell about themselves: usage and the kubelet's paths.
func TestAgentTellsUsage(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		m := newMachine(p, "n1")
		defer m.off()
		m.run("web", "run=1m")
		time.Sleep(20 * time.Second)
		st, err := p.down.Open(t.Context(), "n1", &nodelink.Open{Body: &nodelink.Open_Usage{Usage: &nodelink.Usage{}}})
		if err != nil {
			t.Fatal(err)
		}
		u := &nodelink.NodeUsage{}
		if err := nodelink.ReadMessage(st, u, nodelink.MaxMessage); err != nil {
			t.Fatal(err)
		}
		st.Reset(link.CodeOK) // it has ended already
		// A container of the fake driver uses a thousandth of a core.
		if len(u.Container) != 1 || u.Container[0].Pod != "web" || u.Container[0].Container != "app" || u.Container[0].Used.NanoCores != 1e6 || u.Machine.GetWindowNanos() == 0 {
			t.Errorf("%v", u)
		}
		st, err = p.down.Open(t.Context(), "n1", &nodelink.Open{Body: &nodelink.Open_Kubelet{Kubelet: &nodelink.Kubelet{}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(st, "GET /pods HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(st)
		if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 200 OK") || !strings.Contains(string(text), `"podIP":"10.42.`) {
			t.Errorf("%s, %v", text, err)
		}
		st.Reset(link.CodeOK)
	})
}

func TestNothingRestartsWithTheAgent(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		m := newMachine(p, "n1")
		defer m.off()
		m.run("web")
		time.Sleep(time.Second)
		before := p.get("web")
		m.halt()
		time.Sleep(10 * time.Second)
		m.boot()
		time.Sleep(time.Minute)
		p.wantPod("web", "Running true/0")
		if after := p.get("web"); after.Status.PodIP != before.Status.PodIP || m.starts() != 1 {
			t.Errorf("address %s became %s, %d starts", before.Status.PodIP, after.Status.PodIP, m.starts())
		}
	})
}

func TestNothingRestartsWhenTheLinkIsCut(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		m := newMachine(p, "n1")
		defer m.off()
		m.run("web")
		m.run("short", "run=3m")
		time.Sleep(time.Second)
		p.net.Cut("10.0.0.1", true)
		time.Sleep(10 * time.Minute)
		p.delete("web", 5)
		time.Sleep(time.Minute)
		p.wantPod("web", "Running true/0") // nobody can know
		p.net.Cut("10.0.0.1", false)
		time.Sleep(2 * time.Minute)
		p.wantPod("web", "-")
		if pod := p.get("short"); pod.Status.ContainerStatuses[0].RestartCount < 2 {
			t.Errorf("it did not go on meanwhile: %+v", pod.Status.ContainerStatuses)
		}
	})
}

// A machine without a way to the control plane starts its pods again after a power cut.
func TestRebootOffline(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		m := newMachine(p, "n1")
		defer m.off()
		create(p, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "settings"}, Data: map[string]string{"A": "b"}})
		create(p, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "svc"},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(80)}}},
		})
		web := create(p, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
			Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{
				Name: "app", Image: "hello:v1",
				EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}},
			}}},
		})
		time.Sleep(5 * time.Second)
		p.wantPod("web", "Running true/0")
		p.net.Cut("10.0.0.1", true)
		m.off()
		m.boot()
		time.Sleep(time.Minute)
		s, ok := m.fake.Spec(runtime.ID{Pod: string(web.UID), Container: "app", Attempt: 1})
		if !ok || !slices.Contains(s.Env, "A=b") {
			t.Errorf("it does not run: %v %q", ok, s.Env)
		}
		p.net.Cut("10.0.0.1", false)
		time.Sleep(2 * time.Minute)
		p.wantPod("web", "Running true/1")
	})
}

func TestOneAgentAtATime(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		m := newMachine(p, "n1")
		defer m.off()
		c := m.config()
		_, err := nodeagent.New(c)
		if !errors.Is(err, journal.ErrLocked) {
			t.Errorf("got %v", err)
		}
		p.check(c.Runtimes[0].Close()) // the agent did not come that far
		synctest.Wait()
	})
}
