package state_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store"
	"wherry/orchestrator/store/boltstore"
	"wherry/orchestrator/store/memstore"
)

// harness is a running state and the words in which behaviours are told.
type harness struct {
	*testing.T
	*state.State
	ctx   context.Context
	store store.Store
}

// overStores runs a behaviour on a state over each kind of store.
func overStores(t *testing.T, behaviour func(h *harness)) {
	t.Run("memstore", func(t *testing.T) {
		behaviour(start(t, memstore.New(), state.Options{}))
	})
	t.Run("boltstore", func(t *testing.T) {
		st, err := boltstore.Open(filepath.Join(t.TempDir(), "state.db"), boltstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		})
		behaviour(start(t, st, state.Options{}))
	})
}

// start runs a state over st until the test ends. A behaviour that hangs ends by a deadline.
func start(t *testing.T, st store.Store, o state.Options) *harness {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return &harness{T: t, State: run(t, st, o), ctx: ctx, store: st}
}

func run(t testing.TB, st store.Store, o state.Options) *state.State {
	t.Helper()
	if o.Kinds == nil {
		o.Kinds = resource.New()
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := state.Open(ctx, st, o)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

func (h *harness) kind(obj state.Object) *resource.Kind {
	h.Helper()
	k, ok := h.Kinds().For(obj)
	if !ok {
		h.Fatalf("no kind for %T", obj)
	}
	return k
}

func (h *harness) pods() *resource.Kind    { return h.kind((*corev1.Pod)(nil)) }
func (h *harness) configs() *resource.Kind { return h.kind((*corev1.ConfigMap)(nil)) }

// create stores obj as the control plane.
func (h *harness) create(obj state.Object) state.Object {
	h.Helper()
	return h.createAs(obj, state.CreateOptions{})
}

func (h *harness) createAs(obj state.Object, o state.CreateOptions) state.Object {
	h.Helper()
	out, err := h.Create(h.ctx, h.kind(obj), obj, o)
	if err != nil {
		h.Fatalf("create %s: %v", obj.GetName(), err)
	}
	return out
}

// set changes the data of a ConfigMap and returns the new one.
func (h *harness) set(name, value string) *corev1.ConfigMap {
	h.Helper()
	cm, err := state.Update(h.ctx, h.State, "default", name, func(cm *corev1.ConfigMap) error {
		cm.Data = map[string]string{"k": value}
		return nil
	})
	if err != nil {
		h.Fatalf("update %s: %v", name, err)
	}
	return cm
}

func (h *harness) delete(obj state.Object, o state.DeleteOptions) (state.Object, bool) {
	h.Helper()
	last, gone, err := h.Delete(h.ctx, h.kind(obj), obj.GetNamespace(), obj.GetName(), o)
	if err != nil {
		h.Fatalf("delete %s: %v", obj.GetName(), err)
	}
	return last, gone
}

func (h *harness) list(k *resource.Kind, o state.ListOptions) *state.Page {
	h.Helper()
	p, err := h.List(h.ctx, k, o)
	if err != nil {
		h.Fatalf("list: %v", err)
	}
	return p
}

func names(entries []*state.Entry) (out []string) {
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Data:       map[string]string{"k": "v"},
	}
}

func labelled(name string, labels map[string]string) *corev1.ConfigMap {
	cm := configMap(name)
	cm.Labels = labels
	return cm
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "hello:v1"}}},
	}
}

func service(name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

func manyConfigs(h *harness, n int) {
	for i := range n {
		h.create(configMap(fmt.Sprintf("c%03d", i)))
	}
}

func ptr[T any](v T) *T { return &v }
