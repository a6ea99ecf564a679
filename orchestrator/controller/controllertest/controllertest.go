// Package controllertest runs controllers over a real state in a synctest bubble, beside a
// kubelet that makes pods run.
package controllertest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store/memstore"
)

// Cluster is a state with controllers on it.
type Cluster struct {
	T     *testing.T
	State *state.State
	Events
}

// Run runs f in a bubble with the controllers and a namespace "default". Everything has ended when it
// returns.
func Run(t *testing.T, start func(s *state.State, e controller.Events) []controller.Controller, f func(c *Cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		below, stopBelow := context.WithCancel(t.Context()) // state outlives its readers
		ctx, cancel := context.WithCancel(below)
		st := memstore.New()
		s, err := state.Open(ctx, st, state.Options{Kinds: resource.New()})
		if err != nil {
			t.Fatal(err)
		}
		c := &Cluster{T: t, State: s}
		var wg, following sync.WaitGroup
		following.Go(func() { c.ended(s.Run(below)) })
		wg.Go(func() { c.ended(controller.Run(ctx, s, slog.New(slog.DiscardHandler), nil, start(s, c)...)) })
		Create(c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
		f(c)
		cancel()
		wg.Wait()
		stopBelow()
		following.Wait()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (c *Cluster) ended(err error) {
	if err != nil {
		c.T.Error(err)
	}
}

// Settle waits until nothing happens any more without time passing, and some more time.
func (c *Cluster) Settle(more time.Duration) {
	synctest.Wait()
	time.Sleep(more) // virtual
	synctest.Wait()
}

// Create stores an object.
func Create[T state.Object](c *Cluster, obj T) T {
	c.T.Helper()
	made, err := state.Create(c.T.Context(), c.State, obj)
	if err != nil {
		c.T.Fatal(err)
	}
	return made
}

// Apply stores an object that is written in YAML.
func Apply[T state.Object](c *Cluster, text string, into T) T {
	c.T.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
		c.T.Fatal(err)
	}
	return Create(c, into)
}

// Change updates an object of the namespace default.
func Change[T state.Object](c *Cluster, name string, change func(T)) {
	c.T.Helper()
	_, err := state.Update(c.T.Context(), c.State, "default", name, func(obj T) error {
		change(obj)
		return nil
	})
	if err != nil {
		c.T.Fatal(err)
	}
}

// Kubelet is a controller that makes every pod run and ready as soon as it exists, unless
// Broken says that it never will; and lets pods go that are being deleted.
func Kubelet(s *state.State, broken func(*corev1.Pod) bool) controller.Controller {
	return controller.Controller{
		Name:    "kubelet",
		Sources: []controller.Source{controller.On(controller.Self[*corev1.Pod])},
		Reconcile: func(ctx context.Context, key controller.Key) (time.Duration, error) {
			p, ok := state.Get[*corev1.Pod](s, key.Namespace, key.Name)
			switch {
			case !ok:
				return 0, nil
			case p.DeletionTimestamp != nil:
				now := int64(0)
				return 0, state.Delete[*corev1.Pod](ctx, s, p.Namespace, p.Name, state.DeleteOptions{Grace: &now})
			case controller.IsReady(p) || broken != nil && broken(p):
				return 0, nil
			}
			_, err := state.UpdateStatus(ctx, s, p.Namespace, p.Name, makeReady)
			return 0, err
		},
	}
}

func makeReady(p *corev1.Pod) error {
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = slices.DeleteFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady })
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
		Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(time.Now().Truncate(time.Second)),
	})
	return nil
}

// Events remembers what controllers told.
type Events struct {
	mu  sync.Mutex
	all []string
}

// Eventf implements controller.Events.
func (e *Events) Eventf(obj state.Object, eventtype, reason, format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, fmt.Sprintf("%s %s %s", obj.GetName(), reason, fmt.Sprintf(format, args...)))
}

// Told returns the events so far.
func (e *Events) Told() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.all...)
}
