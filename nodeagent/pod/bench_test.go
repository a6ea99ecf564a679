package pod

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"wherry/nodeagent/runtime"
	"wherry/nodeagent/runtime/fake"
)

func BenchmarkStepAndStatus(b *testing.B) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "u1"}}
	p.Spec.Containers = []corev1.Container{{Name: "app", Image: "i"}, {Name: "helper", Image: "i"}}
	now := time.Now()
	h := newHave(now, p)
	h.prepared(nil)
	h.attached("10.42.0.5")
	for c := range containers(p) {
		h.observed("fake", runtime.Status{ID: runtime.ID{Pod: "u1", Container: c.Name}, State: runtime.Running, Started: now})
	}
	h.settle(p)
	h.Reported = Status(now, p, h)
	b.ReportAllocs()
	for b.Loop() {
		h.Reported = Status(now, p, h)
		if a := Step(now, p, h); a.Verb != Wait {
			b.Fatal(a)
		}
	}
}

// nothing is what pods need, for free. It tells when a pod runs.
type nothing struct{ running chan string }

func (nothing) Present(context.Context, string) bool { return true }
func (nothing) InUse(string, []string)               {}
func (nothing) Ensure(_ context.Context, ref, _ string, _ [][]byte) (runtime.Image, error) {
	return runtime.Image{Ref: ref, Digest: "sha256:abc", Kind: "wasm"}, nil
}
func (nothing) ConfigMap(string, string) *corev1.ConfigMap { return nil }
func (nothing) Secret(string, string) *corev1.Secret       { return nil }
func (nothing) Token(string, string, int64) string         { return "" }
func (nothing) Services(string) []*corev1.Service          { return nil }
func (nothing) Prepare(context.Context, *corev1.Pod, Objects) (map[string]string, error) {
	return nil, nil
}
func (nothing) Update(context.Context, *corev1.Pod, Objects) error     { return nil }
func (nothing) Remove(context.Context, string) error                   { return nil }
func (nothing) Attach(context.Context, Attachment) (string, error)     { return "10.42.0.5", nil }
func (nothing) Detach(string)                                          {}
func (nothing) Dial(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }
func (nothing) Event(*corev1.Event)                                    {}
func (n nothing) Status(p *corev1.Pod, s *corev1.PodStatus, gone bool) {
	if s.Phase == corev1.PodRunning {
		n.running <- string(p.UID)
	}
}

// BenchmarkThousandPods is from Update to Running of a thousand pods, without images and guests.
func BenchmarkThousandPods(b *testing.B) {
	for b.Loop() {
		n := nothing{make(chan string, 10_000)}
		m := &fake.Machine{Name: "wasm", Attached: true}
		driver := m.Driver()
		ws := New(Config{
			Node: "n1", Folders: Folders(b.TempDir()), Log: slog.New(slog.DiscardHandler),
			Images: n, Objects: n, Volumes: n, Network: n, Reports: n,
			Runtimes: []runtime.Runtime{driver},
		})
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- ws.Run(ctx) }()
		for i := range 1000 {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("web-", i), Namespace: "default", UID: types.UID(fmt.Sprint(i))}}
			p.Spec.Containers = []corev1.Container{{Name: "app", Image: "i"}}
			ws.Update(p)
		}
		seen := map[string]bool{}
		for len(seen) < 1000 {
			seen[<-n.running] = true
		}
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		driver.Close()
	}
}
