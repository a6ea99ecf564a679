package admission

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"wherry/orchestrator/state"
)

// RuntimeClass gives a pod the overhead of its runtime and what says on which nodes that is.
type RuntimeClass struct{}

// Admit implements Mutating.
func (RuntimeClass) Admit(_ context.Context, a *state.Attributes) error {
	pod, class, err := runtimeClass(a)
	if err != nil || class == nil {
		return err
	}
	if class.Overhead != nil {
		if len(pod.Spec.Overhead) > 0 && !equality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead) {
			return forbidden(a, errOverhead)
		}
		pod.Spec.Overhead = class.Overhead.PodFixed.DeepCopy()
	}
	if class.Scheduling == nil {
		return nil
	}
	for key, value := range class.Scheduling.NodeSelector {
		if own, ok := pod.Spec.NodeSelector[key]; ok && own != value {
			return forbidden(a, fmt.Errorf("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", key, value, key, own))
		}
	}
	if pod.Spec.NodeSelector == nil && len(class.Scheduling.NodeSelector) > 0 {
		pod.Spec.NodeSelector = map[string]string{}
	}
	maps.Copy(pod.Spec.NodeSelector, class.Scheduling.NodeSelector)
	pod.Spec.Tolerations = mergeTolerations(pod.Spec.Tolerations, class.Scheduling.Tolerations)
	return nil
}

var errOverhead = errors.New("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")

// Validate implements Validating.
func (RuntimeClass) Validate(_ context.Context, a *state.Attributes) error {
	pod, class, err := runtimeClass(a)
	switch {
	case err != nil || pod == nil:
		return err
	case class != nil && class.Overhead != nil:
		if !equality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead) {
			return forbidden(a, errOverhead)
		}
	case pod.Spec.Overhead != nil:
		return forbidden(a, errors.New("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
	}
	return nil
}

// runtimeClass is the pod that is created and the class that it names; nil if there is none.
func runtimeClass(a *state.Attributes) (*corev1.Pod, *nodev1.RuntimeClass, error) {
	pod := podOf(a)
	if pod == nil || a.Operation != state.OpCreate {
		return nil, nil, nil
	}
	if pod.Spec.RuntimeClassName == nil {
		return pod, nil, nil
	}
	name := *pod.Spec.RuntimeClassName
	class, ok := state.Get[*nodev1.RuntimeClass](a.Reader, "", name)
	if !ok {
		return nil, nil, forbidden(a, fmt.Errorf("pod rejected: RuntimeClass %q not found", name))
	}
	return pod, class, nil
}

// mergeTolerations leaves out what another one includes; of equal ones the first stays.
func mergeTolerations(first, second []corev1.Toleration) []corev1.Toleration {
	all := slices.Concat(first, second)
	var merged []corev1.Toleration
	for i, t := range all {
		redundant := slices.ContainsFunc(merged, func(o corev1.Toleration) bool { return includes(o, t) }) ||
			slices.ContainsFunc(all[i+1:], func(o corev1.Toleration) bool { return !equality.Semantic.DeepEqual(o, t) && includes(o, t) })
		if !redundant {
			merged = append(merged, t)
		}
	}
	return merged
}

// includes says whether a tolerates everything that b does.
func includes(a, b corev1.Toleration) bool {
	exists := a.Operator == corev1.TolerationOpExists
	switch {
	case equality.Semantic.DeepEqual(a, b):
		return true
	case b.Key != a.Key && !(a.Key == "" && exists):
		return false
	case b.Effect != a.Effect && a.Effect != "":
		return false
	case a.Effect == corev1.TaintEffectNoExecute && a.TolerationSeconds != nil &&
		(b.TolerationSeconds == nil || *b.TolerationSeconds > *a.TolerationSeconds):
		return false
	case exists:
		return true
	case a.Operator == corev1.TolerationOpEqual || a.Operator == "":
		return b.Operator == corev1.TolerationOpEqual && b.Value == a.Value
	}
	return false
}
