package replicaset

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

// updateStatus counts the pods as they are now and writes the count if it has changed. It
// returns when the next ready pod becomes available; 0 if none will.
func (c *replicaSets) updateStatus(ctx context.Context, rs *appsv1.ReplicaSet, selector labels.Selector, failed error) (time.Duration, error) {
	pods := state.List[*corev1.Pod](c.state, state.Selector{Namespace: rs.Namespace, Owner: rs.UID})
	status, again := count(rs, pods, time.Now())
	setFailure(&status, failed)
	if !c.kind.terminating {
		status.TerminatingReplicas = nil
	}
	if equality.Semantic.DeepEqual(rs.Status, status) {
		return again, nil
	}
	err := c.kind.write(ctx, rs, status)
	if err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("writing status: %w", err)
	}
	return again, nil
}

// count is the status of a ReplicaSet with these pods.
func count(rs *appsv1.ReplicaSet, pods []*corev1.Pod, now time.Time) (appsv1.ReplicaSetStatus, time.Duration) {
	status := *rs.Status.DeepCopy()
	status.ObservedGeneration = rs.Generation
	status.Replicas, status.FullyLabeledReplicas, status.ReadyReplicas, status.AvailableReplicas = 0, 0, 0, 0
	var terminating int32
	template := labels.SelectorFromSet(rs.Spec.Template.Labels)
	var again time.Duration
	for _, p := range pods {
		if p.DeletionTimestamp != nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			terminating++
		}
		if !controller.IsActive(p) {
			continue
		}
		status.Replicas++
		if template.Matches(labels.Set(p.Labels)) {
			status.FullyLabeledReplicas++
		}
		in, ready := controller.AvailableIn(p, rs.Spec.MinReadySeconds, now)
		switch {
		case !ready:
			continue
		case in == 0:
			status.AvailableReplicas++
		case again == 0 || in < again:
			again = in
		}
		status.ReadyReplicas++
	}
	status.TerminatingReplicas = &terminating
	return status, again
}

// setFailure keeps the condition ReplicaFailure: True with the reason while pods cannot be
// created or deleted, absent otherwise.
func setFailure(status *appsv1.ReplicaSetStatus, failed error) {
	i := -1
	for j, c := range status.Conditions {
		if c.Type == appsv1.ReplicaSetReplicaFailure {
			i = j
		}
	}
	switch {
	case failed == nil && i >= 0:
		status.Conditions = append(status.Conditions[:i], status.Conditions[i+1:]...)
	case failed != nil && i < 0:
		status.Conditions = append(status.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate",
			Message: failed.Error(), LastTransitionTime: metav1.NewTime(time.Now().Truncate(time.Second)),
		})
	}
}
