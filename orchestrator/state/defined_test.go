package state_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store/memstore"
)

// defining makes every ConfigMap whose data have a kind define it, with the color that objects have
// if they do not say.
func defining() *resource.Registry {
	kinds := resource.New()
	configs, _ := kinds.For((*corev1.ConfigMap)(nil))
	configs.Defines = func(obj state.Object) []*resource.Kind {
		cm := obj.(*corev1.ConfigMap)
		if cm.Data["kind"] == "" {
			return nil
		}
		return []*resource.Kind{thing(cm.Data["kind"], cm.Data["color"])}
	}
	return kinds
}

func thing(name, color string) *resource.Kind {
	gvk := schema.GroupVersionKind{Group: "example.org", Version: "v1", Kind: name}
	paint := func(obj state.Object) {
		u := obj.(*unstructured.Unstructured)
		if _, painted := u.Object["color"]; !painted && color != "" {
			u.Object["color"] = color
		}
	}
	return &resource.Kind{
		GroupVersionKind: gvk, Plural: name + "s", Singular: name, Namespaced: true,
		New: resource.NewUnstructured(gvk), NewList: resource.NewUnstructuredList(gvk),
		UnconditionalUpdate: true, Custom: &resource.Custom{}, Decoded: paint, Default: paint,
	}
}

var boats = schema.GroupVersionResource{Group: "example.org", Version: "v1", Resource: "boats"}

func boat(name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"hull": "steel"}}
	u.SetAPIVersion("example.org/v1")
	u.SetKind("boat")
	u.SetNamespace("default")
	u.SetName(name)
	return u
}

// define stores what defines the kind boat.
func (h *harness) define(color string) {
	h.Helper()
	_, _, err := h.Update(h.ctx, h.configs(), "default", "boats", func(state.Object) (state.Object, error) {
		return &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "boats"},
			Data:       map[string]string{"kind": "boat", "color": color},
		}, nil
	}, state.UpdateOptions{Create: true})
	if err != nil {
		h.Fatal(err)
	}
}

func (h *harness) boats() *resource.Kind {
	h.Helper()
	k, ok := h.Kinds().Resource(boats)
	if !ok {
		h.Fatal("boats are no kind")
	}
	return k
}

func (h *harness) color(name string) string {
	h.Helper()
	e, err := h.Get(h.ctx, h.boats(), "default", name)
	if err != nil {
		h.Fatal(err)
	}
	color, _, _ := unstructured.NestedString(e.Object().(*unstructured.Unstructured).Object, "color")
	return color
}

// A kind is there as soon as the write that defines it is answered, and gone as soon as the write is that withdraws it.
func TestKindsComeAndGo(t *testing.T) {
	h := start(t, memstore.New(), state.Options{Kinds: defining()})
	_, before := h.Kinds().Now()
	changed := h.Kinds().Changed()
	h.define("")
	kind := h.boats()
	if _, generation := h.Kinds().Now(); generation == before {
		t.Error("the generation of kinds is the same")
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was told of the new kind")
	}
	created, err := h.Create(h.ctx, kind, boat("wherry"), state.CreateOptions{})
	if err != nil || created.GetUID() == "" || created.GetResourceVersion() == "" {
		t.Fatalf("%v %v", created, err)
	}
	w, err := h.Watch(h.ctx, kind, state.WatchOptions{Initial: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := state.Delete[*corev1.ConfigMap](h.ctx, h.State, "default", "boats", state.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, ok := h.Kinds().Resource(boats); ok {
		t.Error("the kind is still served")
	}
	if _, err := h.Create(h.ctx, kind, boat("late"), state.CreateOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("writing an object of a withdrawn kind: %v", err)
	}
	if _, err := h.Get(h.ctx, kind, "default", "wherry"); !apierrors.IsNotFound(err) {
		t.Errorf("reading an object of a withdrawn kind: %v", err)
	}
	if page, err := h.State.List(h.ctx, kind, state.ListOptions{}); err != nil || len(page.Entries) > 0 {
		t.Errorf("listing a withdrawn kind: %v %v", page, err)
	}
	for err == nil {
		_, _, err = w.Next(h.ctx)
	}
	if !errors.Is(err, state.ErrWithdrawn) {
		t.Errorf("the watch ended with %v", err)
	}
}

// What a kind says anew is true of objects that were written, read and encoded before.
func TestKindIsDefinedAnew(t *testing.T) {
	h := start(t, memstore.New(), state.Options{Kinds: defining()})
	h.define("red")
	if _, err := h.Create(h.ctx, h.boats(), boat("painted"), state.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	h.define("")
	if _, err := h.Create(h.ctx, h.boats(), boat("bare"), state.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	e, err := h.Get(h.ctx, h.boats(), "default", "bare")
	if err != nil {
		t.Fatal(err)
	}
	before := string(e.JSON())
	kept := h.boats()
	h.define("blue")
	if got := h.color("painted") + " " + h.color("bare"); got != "red blue" {
		t.Errorf("the colors are %s", got)
	}
	if after := string(e.JSON()); after == before {
		t.Errorf("JSON is still %s", after)
	}
	if _, err := h.Get(h.ctx, kept, "default", "bare"); err != nil {
		t.Errorf("through the kind as it was: %v", err)
	}
}

// A new state over the same store has the kinds and their objects.
func TestDefinedKindsAreThereAfterRestart(t *testing.T) {
	st := memstore.New()
	h := start(t, st, state.Options{Kinds: defining()})
	h.define("red")
	if _, err := h.Create(h.ctx, h.boats(), boat("wherry"), state.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	again := start(t, st, state.Options{Kinds: defining()})
	if got := again.color("wherry"); got != "red" {
		t.Errorf("after a restart the boat is %q", got)
	}
}

// Kinds come and go while others list, watch and write. Whatever the order, nothing breaks and no answer
// is but one of the two that are right.
func TestKindsRaceWithTheirUse(t *testing.T) {
	h := start(t, memstore.New(), state.Options{Kinds: defining()})
	h.define("red")
	kind := h.boats()
	done := make(chan struct{})
	watching, stop := context.WithCancel(h.ctx)
	defer stop()
	var users sync.WaitGroup
	use := func(f func(i int) error) {
		users.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				if err := f(i); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsAlreadyExists(err) && !errors.Is(err, state.ErrWithdrawn) && watching.Err() == nil {
					t.Errorf("%v", err)
					return
				}
			}
		})
	}
	use(func(i int) error {
		_, err := h.Create(h.ctx, kind, boat(fmt.Sprintf("b%d", i%10)), state.CreateOptions{})
		return err
	})
	use(func(int) error {
		page, err := h.State.List(h.ctx, kind, state.ListOptions{})
		if err == nil {
			for _, e := range page.Entries {
				_, _ = e.Object(), e.JSON()
			}
		}
		return err
	})
	use(func(int) error {
		w, err := h.Watch(h.ctx, kind, state.WatchOptions{Initial: true})
		if err != nil {
			return err
		}
		defer w.Close()
		for range 3 {
			if _, _, err := w.Next(watching); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range 40 {
		if i%4 == 3 {
			if err := state.Delete[*corev1.ConfigMap](h.ctx, h.State, "default", "boats", state.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		h.define([]string{"red", "blue"}[i%2])
	}
	if _, err := h.Create(h.ctx, h.boats(), boat("last"), state.CreateOptions{}); err != nil {
		t.Error(err)
	}
	close(done)
	stop()
	users.Wait()
}
