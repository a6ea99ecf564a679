package job

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/controller"
)

// tally is what the pods of a Job amount to.
type tally struct {
	job  *batchv1.Job
	pods []*corev1.Pod

	active      []*corev1.Pod
	terminating []*corev1.Pod // asked to end, and not yet ended
	ready       int32

	// What has ended: succeeded and failed are all that ever have, counted or not. fresh are those that nobody has
	// taken note of yet, waiting those that are noted and still carry their finalizer.
	succeeded, failed int32
	fresh             []*corev1.Pod
	uncounted         batchv1.UncountedTerminatedPods
	counted           batchv1.JobStatus // the numbers without what is uncounted

	completed, failedIndexes indexes
	failJob                  string // why podFailurePolicy ends the Job; "": it does not
	lastFailures             []time.Time
}

// take looks at all pods.
func take(j *batchv1.Job, pods []*corev1.Pod) *tally {
	t := &tally{job: j, pods: pods, counted: *j.Status.DeepCopy()}
	limit := completions(j)
	t.completed = parseIndexes(j.Status.CompletedIndexes, limit)
	if j.Status.FailedIndexes != nil {
		t.failedIndexes = parseIndexes(*j.Status.FailedIndexes, limit)
	}
	t.settle()
	for _, p := range pods {
		t.look(p)
	}
	t.succeeded = t.counted.Succeeded + int32(len(t.uncounted.Succeeded))
	t.failed = t.counted.Failed + int32(len(t.uncounted.Failed))
	if indexed(j) {
		t.succeeded = int32(t.completed.len())
		t.counted.Succeeded = t.succeeded
	}
	t.lastFailures = t.failuresSinceSuccess()
	return t
}

func completions(j *batchv1.Job) int {
	if j.Spec.Completions == nil {
		return 0
	}
	return int(*j.Spec.Completions)
}

// settle adds to the numbers those of the noted pods that have lost their finalizer.
func (t *tally) settle() {
	noted := t.job.Status.UncountedTerminatedPods
	if noted == nil {
		return
	}
	still := func(uid types.UID) bool {
		return slices.ContainsFunc(t.pods, func(p *corev1.Pod) bool { return p.UID == uid && tracked(p) })
	}
	for _, uid := range noted.Succeeded {
		if still(uid) {
			t.uncounted.Succeeded = append(t.uncounted.Succeeded, uid)
		} else {
			t.counted.Succeeded++
		}
	}
	for _, uid := range noted.Failed {
		if still(uid) {
			t.uncounted.Failed = append(t.uncounted.Failed, uid)
		} else {
			t.counted.Failed++
		}
	}
}

func (t *tally) look(p *corev1.Pod) {
	switch {
	case p.Status.Phase == corev1.PodSucceeded:
		t.ended(p, true)
	case p.Status.Phase == corev1.PodFailed:
		t.ended(p, false)
	case p.DeletionTimestamp != nil:
		t.terminating = append(t.terminating, p)
		if !onlyReplaceFailed(t.job) {
			t.ended(p, false) // it may never get so far as to fail
		}
	default:
		t.active = append(t.active, p)
		if controller.IsReady(p) {
			t.ready++
		}
	}
}

// onlyReplaceFailed says that a pod on its way out is waited for.
func onlyReplaceFailed(j *batchv1.Job) bool {
	return j.Spec.PodReplacementPolicy != nil && *j.Spec.PodReplacementPolicy == batchv1.Failed
}

// ended takes note of a pod's end, once.
func (t *tally) ended(p *corev1.Pod, well bool) {
	uid := p.UID
	if !tracked(p) || slices.Contains(t.uncounted.Succeeded, uid) || slices.Contains(t.uncounted.Failed, uid) {
		return
	}
	t.fresh = append(t.fresh, p)
	index := indexOf(p)
	inRange := !indexed(t.job) || index >= 0 && index < completions(t.job)
	switch {
	case well && inRange:
		if indexed(t.job) {
			t.completed = t.completed.with(index)
		}
		t.uncounted.Succeeded = append(t.uncounted.Succeeded, uid)
	case !well:
		t.failure(p, uid, index)
	}
}

func (t *tally) failure(p *corev1.Pod, uid types.UID, index int) {
	action, why := failurePolicy(t.job.Spec.PodFailurePolicy, p)
	switch action {
	case batchv1.PodFailurePolicyActionIgnore:
		return
	case batchv1.PodFailurePolicyActionFailJob:
		t.failJob = why
	}
	t.uncounted.Failed = append(t.uncounted.Failed, uid)
	if t.job.Spec.BackoffLimitPerIndex == nil || index < 0 || index >= completions(t.job) || t.completed.has(index) {
		return
	}
	if action == batchv1.PodFailurePolicyActionFailIndex || failuresOf(p)+1 > int(*t.job.Spec.BackoffLimitPerIndex) {
		t.failedIndexes = t.failedIndexes.with(index)
	}
}

// failuresOf is how often the pod's index had failed before it.
func failuresOf(p *corev1.Pod) int { return number(p, batchv1.JobIndexFailureCountAnnotation, 0) }

// failuresSinceSuccess are the ends of the failed pods that there are, after the last one that succeeded.
func (t *tally) failuresSinceSuccess() []time.Time {
	var last time.Time
	for _, p := range t.pods {
		if at := endOf(p); p.Status.Phase == corev1.PodSucceeded && at.After(last) {
			last = at
		}
	}
	var failures []time.Time
	for _, p := range t.pods {
		if at := endOf(p); p.Status.Phase == corev1.PodFailed && at.After(last) {
			failures = append(failures, at)
		}
	}
	slices.SortFunc(failures, time.Time.Compare)
	return failures
}

// endOf is when the last container of a pod ended, as far as it tells.
func endOf(p *corev1.Pod) time.Time {
	var at time.Time
	for _, c := range p.Status.ContainerStatuses {
		if e := c.State.Terminated; e != nil && e.FinishedAt.After(at) {
			at = e.FinishedAt.Time
		}
	}
	if c := controller.Condition(p, corev1.PodReady); at.IsZero() && c != nil {
		at = c.LastTransitionTime.Time
	}
	if at.IsZero() {
		at = p.CreationTimestamp.Time
	}
	return at
}
