package scheduler

import (
	"context"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/state"
)

// bind writes decisions in one go. What cannot be bound gives its room back.
func (s *session) bind(ctx context.Context, chosen []decision) {
	if len(chosen) == 0 {
		return
	}
	bindings := make([]state.Binding, len(chosen))
	for i, d := range chosen {
		pod := d.item.pod.Pod
		bindings[i] = state.Binding{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, Node: d.node}
		s.queue.remove(pod.UID)
	}
	for i, err := range s.state.Bind(ctx, bindings) {
		d := chosen[i]
		pod := d.item.pod.Pod
		if err == nil {
			s.attempts("scheduled", 1)
			s.recorder.Eventf(pod, corev1.EventTypeNormal, "Scheduled", "Successfully assigned %s/%s to %s", pod.Namespace, pod.Name, d.node)
			s.log.Debug("pod scheduled", "pod", pod.Name, "namespace", pod.Namespace, "uid", pod.UID, "node", d.node)
			continue
		}
		s.picture.removePod(pod.UID)
		if apierrors.IsNotFound(err) || ctx.Err() != nil {
			continue
		}
		s.attempts("error", 1)
		s.log.Warn("pod not bound", "pod", pod.Name, "namespace", pod.Namespace, "uid", pod.UID, "node", d.node, "error", err)
		s.retry(d.item)
	}
}

// retry puts an item back, unless the pod has gone or found a node otherwise; then the
// watch says so.
func (s *session) retry(it *item) {
	pod, ok := state.Get[*corev1.Pod](s.state, it.pod.Pod.Namespace, it.pod.Pod.Name)
	if ok && pod.UID == it.pod.Pod.UID && pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil {
		s.queue.again(it, time.Now())
	}
}

// writers is how many conditions are written at once: the store makes few commits of them.
const writers = 32

// explain writes why pods were refused into their conditions, and tells users.
func (s *session) explain(ctx context.Context, refused []decision) {
	var silent []decision
	s.attempts("unschedulable", len(refused))
	for _, d := range refused {
		pod := d.item.pod.Pod
		s.recorder.Eventf(pod, corev1.EventTypeWarning, "FailedScheduling", "%s", d.why)
		if !saysSo(pod, d.why) {
			silent = append(silent, d)
		}
	}
	for some := range slices.Chunk(silent, writers) {
		var wg sync.WaitGroup
		for _, d := range some {
			wg.Go(func() { s.refuse(ctx, d.item.pod.Pod, d.why) })
		}
		wg.Wait()
	}
}

// saysSo says whether the pod's condition has the reason already.
func saysSo(pod *corev1.Pod, why string) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse &&
			c.Reason == corev1.PodReasonUnschedulable && c.Message == why
	})
}

// refuse writes the condition PodScheduled=False, if the pod is still the same.
func (s *session) refuse(ctx context.Context, pod *corev1.Pod, why string) {
	_, err := state.UpdateStatus(ctx, s.state, pod.Namespace, pod.Name, func(live *corev1.Pod) error {
		if live.UID == pod.UID && live.Spec.NodeName == "" {
			setUnschedulable(&live.Status, why)
		}
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
		s.log.Warn("pod condition not written", "pod", pod.Name, "namespace", pod.Namespace, "uid", pod.UID, "error", err)
	}
}

func setUnschedulable(status *corev1.PodStatus, why string) {
	c := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse,
		Reason: corev1.PodReasonUnschedulable, Message: why, LastTransitionTime: metav1.Now().Rfc3339Copy(),
	}
	i := slices.IndexFunc(status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled })
	if i < 0 {
		status.Conditions = append(status.Conditions, c)
		return
	}
	if was := status.Conditions[i]; was.Status == c.Status {
		c.LastTransitionTime = was.LastTransitionTime
	}
	status.Conditions[i] = c
}
