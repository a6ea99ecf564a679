package admission

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/state"
)

// tolerationSeconds is how long a pod stays on a node that is gone, unless it says itself.
const tolerationSeconds = 300

// DefaultTolerations lets every pod stay on a failing node for a while.
type DefaultTolerations struct{}

// Admit implements state.Admission.
func (DefaultTolerations) Admit(_ context.Context, a *state.Attributes) error {
	pod := podOf(a)
	if pod == nil || a.Operation == state.OpDelete {
		return nil
	}
	for _, taint := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		if tolerates(pod.Spec.Tolerations, taint) {
			continue
		}
		seconds := int64(tolerationSeconds)
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
			Key: taint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds})
	}
	return nil
}

// tolerates says whether the pod has an answer of its own to a taint that evicts.
func tolerates(tolerations []corev1.Toleration, taint string) bool {
	return slices.ContainsFunc(tolerations, func(t corev1.Toleration) bool {
		return (t.Key == taint || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "")
	})
}
