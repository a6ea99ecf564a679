package state_test

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store"
	"wherry/orchestrator/store/memstore"
)

// open runs a state over st until the test ends.
func open(t testing.TB, st store.Store, o state.Options) *state.State {
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
		if err := <-done; !errors.Is(err, context.Canceled) && !errors.Is(err, store.ErrClosed) {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

func fresh(t testing.TB) *state.State {
	return open(t, memstore.New(), state.Options{})
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Data:       map[string]string{"k": "v"},
	}
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "hello:v1"}}},
	}
}

func TestSmoke(t *testing.T) {
	s := fresh(t)
	ctx := t.Context()
	created := must[*corev1.ConfigMap](t)(state.Create(ctx, s, configMap("a")))
	if created.UID == "" || created.ResourceVersion == "" || created.Kind != "ConfigMap" {
		t.Errorf("created %+v", created.ObjectMeta)
	}
	p := must[*corev1.Pod](t)(state.Create(ctx, s, pod("p")))
	t.Log(p)
	if errs := s.Bind(ctx, []state.Binding{{Namespace: "default", Name: "p", Node: "n"}}); errs[0] != nil {
		t.Fatal(errs)
	}
	if got := state.List[*corev1.Pod](s, state.Selector{Node: "n"}); len(got) != 1 {
		t.Fatal(got)
	}
}
