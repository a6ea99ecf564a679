package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	namespace = metav1.NamespaceDefault
	image     = "hello:v1"
	address   = "127.0.0.1:30999"
	nodePort  = 30999
)

func hello(name, app string) *corev1.Pod {
	grace := int64(1)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers:                    []corev1.Container{{Name: "hello", Image: image, Ports: []corev1.ContainerPort{{ContainerPort: 8080}}}},
		},
	}
}

// firstByte measures from the creation of a pod whose image is present to the first byte through a node port.
func (b *bench) firstByte(ctx context.Context, c *api) error {
	const times = 5
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "hello"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": "hello"},
			Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080), NodePort: nodePort}},
		},
	}
	if _, err := c.CoreV1().Services(namespace).Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := c.life(ctx, "warm"); err != nil { // pulls and compiles
		return err
	}
	for i := range times {
		s, err := c.life(ctx, fmt.Sprint("hello-", i))
		if err != nil {
			return err
		}
		b.table.add("POST of a Wasm pod to its first byte", "ms", 25, milliseconds(s.answered))
		b.table.add("  schedule: POST to the event with a node", "ms", 0, milliseconds(s.scheduled))
		b.table.add("  link and start: to the event that it runs", "ms", 0, milliseconds(s.running-s.scheduled))
		b.table.add("  route: to the first byte", "ms", 0, milliseconds(s.answered-s.running))
	}
	return nil
}

// steps of a pod, since its POST.
type steps struct{ scheduled, running, answered time.Duration }

// life creates a pod, notes when it gets on, and deletes it.
func (c *api) life(ctx context.Context, name string) (s steps, err error) {
	pods := c.CoreV1().Pods(namespace)
	w, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		return s, err
	}
	defer w.Stop()
	group, grouped := errgroup.WithContext(ctx)
	begun := time.Now()
	if _, err := pods.Create(ctx, hello(name, "hello"), metav1.CreateOptions{}); err != nil {
		return s, err
	}
	group.Go(func() error {
		return follow(grouped, w, func(e watch.Event, p *corev1.Pod) bool {
			if s.scheduled == 0 && p.Spec.NodeName != "" {
				s.scheduled = time.Since(begun)
			}
			if p.Status.Phase == corev1.PodRunning {
				s.running = time.Since(begun)
			}
			return s.running > 0
		})
	})
	group.Go(func() (err error) { s.answered, err = firstAnswer(grouped, begun); return err })
	if err := group.Wait(); err != nil {
		return s, err
	}
	if err := pods.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return s, err
	}
	if err := follow(ctx, w, func(e watch.Event, _ *corev1.Pod) bool { return e.Type == watch.Deleted }); err != nil {
		return s, err
	}
	return s, noAnswer(ctx)
}

// follow hands over the events of a watch until done says true.
func follow(ctx context.Context, w watch.Interface, done func(watch.Event, *corev1.Pod) bool) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e, ok := <-w.ResultChan():
			p, isPod := e.Object.(*corev1.Pod)
			if !ok || !isPod {
				return fmt.Errorf("the watch ended: %v %v", e.Type, e.Object)
			}
			if done(e, p) {
				return nil
			}
		}
	}
}

// firstAnswer asks until a byte of an answer comes.
func firstAnswer(ctx context.Context, begun time.Time) (time.Duration, error) {
	for {
		if answers(ctx) {
			return time.Since(begun), nil
		}
		if err := pause(ctx, time.Millisecond/2); err != nil {
			return 0, err
		}
	}
}

// noAnswer returns when nobody answers any more.
func noAnswer(ctx context.Context) error {
	for answers(ctx) {
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

func answers(ctx context.Context) bool {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return false
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n"); err != nil {
		return false
	}
	n, err := conn.Read(make([]byte, 1))
	return n == 1 && err == nil
}

// thousandPods measures from the first creation of 1,000 pods to the moment when all of them run.
func (b *bench) thousandPods(ctx context.Context, c *api) error {
	const all, clients = 1000, 16
	pods := c.CoreV1().Pods(namespace)
	w, err := pods.Watch(ctx, metav1.ListOptions{LabelSelector: "app=many"})
	if err != nil {
		return err
	}
	defer w.Stop()
	begun := time.Now()
	group, grouped := errgroup.WithContext(ctx)
	for client := range clients {
		group.Go(func() error {
			for i := client; i < all; i += clients {
				if _, err := pods.Create(grouped, hello(fmt.Sprint("many-", i), "many"), metav1.CreateOptions{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	running := map[string]bool{}
	group.Go(func() error {
		return follow(grouped, w, func(_ watch.Event, p *corev1.Pod) bool {
			if p.Status.Phase == corev1.PodRunning {
				running[p.Name] = true
			}
			return len(running) == all
		})
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("%d of %d run: %w", len(running), all, err)
	}
	b.table.add("creation of 1,000 Wasm pods until all run", "ms", 0, milliseconds(time.Since(begun)))
	return b.rss("memory of `wherry up` with 1,000 Wasm pods", 0, c.process)
}
