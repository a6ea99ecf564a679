package admission

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/state"
)

// TaintNodesByCondition keeps pods away from a new node until it is ready.
type TaintNodesByCondition struct{}

// Admit implements Mutating.
func (TaintNodesByCondition) Admit(_ context.Context, a *state.Attributes) error {
	node, ok := a.Object.(*corev1.Node)
	if !ok || a.Operation != state.OpCreate || a.Subresource != "" {
		return nil
	}
	taint := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	if !slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&taint) }) {
		node.Spec.Taints = append(node.Spec.Taints, taint)
	}
	return nil
}
