package job

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// verdict is how a Job ends. It is announced first, as SuccessCriteriaMet or FailureTarget; when no pod is left it is
// final, as Complete or Failed.
type verdict struct {
	well            bool
	reason, message string
}

// condition finds a condition of a status; nil if there is none.
func condition(s *batchv1.JobStatus, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == kind {
			return &s.Conditions[i]
		}
	}
	return nil
}

func isTrue(s *batchv1.JobStatus, kind batchv1.JobConditionType) *batchv1.JobCondition {
	if c := condition(s, kind); c != nil && c.Status == corev1.ConditionTrue {
		return c
	}
	return nil
}

// finished is the condition with which a Job has ended; nil while it has not.
func finished(j *batchv1.Job) *batchv1.JobCondition {
	if c := isTrue(&j.Status, batchv1.JobComplete); c != nil {
		return c
	}
	return isTrue(&j.Status, batchv1.JobFailed)
}

// set writes a condition, and keeps its time if its status is what it was.
func set(s *batchv1.JobStatus, kind batchv1.JobConditionType, status corev1.ConditionStatus, reason, message string, now time.Time) {
	at := metav1.NewTime(now.Truncate(time.Second))
	n := batchv1.JobCondition{Type: kind, Status: status, Reason: reason, Message: message, LastProbeTime: at, LastTransitionTime: at}
	if c := condition(s, kind); c == nil {
		s.Conditions = append(s.Conditions, n)
	} else if c.Status != status {
		*c = n
	}
}

// judge says how the Job ends; nil: it goes on. Failure counts before success.
func (t *tally) judge(now time.Time) *verdict {
	j := t.job
	if c := isTrue(&j.Status, batchv1.JobFailureTarget); c != nil {
		return &verdict{false, c.Reason, c.Message}
	}
	if c := isTrue(&j.Status, batchv1.JobSuccessCriteriaMet); c != nil {
		return &verdict{true, c.Reason, c.Message}
	}
	if v := t.hasFailed(now); v != nil {
		return v
	}
	if why, ok := successPolicy(j.Spec.SuccessPolicy, t.completed, completions(j)); ok && indexed(j) {
		return &verdict{true, batchv1.JobReasonSuccessPolicy, why}
	}
	return t.isDone()
}

func (t *tally) hasFailed(now time.Time) *verdict {
	j := t.job
	switch {
	case t.failJob != "":
		return &verdict{false, batchv1.JobReasonPodFailurePolicy, t.failJob}
	case j.Spec.BackoffLimit != nil && t.failed > *j.Spec.BackoffLimit, t.restartedTooOften():
		return &verdict{false, batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit"}
	case j.Spec.ActiveDeadlineSeconds != nil && t.deadline(now) <= 0:
		return &verdict{false, batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline"}
	case j.Spec.MaxFailedIndexes != nil && t.failedIndexes.len() > int(*j.Spec.MaxFailedIndexes):
		return &verdict{false, batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes"}
	case t.failedIndexes.len() > 0 && t.failedIndexes.len()+t.completed.len() >= completions(j):
		return &verdict{false, batchv1.JobReasonFailedIndexes, "Job has failed indexes"}
	}
	return nil
}

// restartedTooOften counts restarts within pods, where containers are restarted in place.
func (t *tally) restartedTooOften() bool {
	j := t.job
	if j.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure || j.Spec.BackoffLimit == nil {
		return false
	}
	var n int32
	for _, p := range t.active {
		if p.Status.Phase != corev1.PodRunning && p.Status.Phase != corev1.PodPending {
			continue
		}
		for _, statuses := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
			for _, c := range statuses {
				n += c.RestartCount
			}
		}
	}
	if *j.Spec.BackoffLimit == 0 {
		return n > 0
	}
	return n >= *j.Spec.BackoffLimit
}

// deadline is how long the Job may still be active, if that is bounded.
func (t *tally) deadline(now time.Time) time.Duration {
	if t.job.Status.StartTime == nil || suspended(t.job) {
		return time.Duration(*t.job.Spec.ActiveDeadlineSeconds) * time.Second
	}
	return t.job.Status.StartTime.Add(time.Duration(*t.job.Spec.ActiveDeadlineSeconds) * time.Second).Sub(now)
}

// isDone says whether enough pods have succeeded: without spec.completions one, when no other is left.
func (t *tally) isDone() *verdict {
	done := &verdict{true, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods"}
	switch {
	case t.job.Spec.Completions == nil && t.succeeded > 0 && len(t.active) == 0,
		t.job.Spec.Completions != nil && t.succeeded >= *t.job.Spec.Completions:
		return done
	}
	return nil
}
