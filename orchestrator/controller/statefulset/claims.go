package statefulset

import (
	"context"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/state"
)

// claimName is the name of the claim that an ordinal has of a template.
func claimName(set *appsv1.StatefulSet, template string, ordinal int) string {
	return fmt.Sprintf("%s-%s", template, podName(set, ordinal))
}

// mountClaims gives a pod the volumes of its claims. They win over volumes of the template with their names.
func mountClaims(set *appsv1.StatefulSet, pod *corev1.Pod, ordinal int) {
	for _, t := range set.Spec.VolumeClaimTemplates {
		pod.Spec.Volumes = slices.DeleteFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == t.Name })
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: t.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claimName(set, t.Name, ordinal)},
		}})
	}
}

// makeClaims creates the claims of a pod that do not exist.
func (c *statefulSets) makeClaims(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod) error {
	ordinal, _ := ordinalOf(set, pod)
	for _, t := range set.Spec.VolumeClaimTemplates {
		name := claimName(set, t.Name, ordinal)
		if have, ok := state.Get[*corev1.PersistentVolumeClaim](c.state, set.Namespace, name); ok {
			if have.DeletionTimestamp != nil {
				return fmt.Errorf("pvc %s is being deleted", name)
			}
			continue
		}
		claim := t.DeepCopy()
		claim.Namespace, claim.Name = set.Namespace, name
		claim.Labels = maps.Clone(claim.Labels)
		if claim.Labels == nil {
			claim.Labels = map[string]string{}
		}
		maps.Copy(claim.Labels, set.Spec.Selector.MatchLabels)
		claim.OwnerReferences = owners(set, pod, nil)
		_, err := state.Create(ctx, c.state, claim)
		if err != nil && !apierrors.IsAlreadyExists(err) {
			c.events.Eventf(set, corev1.EventTypeWarning, "FailedCreate", "create Claim %s Pod %s in StatefulSet %s failed error: %v", name, pod.Name, set.Name, err)
			return fmt.Errorf("creating claim %s: %w", name, err)
		}
		c.events.Eventf(set, corev1.EventTypeNormal, "SuccessfulCreate", "create Claim %s Pod %s in StatefulSet %s success", name, pod.Name, set.Name)
	}
	return nil
}

// owners are the owners of a pod's claim, whose present ones are given: the set, if claims go with it, and
// the pod, if it is not wanted any more and claims go when the set shrinks.
func owners(set *appsv1.StatefulSet, pod *corev1.Pod, present []metav1.OwnerReference) []metav1.OwnerReference {
	var policy appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy
	if p := set.Spec.PersistentVolumeClaimRetentionPolicy; p != nil {
		policy = *p
	}
	first, last := span(set)
	ordinal, _ := ordinalOf(set, pod)
	scaledDown := ordinal < first || ordinal >= last
	byPod := policy.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType && scaledDown
	bySet := policy.WhenDeleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType && !byPod
	kept := slices.DeleteFunc(slices.Clone(present), func(r metav1.OwnerReference) bool {
		return r.UID == set.UID || r.Kind == "Pod" && r.Name == pod.Name
	})
	if bySet {
		kept = append(kept, *metav1.NewControllerRef(set, kind))
	}
	if byPod && pod.UID != "" {
		kept = append(kept, *metav1.NewControllerRef(pod, corev1.SchemeGroupVersion.WithKind("Pod")))
	}
	return kept
}

// ownClaims makes the owners of a pod's claims what the retention policy says.
func (c *statefulSets) ownClaims(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod) error {
	ordinal, _ := ordinalOf(set, pod)
	for _, t := range set.Spec.VolumeClaimTemplates {
		claim, ok := state.Get[*corev1.PersistentVolumeClaim](c.state, set.Namespace, claimName(set, t.Name, ordinal))
		if !ok || equality.Semantic.DeepEqual(claim.OwnerReferences, owners(set, pod, claim.OwnerReferences)) {
			continue
		}
		_, err := state.Update(ctx, c.state, claim.Namespace, claim.Name, func(live *corev1.PersistentVolumeClaim) error {
			live.OwnerReferences = owners(set, pod, live.OwnerReferences)
			return nil
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("owners of claim %s: %w", claim.Name, err)
		}
	}
	return nil
}
