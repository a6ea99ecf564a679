package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/state"
)

// Priority writes the number behind a pod's priority class. Only Kubernetes' two built-in
// classes exist: there is no PriorityClass kind.
type Priority struct{}

var builtinPriorities = map[string]int32{
	"": 0, "system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000,
}

// Admit implements state.Admission.
func (Priority) Admit(_ context.Context, a *state.Attributes) error {
	pod := podOf(a)
	switch {
	case pod == nil:
		return nil
	case a.Operation == state.OpUpdate:
		keepPriority(&pod.Spec, &a.Old.(*corev1.Pod).Spec)
		return nil
	case a.Operation != state.OpCreate:
		return nil
	}
	priority, known := builtinPriorities[pod.Spec.PriorityClassName]
	if !known {
		return forbidden(a, fmt.Errorf("no PriorityClass with name %s was found", pod.Spec.PriorityClassName))
	}
	if given := pod.Spec.Priority; given != nil && *given != priority {
		return forbidden(a, fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; "+
			"priority admission controller computed %d from the given PriorityClass name", *given, priority))
	}
	policy := corev1.PreemptLowerPriority
	if given := pod.Spec.PreemptionPolicy; given != nil && *given != policy {
		return forbidden(a, fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; "+
			"priority admission controller computed %s from the given PriorityClass name", *given, policy))
	}
	pod.Spec.Priority, pod.Spec.PreemptionPolicy = &priority, &policy
	return nil
}

// keepPriority lets an update omit what admission had written.
func keepPriority(spec, old *corev1.PodSpec) {
	if spec.Priority == nil {
		spec.Priority = old.Priority
	}
	if spec.PreemptionPolicy == nil {
		spec.PreemptionPolicy = old.PreemptionPolicy
	}
}
