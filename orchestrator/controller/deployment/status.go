package deployment

import (
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of the condition Progressing that mean something to clients.
const (
	reasonCreated   = "NewReplicaSetCreated"
	reasonProgress  = "ReplicaSetUpdated"
	reasonAvailable = "NewReplicaSetAvailable"
	reasonTimedOut  = "ProgressDeadlineExceeded"
	reasonPaused    = "DeploymentPaused"
	reasonResumed   = "DeploymentResumed"
)

// judge computes the status of the world. The duration is when to judge again, if nothing
// happens, because the progress deadline then passes; 0: never.
func judge(w *world, failed error, now time.Time) (appsv1.DeploymentStatus, time.Duration) {
	s := w.count()
	s.Conditions = slices.Clone(w.deployment.Status.Conditions)
	w.judgeAvailability(&s, now)
	w.judgeProgress(&s, now)
	judgeFailure(&s, w.all(), failed, now)
	return s, w.deadlineIn(&s, now)
}

func (w *world) count() appsv1.DeploymentStatus {
	s := appsv1.DeploymentStatus{ObservedGeneration: w.deployment.Generation, CollisionCount: w.deployment.Status.CollisionCount}
	var terminating int32
	for _, rs := range w.all() {
		s.Replicas += rs.Status.Replicas
		s.ReadyReplicas += rs.Status.ReadyReplicas
		s.AvailableReplicas += rs.Status.AvailableReplicas
		if rs.Status.TerminatingReplicas != nil {
			terminating += *rs.Status.TerminatingReplicas
		}
	}
	if w.current != nil {
		s.UpdatedReplicas = w.current.Status.Replicas
	}
	s.UnavailableReplicas = max(0, wanted(w.all()...)-s.AvailableReplicas)
	s.TerminatingReplicas = &terminating
	return s
}

func (w *world) judgeAvailability(s *appsv1.DeploymentStatus, now time.Time) {
	if s.AvailableReplicas >= w.desired()-w.unavailable() {
		set(s, appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
	} else {
		set(s, appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", now)
	}
}

func (w *world) hasDeadline() bool {
	d := w.deployment.Spec.ProgressDeadlineSeconds
	return d != nil && *d != math.MaxInt32
}

func (w *world) judgeProgress(s *appsv1.DeploymentStatus, now time.Time) {
	have := get(s, appsv1.DeploymentProgressing)
	switch {
	case !w.hasDeadline():
		remove(s, appsv1.DeploymentProgressing)
		return
	case w.deployment.Spec.Paused:
		if have == nil || have.Reason != reasonPaused && have.Reason != reasonTimedOut {
			set(s, appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonPaused, "Deployment is paused", now)
		}
		return
	case have != nil && have.Reason == reasonPaused:
		set(s, appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonResumed, "Deployment is resumed", now)
		return
	case have != nil && have.Reason == reasonAvailable && s.Replicas == s.UpdatedReplicas:
		return // done before, and not begun anew
	}
	old := &w.deployment.Status
	switch {
	case s.UpdatedReplicas == w.desired() && s.Replicas == w.desired() && s.AvailableReplicas == w.desired():
		set(s, appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonAvailable, w.subject()+" has successfully progressed.", now)
	case have == nil && w.current != nil:
		set(s, appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonCreated, fmt.Sprintf("Created new replica set %q", w.current.Name), now)
	case s.UpdatedReplicas > old.UpdatedReplicas || s.Replicas-s.UpdatedReplicas < old.Replicas-old.UpdatedReplicas ||
		s.ReadyReplicas > old.ReadyReplicas || s.AvailableReplicas > old.AvailableReplicas || begins(have):
		remove(s, appsv1.DeploymentProgressing) // so that lastUpdateTime moves with every progress
		add(s, progress(w, have, now))
	case w.timedOut(have, now):
		set(s, appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonTimedOut, w.subject()+" has timed out progressing.", now)
	}
}

// begins says that a rollout starts after one that was done.
func begins(have *appsv1.DeploymentCondition) bool {
	return have != nil && have.Reason == reasonAvailable
}

func progress(w *world, have *appsv1.DeploymentCondition, now time.Time) appsv1.DeploymentCondition {
	c := condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonProgress, w.subject()+" is progressing.", now)
	if have != nil && have.Status == c.Status {
		c.LastTransitionTime = have.LastTransitionTime
	}
	return c
}

func (w *world) subject() string {
	if w.current != nil {
		return fmt.Sprintf("ReplicaSet %q", w.current.Name)
	}
	return fmt.Sprintf("Deployment %q", w.deployment.Name)
}

func (w *world) deadline() time.Duration {
	return time.Duration(*w.deployment.Spec.ProgressDeadlineSeconds) * time.Second
}

func (w *world) timedOut(have *appsv1.DeploymentCondition, now time.Time) bool {
	return have != nil && have.Reason != reasonTimedOut && have.LastUpdateTime.Add(w.deadline()).Before(now)
}

func (w *world) deadlineIn(s *appsv1.DeploymentStatus, now time.Time) time.Duration {
	c := get(s, appsv1.DeploymentProgressing)
	if c == nil || !w.hasDeadline() || w.deployment.Spec.Paused || c.Reason == reasonAvailable || c.Reason == reasonTimedOut {
		return 0
	}
	return max(time.Second, c.LastUpdateTime.Add(w.deadline()).Sub(now)+time.Second)
}

// judgeFailure shows why pods or ReplicaSets cannot be made.
func judgeFailure(s *appsv1.DeploymentStatus, sets []*appsv1.ReplicaSet, failed error, now time.Time) {
	for _, rs := range sets {
		for _, c := range rs.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
				set(s, appsv1.DeploymentReplicaFailure, c.Status, c.Reason, c.Message, now)
				return
			}
		}
	}
	if failed != nil {
		set(s, appsv1.DeploymentReplicaFailure, corev1.ConditionTrue, "ReplicaSetCreateError", failed.Error(), now)
		return
	}
	remove(s, appsv1.DeploymentReplicaFailure)
}

func get(s *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == kind {
			c := s.Conditions[i]
			return &c
		}
	}
	return nil
}

func condition(kind appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string, now time.Time) appsv1.DeploymentCondition {
	t := metav1.NewTime(now.Truncate(time.Second))
	return appsv1.DeploymentCondition{Type: kind, Status: status, Reason: reason, Message: message, LastUpdateTime: t, LastTransitionTime: t}
}

// set writes a condition; one that says the same already keeps its times.
func set(s *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string, now time.Time) {
	have := get(s, kind)
	if have != nil && have.Status == status && have.Reason == reason {
		return
	}
	c := condition(kind, status, reason, message, now)
	if have != nil && have.Status == status {
		c.LastTransitionTime = have.LastTransitionTime
	}
	remove(s, kind)
	add(s, c)
}

func add(s *appsv1.DeploymentStatus, c appsv1.DeploymentCondition) {
	s.Conditions = append(s.Conditions, c)
}

func remove(s *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) {
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == kind })
}
