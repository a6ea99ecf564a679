package resource

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// What kinds with replicas and a pod template share.

// replicas reads a defaulted field; 0 if it was never defaulted.
func replicas(n *int32) int32 {
	if n == nil {
		return 0
	}
	return *n
}

// selectorText is a selector as the scale subresource shows it.
func selectorText(s *metav1.LabelSelector) string {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return ""
	}
	return selector.String()
}

// scaleDoor is the scale subresource of a kind, given where it keeps its numbers.
func scaleDoor(of func(Object) (spec **int32, status int32, selector *metav1.LabelSelector)) *Subresource {
	return &Subresource{Scale: &Scale{
		Replicas: func(obj Object) (int32, int32, string) {
			spec, status, selector := of(obj)
			return replicas(*spec), status, selectorText(selector)
		},
		Set: func(obj Object, n int32) {
			spec, _, _ := of(obj)
			*spec = &n
		},
		SpecPath: fieldpath.MakePathOrDie("spec", "replicas"),
	}}
}

// templateWarnings speaks of a name that makes poor pod names and of doubtful fields in a template; on
// update of the latter only, and only if the spec has changed. old and oldTemplate may be nil.
func templateWarnings(obj, old Object, template, oldTemplate *corev1.PodTemplateSpec) []string {
	if oldTemplate == nil {
		return append(podNameWarnings(obj), podTemplateWarnings(template, nil)...)
	}
	if obj.GetGeneration() == old.GetGeneration() {
		return nil
	}
	return podTemplateWarnings(template, oldTemplate)
}

// podNameWarnings are about a name that pods' names begin with.
func podNameWarnings(obj Object) []string {
	msgs := utilvalidation.IsDNS1123Label(obj.GetName())
	if len(msgs) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", msgs)}
}

// podTemplateWarnings are about doubtful fields in spec.template. old may be nil.
func podTemplateWarnings(template, old *corev1.PodTemplateSpec) []string {
	var inOld *core.PodTemplateSpec
	if old != nil {
		inOld = internal[core.PodTemplateSpec](old)
	}
	return podutil.GetWarningsForPodTemplate(context.Background(), field.NewPath("spec", "template"), internal[core.PodTemplateSpec](template), inOld)
}
