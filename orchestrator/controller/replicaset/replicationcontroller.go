package replicaset

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

// NewReplicationController returns the controller of ReplicationControllers, which are ReplicaSets under an
// older name.
func NewReplicationController(s *state.State, events controller.Events) controller.Controller {
	return newController(s, events, controller.On(controller.Self[*corev1.ReplicationController]), kind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ReplicationController"),
		get: func(namespace, name string) (*appsv1.ReplicaSet, bool) {
			rc, ok := state.Get[*corev1.ReplicationController](s, namespace, name)
			if !ok {
				return nil, false
			}
			return asReplicaSet(rc), true
		},
		list: func(namespace string) []*appsv1.ReplicaSet {
			var all []*appsv1.ReplicaSet
			for _, rc := range state.List[*corev1.ReplicationController](s, state.Selector{Namespace: namespace}) {
				all = append(all, asReplicaSet(rc))
			}
			return all
		},
		write: func(ctx context.Context, rs *appsv1.ReplicaSet, status appsv1.ReplicaSetStatus) error {
			_, err := state.UpdateStatus(ctx, s, rs.Namespace, rs.Name, func(live *corev1.ReplicationController) error {
				if live.UID == rs.UID {
					live.Status = statusOf(status)
				}
				return nil
			})
			return err
		},
	})
}

// asReplicaSet reads a ReplicationController; what it points at is shared.
func asReplicaSet(rc *corev1.ReplicationController) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{TypeMeta: rc.TypeMeta, ObjectMeta: rc.ObjectMeta}
	rs.Spec = appsv1.ReplicaSetSpec{
		Replicas: rc.Spec.Replicas, MinReadySeconds: rc.Spec.MinReadySeconds, Selector: &metav1.LabelSelector{MatchLabels: rc.Spec.Selector},
	}
	if rc.Spec.Template != nil {
		rs.Spec.Template = *rc.Spec.Template
	}
	rs.Status = appsv1.ReplicaSetStatus{
		Replicas: rc.Status.Replicas, FullyLabeledReplicas: rc.Status.FullyLabeledReplicas, ReadyReplicas: rc.Status.ReadyReplicas,
		AvailableReplicas: rc.Status.AvailableReplicas, ObservedGeneration: rc.Status.ObservedGeneration,
	}
	for _, c := range rc.Status.Conditions {
		rs.Status.Conditions = append(rs.Status.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return rs
}

// statusOf is the status as a ReplicationController has it: terminating pods are not counted.
func statusOf(s appsv1.ReplicaSetStatus) corev1.ReplicationControllerStatus {
	status := corev1.ReplicationControllerStatus{
		Replicas: s.Replicas, FullyLabeledReplicas: s.FullyLabeledReplicas, ReadyReplicas: s.ReadyReplicas,
		AvailableReplicas: s.AvailableReplicas, ObservedGeneration: s.ObservedGeneration,
	}
	for _, c := range s.Conditions {
		status.Conditions = append(status.Conditions, corev1.ReplicationControllerCondition{
			Type: corev1.ReplicationControllerConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return status
}
