package pod

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/nodeagent/runtime"
	"wherry/nodeagent/runtime/fake"
)

// world is a node in a bubble: the fake runtime and everything that pods need, in memory.
type world struct {
	*testing.T
	machine *fake.Machine
	dir     string
	workers *Workers
	stop    func() // ends the agent, not the containers

	mu        sync.Mutex
	calls     []string
	statuses  map[string]*corev1.PodStatus
	gone      map[string]bool
	events    []string
	counts    map[string]int32
	objects   map[string]any // "kind namespace/name"
	pull      func(ctx context.Context, ref string) error
	listeners map[string]func(net.Conn) // by address
}

func inWorld(t *testing.T, test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			T: t, machine: &fake.Machine{}, dir: t.TempDir(),
			statuses: map[string]*corev1.PodStatus{}, gone: map[string]bool{}, counts: map[string]int32{},
			objects: map[string]any{}, listeners: map[string]func(net.Conn){},
		}
		w.boot()
		test(w)
		w.stop()
		w.machine.Halt()
	})
}

// boot starts an agent that knows pods from before.
func (w *world) boot(pods ...*corev1.Pod) {
	driver := w.machine.Driver()
	w.workers = New(Config{
		Node: "n1", Address: "192.0.2.1", Folders: Folders(filepath.Join(w.dir, "pods")),
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil)),
		Images: w, Objects: w, Volumes: w, Network: w, Reports: reports{w}, Runtimes: []runtime.Runtime{driver},
	})
	for _, p := range pods {
		w.workers.Update(p)
	}
	ctx, cancel := context.WithCancel(w.Context())
	done := make(chan error, 1)
	go func() { done <- w.workers.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.Error(err)
		}
		if err := driver.Close(); err != nil {
			w.Error(err)
		}
	}
	synctest.Wait()
}

// restart stops the agent and starts another one, which remembers the pods with the statuses that were reported last.
func (w *world) restart(pods ...*corev1.Pod) {
	w.stop()
	w.counts = map[string]int32{} // events are told anew
	for i, p := range pods {
		p = p.DeepCopy()
		p.Status = *w.status(p)
		pods[i] = p
	}
	w.boot(pods...)
}

func (w *world) call(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, fmt.Sprintf(format, args...))
}

// called returns what pods have asked for.
func (w *world) called() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls)
}

// pulling sets what pulls do.
func (w *world) pulling(pull func(ctx context.Context, ref string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pull = pull
}

// after lets time go by until everything is at rest.
func (w *world) after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (w *world) update(p *corev1.Pod) *corev1.Pod {
	w.workers.Update(p)
	synctest.Wait()
	return p
}

func (w *world) delete(p *corev1.Pod, seconds int64) {
	p = p.DeepCopy()
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: time.Now()}, &seconds
	w.update(p)
}

func (w *world) status(p *corev1.Pod) *corev1.PodStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.statuses[string(p.UID)]; s != nil {
		return s
	}
	return &corev1.PodStatus{}
}

func (w *world) isGone(p *corev1.Pod) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gone[string(p.UID)]
}

// want compares the pod's phase and containers, as in stories.
func (w *world) want(p *corev1.Pod, want string) {
	w.Helper()
	s := w.status(p)
	words := []string{string(s.Phase)}
	for _, c := range append(slices.Clone(s.InitContainerStatuses), s.ContainerStatuses...) {
		words = append(words, c.Name+":"+describe(c))
	}
	if got := strings.Join(words, " "); got != want {
		w.Errorf("after %v: the pod is %q, want %q", time.Since(epoch), got, want)
	}
}

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// wantEvents compares "Type Reason Message" of all events since the last call.
func (w *world) wantEvents(want ...string) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.events, want) {
		w.Errorf("events:\n  %s\nwant:\n  %s", strings.Join(w.events, "\n  "), strings.Join(want, "\n  "))
	}
	w.events = nil
}

func (w *world) wantEvent(want string) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.events, want) {
		w.Errorf("no event %q in:\n  %s", want, strings.Join(w.events, "\n  "))
	}
	w.events = nil
}

func (w *world) pod(spec string) *corev1.Pod {
	p := parsePod(w.T, []byte("spec:\n  containers:\n"+spec))
	p.Status.QOSClass = corev1.PodQOSBestEffort
	return p
}

// What the workers need.

func (w *world) Present(context.Context, string) bool { return false }

func (w *world) Ensure(ctx context.Context, ref, policy string, secrets [][]byte) (runtime.Image, error) {
	w.call("ensure %s %s %s", ref, policy, secrets)
	w.mu.Lock()
	pull := w.pull
	w.mu.Unlock()
	if pull != nil {
		if err := pull(ctx, ref); err != nil {
			return runtime.Image{}, err
		}
	}
	return runtime.Image{Ref: ref, Digest: "sha256:abc", Kind: "fake", Env: []string{"FROM=image"}}, nil
}

func (w *world) InUse(uid string, digests []string) { w.call("in use %s %s", uid, digests) }

func (w *world) object(kind, namespace, name string) any {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.objects[kind+" "+namespace+"/"+name]
}

func (w *world) put(kind, name string, object any) {
	w.mu.Lock()
	w.objects[kind+" default/"+name] = object
	w.mu.Unlock()
	w.workers.ObjectsChanged("default")
	synctest.Wait()
}

func (w *world) ConfigMap(namespace, name string) *corev1.ConfigMap {
	o, _ := w.object("ConfigMap", namespace, name).(*corev1.ConfigMap)
	return o
}

func (w *world) Token(string, string, int64) string { return "" }

func (w *world) Secret(namespace, name string) *corev1.Secret {
	o, _ := w.object("Secret", namespace, name).(*corev1.Secret)
	return o
}

func (w *world) Services(namespace string) []*corev1.Service {
	o, ok := w.object("Service", namespace, "web").(*corev1.Service)
	if !ok {
		return nil
	}
	return []*corev1.Service{o}
}

func (w *world) Prepare(_ context.Context, p *corev1.Pod, _ Objects) (map[string]string, error) {
	w.call("prepare")
	paths := map[string]string{}
	for _, v := range p.Spec.Volumes {
		if v.Secret != nil && w.Secret(p.Namespace, v.Secret.SecretName) == nil {
			return nil, fmt.Errorf("MountVolume.SetUp failed for volume %q : secret %q not found", v.Name, v.Secret.SecretName)
		}
		paths[v.Name] = w.dir
	}
	return paths, nil
}

func (w *world) Update(context.Context, *corev1.Pod, Objects) error {
	w.call("refresh")
	return nil
}

func (w *world) Remove(context.Context, string) error {
	w.call("remove volumes")
	return nil
}

func (w *world) Attach(_ context.Context, a Attachment) (string, error) {
	w.call("attach %s", a.Address)
	return "10.42.0.5", nil
}

func (w *world) Detach(uid string) { w.call("detach %s", uid) }

// serve answers connections to an address.
func (w *world) serve(address string, serve func(net.Conn)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listeners[address] = serve
}

func (w *world) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	serve := w.listeners[address]
	w.mu.Unlock()
	if serve == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("connection refused")}
	}
	here, there := net.Pipe()
	go serve(there)
	return here, nil
}

// reports are what the control plane is told.
type reports struct{ w *world }

func (r reports) Status(p *corev1.Pod, s *corev1.PodStatus, gone bool) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.w.statuses[string(p.UID)] = s
	r.w.gone[string(p.UID)] = gone
}

func (r reports) Event(e *corev1.Event) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if e.Count != r.w.counts[e.Name]+1 {
		r.w.Errorf("count of %s went from %d to %d", e.Message, r.w.counts[e.Name], e.Count)
	}
	r.w.counts[e.Name] = e.Count
	r.w.events = append(r.w.events, strings.Join([]string{e.Type, e.Reason, e.Message}, " "))
}
