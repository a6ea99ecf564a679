package disruption

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"wherry/orchestrator/state"
)

// expected is how many pods there should be, and how many of them healthy.
func (b *budgets) expected(ctx context.Context, budget *policyv1.PodDisruptionBudget, pods []*corev1.Pod) (expected, healthy int32, err error) {
	least, most := budget.Spec.MinAvailable, budget.Spec.MaxUnavailable
	switch {
	case most != nil:
		if expected, err = b.scale(ctx, budget, pods); err != nil {
			return 0, 0, err
		}
		n, err := intstr.GetScaledValueFromIntOrPercent(most, int(expected), true)
		return expected, max(0, expected-int32(n)), err
	case least == nil:
		return 0, 0, nil
	case least.Type == intstr.Int:
		return int32(len(pods)), least.IntVal, nil
	}
	if expected, err = b.scale(ctx, budget, pods); err != nil {
		return 0, 0, err
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(least, int(expected), true)
	return expected, int32(n), err
}

// scale is how many pods the controllers of the pods want together.
func (b *budgets) scale(ctx context.Context, budget *policyv1.PodDisruptionBudget, pods []*corev1.Pod) (int32, error) {
	wanted := map[types.UID]int32{}
	known := map[types.UID]bool{}
	unmanaged := false
	for _, pod := range pods {
		ref := metav1.GetControllerOfNoCopy(pod)
		switch {
		case ref == nil:
			unmanaged = true
			continue
		case known[ref.UID]:
			continue
		}
		known[ref.UID] = true
		uid, n, err := b.replicas(ctx, pod, ref)
		if err != nil {
			return 0, err
		}
		wanted[uid] = n
	}
	if unmanaged {
		b.events.Eventf(budget, corev1.EventTypeWarning, "UnmanagedPods", "Pods selected by this PodDisruptionBudget (selector: %v) were found "+
			"to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. "+
			"To account for these pods please set \".spec.minAvailable\" "+
			"field of the PDB to an integer value.", budget.Spec.Selector)
	}
	var sum int32
	for _, n := range wanted {
		sum += n
	}
	return sum, nil
}

// replicas finds what a pod's controller wants; a Deployment speaks for its ReplicaSets.
func (b *budgets) replicas(ctx context.Context, pod *corev1.Pod, ref *metav1.OwnerReference) (types.UID, int32, error) {
	if ref.Kind == "ReplicaSet" {
		if set, ok := state.Get[*appsv1.ReplicaSet](b.state, pod.Namespace, ref.Name); ok && set.UID == ref.UID {
			if up := metav1.GetControllerOfNoCopy(set); up != nil && up.Kind == "Deployment" {
				ref = up
			}
		}
	}
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return "", 0, err
	}
	kind, ok := b.state.Kinds().Kind(gv.WithKind(ref.Kind))
	if !ok {
		return "", 0, fmt.Errorf("found no controllers for pod %q", pod.Name)
	}
	door := kind.Subresources["scale"]
	if door == nil || door.Scale == nil {
		return "", 0, fmt.Errorf("%s does not implement the scale subresource", kind.GroupResource())
	}
	owner, err := b.state.Get(ctx, kind, pod.Namespace, ref.Name)
	if apierrors.IsNotFound(err) || err == nil && owner.UID() != ref.UID {
		return "", 0, fmt.Errorf("found no controllers for pod %q", pod.Name)
	}
	if err != nil {
		return "", 0, err
	}
	n, _, _ := door.Scale.Replicas(owner.Object())
	return ref.UID, n, nil
}
