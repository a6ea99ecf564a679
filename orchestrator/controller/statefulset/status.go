package statefulset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/controller"
)

// count is the status of a set with these pods.
func (w *world) count(replicas, condemned []*corev1.Pod, now time.Time) appsv1.StatefulSetStatus {
	status := *w.set.Status.DeepCopy()
	status.ObservedGeneration = w.set.Generation
	status.CurrentRevision, status.UpdateRevision = w.current.name, w.update.name
	status.Replicas, status.ReadyReplicas, status.AvailableReplicas = 0, 0, 0
	status.CurrentReplicas, status.UpdatedReplicas = 0, 0
	for _, pods := range [][]*corev1.Pod{replicas, condemned} {
		for _, pod := range pods {
			if pod != nil {
				w.countPod(&status, pod, now)
			}
		}
	}
	w.complete(&status)
	return status
}

func (w *world) countPod(status *appsv1.StatefulSetStatus, pod *corev1.Pod, now time.Time) {
	status.Replicas++
	if in, ready := controller.AvailableIn(pod, w.set.Spec.MinReadySeconds, now); ready && pod.Status.Phase == corev1.PodRunning {
		status.ReadyReplicas++
		if in == 0 {
			status.AvailableReplicas++
		}
	}
	if pod.DeletionTimestamp != nil || ended(pod) {
		return
	}
	switch pod.Labels[appsv1.StatefulSetRevisionLabel] {
	case w.current.name:
		status.CurrentReplicas++
		if w.current.name == w.update.name {
			status.UpdatedReplicas++
		}
	case w.update.name:
		status.UpdatedReplicas++
	}
}

// complete ends a roll-out: when all pods are of the new revision, and ready, it is the current one.
func (w *world) complete(status *appsv1.StatefulSetStatus) {
	rolling := w.set.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType
	if rolling && status.UpdatedReplicas == status.Replicas && status.ReadyReplicas == status.Replicas {
		status.CurrentReplicas, status.CurrentRevision = status.UpdatedReplicas, status.UpdateRevision
	}
}
