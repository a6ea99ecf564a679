package admission

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"wherry/orchestrator/state"
)

// PodResizeValidator refuses what a pod's node could never give.
type PodResizeValidator struct{}

// Validate implements Validating.
func (PodResizeValidator) Validate(_ context.Context, a *state.Attributes) error {
	pod, ok := a.Object.(*corev1.Pod)
	if !ok || a.Operation != state.OpUpdate || a.Subresource != "resize" || pod.Spec.NodeName == "" || pod.Generation == a.Old.GetGeneration() {
		return nil
	}
	node, ok := state.Get[*corev1.Node](a.Reader, "", pod.Spec.NodeName)
	if !ok {
		return forbidden(a, fmt.Errorf("node %q not found", pod.Spec.NodeName))
	}
	if system, ok := node.Labels[corev1.LabelOSStable]; ok && system != "linux" {
		return resizeRefused(a, fmt.Errorf("pod resize is only supported on linux nodes, node %q is %q", node.Name, system), "UnsupportedPlatform")
	}
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	var why []string
	if asked, has := requests.Cpu(), node.Status.Allocatable.Cpu(); asked.Cmp(*has) > 0 {
		why = append(why, fmt.Sprintf("cpu, requested: %d, allocatable: %d", asked.MilliValue(), has.MilliValue()))
	}
	if asked, has := requests.Memory(), node.Status.Allocatable.Memory(); asked.Cmp(*has) > 0 {
		why = append(why, fmt.Sprintf("memory, requested: %d, allocatable: %d", asked.Value(), has.Value()))
	}
	if len(why) > 0 {
		return resizeRefused(a, fmt.Errorf("node didn't have enough allocatable resources: %s", strings.Join(why, "; ")), "NodeCapacity")
	}
	return nil
}

func resizeRefused(a *state.Attributes, why error, reason metav1.CauseType) error {
	err := forbidden(a, why)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: reason})
	return err
}
