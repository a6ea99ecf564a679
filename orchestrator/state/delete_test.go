package state_test

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/state"
	"wherry/orchestrator/store/memstore"
)

func TestDeleteAtOnce(t *testing.T) {
	overStores(t, func(h *harness) {
		cm := h.create(configMap("a"))
		last, gone := h.delete(cm, state.DeleteOptions{})
		if !gone || last.GetUID() != cm.GetUID() {
			h.Errorf("gone %v, last %+v", gone, last)
		}
		_, err := h.Get(h.ctx, h.configs(), "default", "a")
		wantError(h.T, err, metav1.StatusReasonNotFound, `configmaps "a" not found`)
		_, _, err = h.Delete(h.ctx, h.configs(), "default", "a", state.DeleteOptions{})
		wantError(h.T, err, metav1.StatusReasonNotFound, `configmaps "a" not found`)
	})
}

func TestDeletePreconditions(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	cm := h.create(configMap("a"))
	uid := cm.GetUID()
	for _, p := range []metav1.Preconditions{{UID: ptr(uid + "x")}, {ResourceVersion: ptr("1000")}} {
		_, _, err := h.Delete(h.ctx, h.configs(), "default", "a", state.DeleteOptions{Preconditions: &p})
		if !apierrors.IsConflict(err) {
			t.Errorf("precondition %+v: %v", p, err)
		}
	}
	h.delete(cm, state.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
}

func TestFinalizersHoldBack(t *testing.T) {
	overStores(t, func(h *harness) {
		cm := configMap("a")
		cm.Finalizers = []string{"example.com/first", "example.com/second"}
		h.create(cm)
		last, gone := h.delete(cm, state.DeleteOptions{})
		if gone || last.GetDeletionTimestamp() == nil || *last.GetDeletionGracePeriodSeconds() != 0 {
			h.Fatalf("gone %v, %+v", gone, last)
		}
		again, gone := h.delete(cm, state.DeleteOptions{})
		if gone || again.GetResourceVersion() != last.GetResourceVersion() {
			h.Error("a second deletion changed something")
		}
		_, err := state.Create(h.ctx, h.State, configMap("a"))
		wantError(h.T, err, metav1.StatusReasonAlreadyExists, `object is being deleted: configmaps "a" already exists`)
		_, err = state.Update(h.ctx, h.State, "default", "a", func(cm *corev1.ConfigMap) error {
			cm.Finalizers = append(cm.Finalizers, "example.com/third")
			return nil
		})
		if !apierrors.IsInvalid(err) {
			h.Errorf("a finalizer was added during deletion: %v", err)
		}
		for _, left := range [][]string{{"example.com/second"}, nil} {
			if _, ok := state.Get[*corev1.ConfigMap](h.State, "default", "a"); !ok {
				h.Fatal("gone while finalizers are left")
			}
			if _, err := state.Update(h.ctx, h.State, "default", "a", func(cm *corev1.ConfigMap) error {
				cm.Finalizers = left
				return nil
			}); err != nil {
				h.Fatal(err)
			}
		}
		if _, ok := state.Get[*corev1.ConfigMap](h.State, "default", "a"); ok {
			h.Error("still there without finalizers")
		}
	})
}

func TestPropagation(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	for _, c := range []struct {
		policy    metav1.DeletionPropagation
		finalizer string
	}{
		{metav1.DeletePropagationOrphan, metav1.FinalizerOrphanDependents},
		{metav1.DeletePropagationForeground, metav1.FinalizerDeleteDependents},
		{metav1.DeletePropagationBackground, ""},
	} {
		cm := configMap("a")
		h.create(cm)
		last, gone := h.delete(cm, state.DeleteOptions{Propagation: &c.policy})
		if gone != (c.finalizer == "") {
			t.Errorf("%s: gone %v", c.policy, gone)
		}
		if gone {
			continue
		}
		if f := last.GetFinalizers(); len(f) != 1 || f[0] != c.finalizer {
			t.Errorf("%s: finalizers %v", c.policy, f)
		}
		h.delete(cm, state.DeleteOptions{Propagation: ptr(metav1.DeletePropagationBackground)})
		if _, ok := state.Get[*corev1.ConfigMap](h.State, "default", "a"); ok {
			t.Errorf("%s: background did not take the finalizer away", c.policy)
		}
	}
}

func TestPodsGoGracefully(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, memstore.New(), state.Options{})
		h.create(pod("unbound"))
		if _, gone := h.delete(pod("unbound"), state.DeleteOptions{}); !gone {
			t.Error("a pod without a node waits")
		}
		h.create(pod("p"))
		h.Bind(h.ctx, []state.Binding{{Namespace: "default", Name: "p", Node: "n"}})
		last, gone := h.delete(pod("p"), state.DeleteOptions{})
		if gone || *last.GetDeletionGracePeriodSeconds() != 30 || time.Until(last.GetDeletionTimestamp().Time) != 30*time.Second {
			t.Fatalf("gone %v, %v", gone, last)
		}
		if last.GetGeneration() != 2 {
			t.Errorf("generation %d", last.GetGeneration())
		}
		longer, _ := h.delete(pod("p"), state.DeleteOptions{Grace: ptr(int64(60))})
		if *longer.GetDeletionGracePeriodSeconds() != 30 {
			t.Error("grace was prolonged")
		}
		shorter, _ := h.delete(pod("p"), state.DeleteOptions{Grace: ptr(int64(5))})
		if *shorter.GetDeletionGracePeriodSeconds() != 5 || time.Until(shorter.GetDeletionTimestamp().Time) != 5*time.Second {
			t.Errorf("grace was not shortened: %v", shorter)
		}
		if _, gone := h.delete(pod("p"), state.DeleteOptions{Grace: ptr(int64(0))}); !gone {
			t.Error("not gone without grace")
		}
	})
}

func TestGracefulPodWithFinalizer(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	p := pod("p")
	p.Finalizers = []string{"example.com/hold"}
	h.create(p)
	h.Bind(h.ctx, []state.Binding{{Namespace: "default", Name: "p", Node: "n"}})
	h.delete(p, state.DeleteOptions{})
	if _, gone := h.delete(p, state.DeleteOptions{Grace: ptr(int64(0))}); gone {
		t.Fatal("gone with a finalizer")
	}
	release := func(p *corev1.Pod) error { p.Finalizers = nil; return nil }
	if _, err := state.Update(h.ctx, h.State, "default", "p", release); err != nil {
		t.Fatal(err)
	}
	if _, ok := state.Get[*corev1.Pod](h.State, "default", "p"); ok {
		t.Error("still there")
	}
}

func TestNamespacesTerminate(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	h.create(ns)
	last, gone := h.delete(ns, state.DeleteOptions{})
	if gone || last.GetDeletionTimestamp() == nil || last.(*corev1.Namespace).Status.Phase != corev1.NamespaceTerminating {
		t.Fatalf("gone %v, %+v", gone, last)
	}
	if _, gone := h.delete(ns, state.DeleteOptions{}); gone {
		t.Error("a second deletion does not wait for spec.finalizers")
	}
	_, _, err := h.Update(h.ctx, h.kind(ns), "", "a", func(live state.Object) (state.Object, error) {
		live.(*corev1.Namespace).Spec.Finalizers = nil
		return live, nil
	}, state.UpdateOptions{Subresource: "finalize"})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := state.Get[*corev1.Namespace](h.State, "", "a"); ok {
		t.Error("finalized and still there")
	}
}
