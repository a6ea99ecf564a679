package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"

	"wherry/orchestrator/state"
)

// Priority writes the number behind a pod's priority class, and keeps the class that pods
// have when they name none the only one.
type Priority struct{}

// Admit implements Mutating.
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
	class, err := priorityClass(a, pod.Spec.PriorityClassName)
	if err != nil {
		return err
	}
	if given := pod.Spec.Priority; given != nil && *given != class.Value {
		return forbidden(a, fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; "+
			"priority admission controller computed %d from the given PriorityClass name", *given, class.Value))
	}
	if given, policy := pod.Spec.PreemptionPolicy, class.PreemptionPolicy; given != nil && policy != nil && *given != *policy {
		return forbidden(a, fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; "+
			"priority admission controller computed %s from the given PriorityClass name", *given, *policy))
	}
	value := class.Value
	pod.Spec.PriorityClassName, pod.Spec.Priority = class.Name, &value
	if class.PreemptionPolicy != nil {
		policy := *class.PreemptionPolicy
		pod.Spec.PreemptionPolicy = &policy
	}
	return nil
}

// Validate implements Validating.
func (Priority) Validate(_ context.Context, a *state.Attributes) error {
	class, ok := a.Object.(*schedulingv1.PriorityClass)
	if !ok || !class.GlobalDefault {
		return nil
	}
	if other := defaultPriorityClass(a.Reader); other != nil && (a.Operation == state.OpCreate || other.Name != class.Name) {
		return forbidden(a, fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", other.Name))
	}
	return nil
}

// priorityClass is the one named, or the default, or what stands for none.
func priorityClass(a *state.Attributes, name string) (*schedulingv1.PriorityClass, error) {
	if name == "" {
		if class := defaultPriorityClass(a.Reader); class != nil {
			return class, nil
		}
		policy := corev1.PreemptLowerPriority
		return &schedulingv1.PriorityClass{PreemptionPolicy: &policy}, nil
	}
	class, ok := state.Get[*schedulingv1.PriorityClass](a.Reader, "", name)
	if !ok {
		return nil, forbidden(a, fmt.Errorf("no PriorityClass with name %v was found", name))
	}
	return class, nil
}

// defaultPriorityClass is the lowest of those marked as default, or nil.
func defaultPriorityClass(s *state.State) *schedulingv1.PriorityClass {
	var lowest *schedulingv1.PriorityClass
	for _, class := range state.List[*schedulingv1.PriorityClass](s, state.Selector{}) {
		if class.GlobalDefault && (lowest == nil || lowest.Value > class.Value) {
			lowest = class
		}
	}
	return lowest
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
