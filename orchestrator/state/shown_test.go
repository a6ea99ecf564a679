package state_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store/memstore"
)

func autoscaler(name string) *autoscalingv1.HorizontalPodAutoscaler {
	return &autoscalingv1.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: autoscalingv1.HorizontalPodAutoscalerSpec{
			MaxReplicas:    3,
			ScaleTargetRef: autoscalingv1.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"},
		},
	}
}

// What is written in one version is stored, and read by the control plane, in another.
func TestViewsWriteWhatIsStored(t *testing.T) {
	overStores(t, func(h *harness) {
		view := h.kind((*autoscalingv1.HorizontalPodAutoscaler)(nil))
		created := h.create(autoscaler("a")).(*autoscalingv1.HorizontalPodAutoscaler)
		stored, ok := state.Get[*autoscalingv2.HorizontalPodAutoscaler](h.State, "default", "a")
		if !ok || stored.ResourceVersion != created.ResourceVersion || len(stored.Spec.Metrics) != 1 {
			h.Fatalf("stored %+v", stored)
		}
		out, _, err := h.Update(h.ctx, view, "default", "a", func(live state.Object) (state.Object, error) {
			live.(*autoscalingv1.HorizontalPodAutoscaler).Spec.MaxReplicas = 7
			return live, nil
		}, state.UpdateOptions{})
		if err != nil || out.(*autoscalingv1.HorizontalPodAutoscaler).Spec.MaxReplicas != 7 {
			h.Fatalf("updated %+v, %v", out, err)
		}
		e, err := h.Get(h.ctx, view, "default", "a")
		if err != nil {
			h.Fatal(err)
		}
		if rv := out.GetResourceVersion(); !strings.Contains(string(e.JSON()), `"resourceVersion":"`+rv+`"`) || !strings.Contains(string(e.Proto()), "autoscaling/v1") {
			h.Errorf("shown %s %s", e.JSON(), e.Proto())
		}
		same, _, err := h.Update(h.ctx, view, "default", "a", func(live state.Object) (state.Object, error) { return live, nil }, state.UpdateOptions{})
		if err != nil || same.GetResourceVersion() != out.GetResourceVersion() {
			h.Errorf("nothing changed, but %v, %v", same, err)
		}
		last, gone := h.delete(autoscaler("a"), state.DeleteOptions{})
		if _, isView := last.(*autoscalingv1.HorizontalPodAutoscaler); !gone || !isView {
			h.Errorf("deleted %T %v", last, gone)
		}
	})
}

// A conversion that fails, as a webhook's may, fails the request; a watch goes on where it stood.
func TestConversionFails(t *testing.T) {
	kinds := resource.New()
	view, _ := kinds.For((*autoscalingv1.HorizontalPodAutoscaler)(nil))
	broken, show := errors.New("the webhook is away"), view.View.Show
	var fault error
	view.View.Show = func(ctx context.Context, objs []resource.Object) ([]resource.Object, error) {
		if fault != nil {
			return nil, fault
		}
		return show(ctx, objs)
	}
	h := start(t, memstore.New(), state.Options{Kinds: kinds})
	h.create(autoscaler("a"))
	w, err := h.Watch(h.ctx, view, state.WatchOptions{Initial: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()

	fault = broken
	if _, err := h.Get(h.ctx, view, "default", "a"); err == nil || !strings.Contains(err.Error(), broken.Error()) {
		t.Errorf("get: %v", err)
	}
	if _, err := h.List(h.ctx, view, state.ListOptions{}); err == nil {
		t.Error("listed")
	}
	if events, revision, err := w.Next(h.ctx); err == nil || len(events) > 0 || revision != 0 {
		t.Errorf("watched %v at %d, %v", events, revision, err)
	}
	fault = nil
	events, revision, err := w.Next(h.ctx)
	if err != nil || len(events) != 2 || events[0].Entry.Object().(*autoscalingv1.HorizontalPodAutoscaler).Name != "a" || revision == 0 {
		t.Errorf("watched %v at %d, %v", events, revision, err)
	}
}
