package resource

import (
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func TestStoredKindsAreNoViews(t *testing.T) {
	r := New()
	shown := 0
	for _, k := range r.All() {
		if k.View != nil {
			shown++
			if k.Stored().View != nil || k.Stored().Allocate != nil || len(r.Versions(k)) < 2 {
				t.Errorf("%s is a view of %s", k.GroupVersionKind, k.Stored().GroupVersionKind)
			}
		}
	}
	if len(r.Stored())+shown != len(r.All()) {
		t.Errorf("%d stored and %d shown of %d", len(r.Stored()), shown, len(r.All()))
	}
}

// The converter goes between any two versions, and says when there is none.
func TestConverter(t *testing.T) {
	r := New()
	percent := int32(70)
	in := &autoscalingv1.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       autoscalingv1.HorizontalPodAutoscalerSpec{MaxReplicas: 3, TargetCPUUtilizationPercentage: &percent},
	}
	out, err := r.Converter().ConvertToVersion(in, autoscalingv2.SchemeGroupVersion)
	if err != nil {
		t.Fatal(err)
	}
	if h := out.(*autoscalingv2.HorizontalPodAutoscaler); len(h.Spec.Metrics) != 1 || h.APIVersion != "autoscaling/v2" || h.Name != "web" {
		t.Errorf("%+v", h)
	}
	back, err := r.Converter().ConvertToVersion(out, autoscalingv1.SchemeGroupVersion)
	if err != nil {
		t.Fatal(err)
	}
	if h := back.(*autoscalingv1.HorizontalPodAutoscaler); *h.Spec.TargetCPUUtilizationPercentage != percent || len(h.Annotations) != 0 {
		t.Errorf("%+v", h)
	}
	if _, err := r.Converter().ConvertToVersion(in, metav1.SchemeGroupVersion); !runtime.IsNotRegisteredError(err) {
		t.Errorf("to a version that there is not: %v", err)
	}
}
