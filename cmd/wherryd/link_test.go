package main_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/nodeagent/uplink"
	"wherry/orchestrator/downlink"
	"wherry/orchestrator/pki"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store/memstore"
	"wherry/proto/link"
	"wherry/proto/link/linktest"
	"wherry/proto/nodelink"
)

// What downlink and uplink do together, over real QUIC on a simulated network, in virtual time.

const serverAddress = "10.0.0.1:6443"

// plane is a control plane: a state, an authority, and a downlink that can be stopped and
// started again.
type plane struct {
	t     testing.TB
	net   *linktest.Network
	dir   string
	state *state.State
	pki   *pki.PKI
	down  *downlink.Downlink
	stop  func()
}

// bubble runs f with a control plane. Everything has ended when it returns.
func bubble(t *testing.T, f func(t *testing.T, p *plane)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &plane{t: t, net: &linktest.Network{Latency: 5 * time.Millisecond}, dir: t.TempDir()}
		defer p.open()()
		p.start()
		defer func() { p.stop() }()
		f(t, p)
	})
}

// open makes the state; what it returns ends it.
func (p *plane) open() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	st := memstore.New()
	var err error
	if p.state, err = state.Open(ctx, st, state.Options{Kinds: resource.New()}); err != nil {
		p.t.Fatal(err)
	}
	if p.pki, err = pki.Open(p.dir, pki.Options{}); err != nil {
		p.t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() { p.check(p.state.Run(ctx)) })
	for _, ns := range []string{"default", "kube-system", "kube-node-lease"} {
		create(p, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
	}
	return func() {
		cancel()
		work.Wait()
		p.check(st.Close())
	}
}

func (p *plane) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Error(err)
	}
}

// start begins a downlink at the server's address.
func (p *plane) start() {
	l, err := link.ListenQUIC(p.net.ConnAt(serverAddress), p.pki.ServerTLS(), link.Options{ResetKey: p.pki.ResetKey()})
	if err != nil {
		p.t.Fatal(err)
	}
	p.down = downlink.New(downlink.Config{
		State: p.state, PKI: p.pki, Logger: quiet(p.t),
		Registry: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "registry ", r.URL.Path) }),
	})
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { p.check(p.down.Run(ctx, l)) })
	p.stop = func() {
		cancel()
		work.Wait()
	}
}

func quiet(t testing.TB) *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

func create[T state.Object](p *plane, obj T) T {
	p.t.Helper()
	made, err := state.Create(p.t.Context(), p.state, obj)
	if err != nil {
		p.t.Fatal(err)
	}
	return made
}

// token makes a join token that the control plane knows.
func (p *plane) token(life time.Duration) string {
	t := pki.NewToken(p.pki.CAHash())
	create(p, pki.TokenSecret(t, life, ""))
	return t.String()
}

// pod makes a pod on a node that needs some of everything.
func (p *plane) pod(name, node string) *corev1.Pod {
	p.t.Helper()
	return create(p, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{
			NodeName:   node,
			Containers: []corev1.Container{{Name: "c", Image: "hello:v1", EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}}}},
			Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "key"}}},
			}}}}},
		},
	})
}

// agent is a node's half: an uplink over a journal in memory.
type agent struct {
	*uplink.Uplink
	t      testing.TB
	plane  *plane
	name   string
	dir    string
	token  string
	kernel string
	open   func(context.Context, *nodelink.Open) (uplink.Serve, error)

	mu      sync.Mutex
	objects map[string]*nodelink.Change
	feeds   []*nodelink.Feed
	welcome *nodelink.Welcome
	cancel  func()
	ended   chan error
}

func newAgent(p *plane, name, token string) *agent {
	return &agent{t: p.t, plane: p, name: name, dir: p.t.TempDir(), token: token, kernel: "1", objects: map[string]*nodelink.Change{}}
}

// join makes a node that is connected and has everything.
func (p *plane) join(name string) *agent {
	p.t.Helper()
	a := newAgent(p, name, p.token(time.Hour))
	a.start()
	time.Sleep(time.Second)
	settle()
	return a
}

// start runs a new uplink, as a restarted agent does.
func (a *agent) start() {
	a.t.Helper()
	u, err := uplink.New(uplink.Config{
		Dial: a.dial, Token: a.token, NodeName: a.name, Dir: a.dir, Version: "test", Logger: quiet(a.t),
		Journal: a, Node: a.node, Open: a.open,
		Welcomed: func(w *nodelink.Welcome) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.welcome = w
		},
	})
	if err != nil {
		a.t.Fatal(err)
	}
	a.Uplink = u
	ctx, cancel := context.WithCancel(context.Background())
	a.ended = make(chan error, 1)
	go func() { a.ended <- u.Run(ctx) }()
	a.cancel = cancel
}

func (a *agent) stop() {
	a.t.Helper()
	a.cancel()
	a.plane.check(<-a.ended)
}

func (a *agent) dial(ctx context.Context, tc *tls.Config) (link.Session, error) {
	to, err := net.ResolveUDPAddr("udp4", serverAddress)
	if err != nil {
		return nil, err
	}
	to.IP = to.IP.To4()
	return link.DialQUIC(ctx, a.plane.net.Conn(), to, tc, link.Options{})
}

func (a *agent) node() *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{
			"kubernetes.io/os": "linux", "example.org/shed": "north",
			"node-role.kubernetes.io/control-plane": "", "node-restriction.kubernetes.io/x": "y", "kubernetes.io/hostname": "a-lie",
		}},
		Status: corev1.NodeStatus{
			NodeInfo:   corev1.NodeSystemInfo{KernelVersion: a.kernel},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"}},
		},
	}
}

func (a *agent) Have() ([]*nodelink.Have, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var have []*nodelink.Have
	for _, c := range a.objects {
		have = append(have, &nodelink.Have{Kind: c.Kind, Namespace: c.Namespace, Name: c.Name, Uid: c.Uid, Revision: c.Revision})
	}
	return have, nil
}

func (a *agent) Apply(_ context.Context, f *nodelink.Feed) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.feeds = append(a.feeds, f)
	for _, c := range f.Change {
		k := named(c)
		if len(c.Object) > 0 {
			a.objects[k] = c
		} else if a.objects[k].GetUid() == c.Uid {
			delete(a.objects, k)
		}
	}
	return nil
}

// settle lets what was sent arrive.
func settle() {
	time.Sleep(100 * time.Millisecond) // virtual
	synctest.Wait()
}

func named(c *nodelink.Change) string {
	kind := strings.ToLower(strings.TrimPrefix(c.Kind.String(), "KIND_"))
	return strings.Replace(kind+" "+c.Namespace+"/"+c.Name, " /", " ", 1)
}

// news are the changes since the last call, in order, "-" before what is gone.
func (a *agent) news() (all []string) {
	settle()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range a.feeds {
		for _, c := range f.Change {
			sign := ""
			if len(c.Object) == 0 {
				sign = "-"
			}
			all = append(all, sign+named(c))
		}
	}
	a.feeds = nil
	return all
}

func (a *agent) holds() []string {
	settle()
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.objects))
}

func want(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func TestJoin(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		a := p.join("n1")
		defer a.stop()
		n, ok := state.Get[*corev1.Node](p.state, "", "n1")
		if !ok {
			t.Fatal("no node")
		}
		wantLabels := map[string]string{"kubernetes.io/os": "linux", "example.org/shed": "north", "kubernetes.io/hostname": "n1"}
		if !maps.Equal(n.Labels, wantLabels) {
			t.Errorf("labels %v", n.Labels)
		}
		if n.Status.NodeInfo.KernelVersion != "1" || n.Status.Conditions[0].Status != corev1.ConditionTrue {
			t.Errorf("status %+v", n.Status)
		}
		if a.welcome.PodCidr == "" || a.welcome.PodCidr != n.Spec.PodCIDR || a.welcome.DnsAddress != "10.43.0.10" {
			t.Errorf("welcome %v, node %s", a.welcome, n.Spec.PodCIDR)
		}
		if a.ClusterID() != p.pki.ClusterID() || !a.Connected() || !p.down.Connected("n1") {
			t.Error("not connected")
		}
	})
}

func TestHeartbeatsAreHeardAndWriteNothing(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		a := p.join("n1")
		defer a.stop()
		before := p.state.Revision()
		time.Sleep(4 * time.Minute)
		a.NodeStatus(a.node()) // nothing new in it
		synctest.Wait()
		if now := p.state.Revision(); now != before {
			t.Errorf("%d commits in four quiet minutes", now-before)
		}
		time.Sleep(2 * time.Minute)
		if now := p.state.Revision(); now != before+1 {
			t.Errorf("%d commits in six quiet minutes, want the Lease's", now-before)
		}
		heard, ok := p.down.LastHeard("n1")
		if !ok || time.Since(heard) > 10*time.Second {
			t.Errorf("heard %v ago", time.Since(heard))
		}
		if _, ok := p.down.LastHeard("n2"); ok {
			t.Error("heard a node that does not exist")
		}
	})
}

func TestANodeIsToldWhatItNeedsAndNothingElse(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		a, b := p.join("n1"), p.join("n2")
		defer a.stop()
		defer b.stop()
		want(t, "at first", a.news(), "node n1")
		meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "default", Name: name} }
		create(p, &corev1.ConfigMap{ObjectMeta: meta("settings"), Data: map[string]string{"a": "b"}})
		create(p, &corev1.ConfigMap{ObjectMeta: meta("others")})
		create(p, &corev1.Secret{ObjectMeta: meta("others")})
		want(t, "what no pod names", a.news())

		p.pod("web", "n1")
		want(t, "a pod and what it names", a.news(), "namespace default", "config_map default/settings", "pod default/web")
		p.pod("elsewhere", "n2")
		want(t, "another's pod", a.news())
		create(p, &corev1.Secret{ObjectMeta: meta("key")})
		want(t, "what a pod has waited for", a.news(), "secret default/key")
		create(p, &discoveryv1.EndpointSlice{ObjectMeta: meta("s"), AddressType: discoveryv1.AddressTypeIPv4})
		want(t, "routes", a.news(), "endpoint_slice default/s")

		p.pod("web2", "n1")
		want(t, "a second pod", a.news(), "pod default/web2")
		remove := func(name string) {
			now := int64(0)
			if err := state.Delete[*corev1.Pod](t.Context(), p.state, "default", name, state.DeleteOptions{Grace: &now}); err != nil {
				t.Fatal(err)
			}
		}
		remove("web")
		want(t, "one of two is gone", a.news(), "-pod default/web")
		remove("web2")
		want(t, "the last is gone", a.news(), "-namespace default", "-config_map default/settings", "-secret default/key", "-pod default/web2")
		want(t, "the other node", b.holds(), "config_map default/settings", "endpoint_slice default/s", "namespace default", "node n2", "pod default/elsewhere", "secret default/key")
	})
}

func TestManagedFieldsStayHome(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		a := p.join("n1")
		defer a.stop()
		made := create(p, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl", Operation: "Apply", APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte("{}")}}}},
			Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		})
		settle()
		got := &corev1.Pod{}
		if err := got.Unmarshal(a.objects["pod default/web"].Object); err != nil {
			t.Fatal(err)
		}
		if len(got.ManagedFields) != 0 || got.UID != made.UID || got.ResourceVersion != made.ResourceVersion {
			t.Errorf("%+v", got.ObjectMeta)
		}
		if len(made.ManagedFields) != 1 {
			t.Error("the shared object was changed")
		}
	})
}

func running(p *corev1.Pod) *corev1.PodStatus {
	return &corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.42.0.5", PodIPs: []corev1.PodIP{{IP: "10.42.0.5"}}}
}

func TestStatusIsWritten(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		a := p.join("n1")
		defer a.stop()
		pod := p.pod("web", "n1")
		a.Status(pod, &corev1.PodStatus{Phase: corev1.PodPending}, false)
		a.Status(pod, running(pod), false)
		time.Sleep(time.Second)
		if got, _ := state.Get[*corev1.Pod](p.state, "default", "web"); got.Status.Phase != corev1.PodRunning || got.Status.PodIP != "10.42.0.5" {
			t.Errorf("%+v", got.Status)
		}
		// What nobody deletes does not go.
		a.Status(pod, nil, true)
		time.Sleep(time.Second)
		if _, ok := state.Get[*corev1.Pod](p.state, "default", "web"); !ok {
			t.Fatal("a pod that nobody deleted is gone")
		}
		if err := state.Delete[*corev1.Pod](t.Context(), p.state, "default", "web", state.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, ok := state.Get[*corev1.Pod](p.state, "default", "web"); !ok {
			t.Fatal("a pod went before its node had stopped it")
		}
		a.Status(pod, &corev1.PodStatus{Phase: corev1.PodSucceeded}, true)
		time.Sleep(time.Second)
		if _, ok := state.Get[*corev1.Pod](p.state, "default", "web"); ok {
			t.Error("the pod is still there")
		}
		if !a.Connected() {
			t.Error("a refused report ended the session")
		}
	})
}

func TestReportsAboutOthersAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		a := p.join("n1")
		defer a.stop()
		mine, other := p.pod("mine", "n1"), p.pod("other", "n2")
		replaced := mine.DeepCopy()
		replaced.UID = "another"
		failed := &corev1.PodStatus{Phase: corev1.PodFailed}
		a.Status(other, failed, true)
		a.Status(replaced, failed, true)
		event := func(name string, about *corev1.Pod) *corev1.Event {
			return &corev1.Event{
				ObjectMeta:     metav1.ObjectMeta{Namespace: "default", Name: name},
				InvolvedObject: corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: "default", Name: about.Name, UID: about.UID},
				Reason:         "Started", Type: corev1.EventTypeNormal, FirstTimestamp: metav1.Now(), LastTimestamp: metav1.Now(), Count: 1,
			}
		}
		a.Event(event("good", mine))
		a.Event(event("bad", other))
		time.Sleep(time.Second)
		for _, name := range []string{"mine", "other"} {
			if got, ok := state.Get[*corev1.Pod](p.state, "default", name); !ok || got.Status.Phase == corev1.PodFailed {
				t.Errorf("%s: %t, %v", name, ok, got)
			}
		}
		again := event("good", mine)
		again.Count = 2
		a.Event(again)
		time.Sleep(time.Second)
		if e, ok := state.Get[*corev1.Event](p.state, "default", "good"); !ok || e.Count != 2 || e.Source.Host != "n1" {
			t.Errorf("event %t %+v", ok, e)
		}
		if _, ok := state.Get[*corev1.Event](p.state, "default", "bad"); ok {
			t.Error("an event about another node's pod")
		}
		if !a.Connected() {
			t.Error("not connected")
		}
	})
}

func TestCutAndHealed(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		a := p.join("n1")
		defer a.stop()
		gone, stays := p.pod("gone", "n1"), p.pod("stays", "n1")
		a.news()
		p.net.Cut("", true)
		time.Sleep(10 * time.Minute)
		if a.Connected() || p.down.Connected("n1") {
			t.Fatal("still connected")
		}
		if heard, _ := p.down.LastHeard("n1"); time.Since(heard) < 9*time.Minute {
			t.Errorf("heard %v ago", time.Since(heard))
		}
		a.Status(stays, running(stays), false)
		now := int64(0)
		if err := state.Delete[*corev1.Pod](t.Context(), p.state, "default", gone.Name, state.DeleteOptions{Grace: &now}); err != nil {
			t.Fatal(err)
		}
		p.pod("gone", "n1") // another of the name
		p.pod("new", "n1")
		p.net.Cut("", false)
		time.Sleep(2 * time.Minute)
		// Nothing that has not changed is sent: not the node, nor its namespace.
		got := slices.DeleteFunc(a.news(), func(s string) bool { return s == "pod default/stays" }) // its status
		want(t, "after the cut", got, "-pod default/gone", "pod default/gone", "pod default/new")
		if got, _ := state.Get[*corev1.Pod](p.state, "default", "stays"); got.Status.Phase != corev1.PodRunning {
			t.Error("what the node had to say was lost")
		}
	})
}

func TestServerRestarts(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		a := p.join("n1")
		defer a.stop()
		a.news()
		p.stop()
		p.start()
		time.Sleep(5 * time.Second)
		if !a.Connected() {
			t.Fatal("not back after 5 s")
		}
		want(t, "after the restart", a.news())
		// Killed: nobody hears its last words.
		time.Sleep(5 * time.Minute)
		p.net.Cut("", true)
		p.stop()
		p.net.Cut("", false)
		p.start()
		time.Sleep(30 * time.Second)
		if !a.Connected() {
			t.Fatal("not back after a crash and 30 s")
		}
		p.pod("web", "n1")
		want(t, "goes on", a.news(), "namespace default", "pod default/web")
	})
}

func TestAgentRestartsAndUpgrades(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		a := p.join("n1")
		p.pod("web", "n1")
		a.news()
		a.stop()
		a.kernel, a.token = "2", "" // it has joined
		a.start()
		defer a.stop()
		time.Sleep(time.Second)
		want(t, "after the restart", a.news(), "node n1")
		if n, _ := state.Get[*corev1.Node](p.state, "", "n1"); n.Status.NodeInfo.KernelVersion != "2" {
			t.Errorf("%+v", n.Status.NodeInfo)
		}
	})
}

func TestANewerSessionSupersedes(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		a := p.join("n1")
		// The same machine, while its old session hangs.
		twin := newAgent(p, "n1", "")
		twin.dir = a.dir
		a.cancel()
		twin.start()
		defer twin.stop()
		p.check(<-a.ended)
		time.Sleep(time.Second)
		if !twin.Connected() {
			t.Fatal("not connected")
		}
		p.pod("web", "n1")
		want(t, "the newer", twin.news(), "node n1", "namespace default", "pod default/web")
	})
}

func TestHangingSessionIsSuperseded(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		a := p.join("n1")
		twin := newAgent(p, "n1", "")
		twin.dir = a.dir
		twin.start()
		time.Sleep(100 * time.Millisecond)
		if !twin.Connected() || a.Connected() {
			t.Errorf("connected: the newer %t, the older %t", twin.Connected(), a.Connected())
		}
		a.stop()
		twin.stop()
	})
}

func TestJoinsThatCannotSucceedEnd(t *testing.T) {
	other := nodelink.KeyHash([]byte("other"))
	cases := map[string]struct {
		token func(p *plane) string
		says  string
	}{
		"unknown token": {func(p *plane) string { return pki.NewToken(p.pki.CAHash()).String() }, "wherry token create"},
		"wrong secret":  {func(p *plane) string { t := p.token(time.Hour); return t[:15] + "0000000000000000" + t[31:] }, "wherry token create"},
		"expired token": {func(p *plane) string { t := p.token(time.Minute); time.Sleep(time.Hour); return t }, "expired"},
		"wrong CA": {func(p *plane) string {
			t, err := nodelink.ParseToken(p.token(time.Hour))
			p.check(err)
			t.CAHash = other
			return t.String()
		}, "certificate authority"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, p *plane) {
				a := newAgent(p, "n1", c.token(p))
				a.start()
				err := <-a.ended
				a.cancel()
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("ended with %v", err)
				}
				if _, ok := state.Get[*corev1.Node](p.state, "", "n1"); ok {
					t.Error("a node was made")
				}
			})
		})
	}
}

func TestATakenNameIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		a := p.join("n1")
		a.stop()
		thief := newAgent(p, "n1", p.token(time.Hour))
		thief.start()
		err := <-thief.ended
		if err == nil || !strings.Contains(err.Error(), "kubectl delete node n1") {
			t.Errorf("ended with %v", err)
		}
		if err := state.Delete[*corev1.Node](t.Context(), p.state, "", "n1", state.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		thief.start()
		time.Sleep(time.Second)
		if !thief.Connected() {
			t.Error("the name is free, but cannot be taken")
		}
		// The one before it cannot come back.
		a.start()
		time.Sleep(time.Minute)
		if a.Connected() || !thief.Connected() {
			t.Errorf("connected: the one before %t, the new one %t", a.Connected(), thief.Connected())
		}
		a.stop()
		thief.stop()
	})
}

func TestAnotherClustersNodeIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		a := p.join("n1")
		a.stop()
		// The control plane was made anew at the same address.
		p.stop()
		p.dir = t.TempDir()
		var err error
		if p.pki, err = pki.Open(p.dir, pki.Options{}); err != nil {
			t.Fatal(err)
		}
		p.start()
		a.start()
		time.Sleep(time.Minute)
		if a.Connected() {
			t.Error("connected to another cluster")
		}
		a.stop()
		if _, err := uplink.New(uplink.Config{Dir: a.dir, NodeName: "n1", Token: p.token(time.Hour)}); err == nil || !strings.Contains(err.Error(), "another data directory") {
			t.Errorf("a token of another cluster: %v", err)
		}
		if _, err := uplink.New(uplink.Config{Dir: a.dir, NodeName: "n2"}); err == nil || !strings.Contains(err.Error(), "system:node:n1") {
			t.Errorf("another name: %v", err)
		}
		if _, err := uplink.New(uplink.Config{Dir: t.TempDir(), NodeName: "n2"}); err == nil || !strings.Contains(err.Error(), "--token") {
			t.Errorf("no token: %v", err)
		}
	})
}

func TestCertificatesAreRenewed(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		p.stop()
		var err error
		if p.pki, err = pki.Open(p.dir, pki.Options{NodeLife: 3 * time.Hour}); err != nil {
			t.Fatal(err)
		}
		p.start()
		a := p.join("n1")
		a.token = ""
		for range 4 {
			time.Sleep(150 * time.Minute)
			a.stop()
			a.start()
			time.Sleep(time.Second)
			if !a.Connected() {
				t.Fatal("its certificate has expired")
			}
		}
		a.stop()
	})
}

func TestStreamsToTheAgent(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		a := newAgent(p, "n1", p.token(time.Hour))
		a.open = func(_ context.Context, o *nodelink.Open) (uplink.Serve, error) {
			l := o.GetLog()
			if l.GetPod() != "web" {
				return nil, errors.New("no such pod here")
			}
			return func(_ context.Context, s link.Stream) {
				fmt.Fprint(s, "log of ", l.Container)
				s.Close()
			}, nil
		}
		a.start()
		defer a.stop()
		time.Sleep(time.Second)
		logs := func(node, pod string) (string, error) {
			s, err := p.down.Open(t.Context(), node, &nodelink.Open{Body: &nodelink.Open_Log{Log: &nodelink.Log{Pod: pod, Container: "c"}}})
			if err != nil {
				return "", err
			}
			defer s.Close()
			b, err := io.ReadAll(s)
			return string(b), err
		}
		if got, err := logs("n1", "web"); got != "log of c" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		var no *downlink.OpenError
		if _, err := logs("n1", "other"); !errors.As(err, &no) || no.Error() != "no such pod here" {
			t.Errorf("got %v", err)
		}
		if _, err := logs("n2", "web"); !errors.Is(err, downlink.ErrNoSession) {
			t.Errorf("got %v", err)
		}
		p.net.Cut("", true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.down.Open(ctx, "n1", &nodelink.Open{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestRegistry(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		a := newAgent(p, "n1", p.token(time.Hour))
		a.start()
		client := &http.Client{Transport: a.Registry(), Timeout: time.Minute}
		if _, err := client.Get("http://cluster/v2/"); !errors.Is(err, uplink.ErrOffline) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Second)
		var work sync.WaitGroup
		for i := range 10 {
			work.Go(func() {
				answer, err := client.Get(fmt.Sprintf("https://cluster/v2/%d", i))
				if err != nil {
					t.Error(err)
					return
				}
				defer answer.Body.Close()
				if b, err := io.ReadAll(answer.Body); string(b) != fmt.Sprintf("registry /v2/%d", i) {
					t.Errorf("got %q, %v", b, err)
				}
			})
		}
		work.Wait()
		a.stop()
	})
}

func TestTunnels(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		a := p.join("n1")
		defer a.stop()
		b := newAgent(p, "n2", p.token(time.Hour))
		b.open = func(_ context.Context, o *nodelink.Open) (uplink.Serve, error) {
			tunnel := o.GetTunnel()
			if tunnel.GetPort() != 80 {
				return nil, fmt.Errorf("nobody listens on %d", tunnel.GetPort())
			}
			return func(_ context.Context, s link.Stream) {
				question, _ := io.ReadAll(s) // until half-close
				fmt.Fprintf(s, "%s to %s says %s", tunnel.Source, tunnel.Address, question)
				s.Close()
			}, nil
		}
		b.start()
		defer b.stop()
		time.Sleep(time.Second)
		settle()
		mine, theirs := inside(a.welcome.PodCidr), inside(b.welcome.PodCidr)
		s, err := a.Tunnel(t.Context(), &nodelink.Tunnel{Network: "tcp", Address: theirs, Port: 80, Source: mine})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(s, "hello")
		if err := s.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(s)
		if want := mine + " to " + theirs + " says hello"; string(answer) != want || err != nil {
			t.Errorf("got %q, %v", answer, err)
		}
		s.Close()
		for says, bad := range map[string]*nodelink.Tunnel{
			"nobody listens on 81":      {Network: "tcp", Address: theirs, Port: 81, Source: mine},
			"no node has":               {Network: "tcp", Address: "192.0.2.1", Port: 80, Source: mine},
			"is no pod of node n1":      {Network: "tcp", Address: theirs, Port: 80, Source: theirs},
			"address of the node":       {Network: "tcp", Address: mine, Port: 80, Source: mine},
			"tunnel to icmp":            {Network: "icmp", Address: theirs, Port: 80, Source: mine},
			"port 0":                    {Network: "tcp", Address: theirs, Source: mine},
			`tunnel to tcp "localhost"`: {Network: "tcp", Address: "localhost", Port: 80},
		} {
			if _, err := a.Tunnel(t.Context(), bad); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%v: got %v", bad, err)
			}
		}
	})
}

// inside is an address of a block that ends in .0/22.
func inside(cidr string) string { return strings.TrimSuffix(cidr, "0/22") + "7" }

func TestAThousandPodsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		a := p.join("n1")
		defer a.stop()
		var pods []*corev1.Pod
		for i := range 1000 {
			pods = append(pods, p.pod(fmt.Sprint("p", i), "n1"))
		}
		synctest.Wait()
		time.Sleep(10 * time.Second)
		for _, pod := range pods {
			a.Status(pod, running(pod), false)
		}
		time.Sleep(10 * time.Second)
		n := 0
		for _, pod := range state.List[*corev1.Pod](p.state, state.Selector{Node: "n1"}) {
			if pod.Status.Phase == corev1.PodRunning {
				n++
			}
		}
		if has := len(a.holds()); n != 1000 || has != 1002 {
			t.Errorf("%d running, the node has %d objects", n, has)
		}
	})
}
