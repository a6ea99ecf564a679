package job

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
)

// How long a Job waits after failures: doubled from one to the next (Job concepts, "Pod backoff failure policy").
const (
	firstWait = 10 * time.Second
	longest   = 10 * time.Minute
)

// jobPlan is what is to be done once the status is written, and when to look again though nothing happens (0: never).
type jobPlan struct {
	status  batchv1.JobStatus
	create  []*corev1.Pod
	remove  []*corev1.Pod // which have failed by it
	dismiss []*corev1.Pod // which are too many, and do not count
	untrack []*corev1.Pod
	again   time.Duration
}

func suspended(j *batchv1.Job) bool { return j.Spec.Suspend != nil && *j.Spec.Suspend }

// plan says what comes next.
func plan(j *batchv1.Job, pods []*corev1.Pod, now time.Time) jobPlan {
	t := take(j, pods)
	p := jobPlan{status: t.status()}
	p.untrack = t.noted()
	if j.DeletionTimestamp != nil {
		return p
	}
	v := t.judge(now)
	if v == nil {
		t.goOn(&p, now)
	} else {
		t.end(&p, v, now)
	}
	return p
}

// noted are the pods that the status names as uncounted, or that are not to be counted: their finalizer may go.
func (t *tally) noted() []*corev1.Pod {
	var all []*corev1.Pod
	for _, p := range t.pods {
		if tracked(p) && (slices.Contains(t.uncounted.Succeeded, p.UID) || slices.Contains(t.uncounted.Failed, p.UID) || slices.Contains(t.fresh, p)) {
			all = append(all, p)
		}
	}
	return all
}

// status is the Job's, with what the pods amount to.
func (t *tally) status() batchv1.JobStatus {
	s := *t.counted.DeepCopy()
	terminating := int32(len(t.terminating))
	s.Active, s.Ready, s.Terminating = int32(len(t.active)), &t.ready, &terminating
	s.UncountedTerminatedPods = &t.uncounted
	if indexed(t.job) {
		s.CompletedIndexes = t.completed.String()
	}
	if t.job.Spec.BackoffLimitPerIndex != nil {
		text := t.failedIndexes.String()
		s.FailedIndexes = &text
	}
	return s
}

// end announces a verdict and takes away what still runs; when nothing is left and everything is counted, the verdict is
// final.
func (t *tally) end(p *jobPlan, v *verdict, now time.Time) {
	announced, final := batchv1.JobFailureTarget, batchv1.JobFailed
	if v.well {
		announced, final = batchv1.JobSuccessCriteriaMet, batchv1.JobComplete
	}
	set(&p.status, announced, corev1.ConditionTrue, v.reason, v.message, now)
	p.remove = t.active
	if len(t.active) > 0 || len(t.terminating) > 0 || len(t.uncounted.Succeeded)+len(t.uncounted.Failed) > 0 {
		return
	}
	set(&p.status, final, corev1.ConditionTrue, v.reason, v.message, now)
	if v.well {
		at := metav1.NewTime(now.Truncate(time.Second))
		p.status.CompletionTime = &at
	}
}

// goOn starts, suspends or resumes the Job, and makes the number of its pods right.
func (t *tally) goOn(p *jobPlan, now time.Time) {
	j := t.job
	if suspended(j) {
		t.suspend(p, now)
		return
	}
	if c := isTrue(&p.status, batchv1.JobSuspended); c != nil {
		set(&p.status, batchv1.JobSuspended, corev1.ConditionFalse, "JobResumed", "Job resumed", now)
	}
	if p.status.StartTime == nil {
		at := metav1.NewTime(now.Truncate(time.Second))
		p.status.StartTime = &at
	}
	if j.Spec.ActiveDeadlineSeconds != nil {
		p.again = sooner(p.again, max(t.deadline(now), time.Second))
	}
	t.resize(p, now)
}

func (t *tally) suspend(p *jobPlan, now time.Time) {
	p.dismiss = t.active
	if len(t.active) > 0 {
		return
	}
	set(&p.status, batchv1.JobSuspended, corev1.ConditionTrue, "JobSuspended", "Job suspended", now)
	p.status.StartTime = nil
}

func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b < a {
		return b
	}
	return a
}

// resize takes away pods that are too many, or makes those that are missing, later after failures.
func (t *tally) resize(p *jobPlan, now time.Time) {
	wanted := t.wanted()
	if surplus := len(t.active) - wanted; surplus > 0 {
		active := slices.Clone(t.active)
		controller.SortForDeletion(active)
		p.dismiss = active[:surplus]
		return
	}
	missing := wanted - len(t.active)
	if onlyReplaceFailed(t.job) {
		missing -= len(t.terminating)
	}
	if missing <= 0 {
		return
	}
	if t.job.Spec.BackoffLimitPerIndex != nil {
		t.fillEach(p, missing, now)
		return
	}
	if wait := backoff(t.lastFailures, now); wait > 0 {
		p.again = sooner(p.again, wait)
		return
	}
	t.fill(p, missing)
}

// wanted is how many pods are to be active.
func (t *tally) wanted() int {
	parallelism := 1
	if t.job.Spec.Parallelism != nil {
		parallelism = int(*t.job.Spec.Parallelism)
	}
	if t.job.Spec.Completions == nil {
		if t.succeeded > 0 { // the others finish, none is begun
			return min(len(t.active), parallelism)
		}
		return parallelism
	}
	return max(0, min(parallelism, completions(t.job)-int(t.succeeded)-t.failedIndexes.len()))
}

func (t *tally) fill(p *jobPlan, n int) {
	if !indexed(t.job) {
		for range n {
			p.create = append(p.create, newPod(t.job, none, 0, 0))
		}
		return
	}
	for _, i := range t.pending(n) {
		p.create = append(p.create, newPod(t.job, i, 0, 0))
	}
}

// pending are the first n indexes that are neither done nor being worked on.
func (t *tally) pending(n int) []int {
	busy := map[int]bool{}
	for _, p := range t.active {
		busy[indexOf(p)] = true
	}
	if onlyReplaceFailed(t.job) {
		for _, p := range t.terminating {
			busy[indexOf(p)] = true
		}
	}
	var free []int
	for i := 0; i < completions(t.job) && len(free) < n; i++ {
		if !busy[i] && !t.completed.has(i) && !t.failedIndexes.has(i) {
			free = append(free, i)
		}
	}
	return free
}

// fillEach is fill where each index has its own failures, and waits for itself.
func (t *tally) fillEach(p *jobPlan, n int, now time.Time) {
	for _, i := range t.pending(completions(t.job)) {
		if n == 0 {
			return
		}
		failures, ignored, last := t.failuresAt(i)
		if wait := backoff(last, now); wait > 0 {
			p.again = sooner(p.again, wait)
			continue
		}
		p.create = append(p.create, newPod(t.job, i, failures, ignored))
		n--
	}
}

// failuresAt is how often an index has failed, how often that was ignored, and when, as its last pod tells.
func (t *tally) failuresAt(index int) (failures, ignored int, at []time.Time) {
	for _, p := range t.pods {
		if indexOf(p) != index || p.Status.Phase != corev1.PodFailed {
			continue
		}
		n, m := failuresOf(p), number(p, batchv1.JobIndexIgnoredFailureCountAnnotation, 0)
		if action, _ := failurePolicy(t.job.Spec.PodFailurePolicy, p); action == batchv1.PodFailurePolicyActionIgnore {
			m++
		} else {
			n++
		}
		failures, ignored = max(failures, n), max(ignored, m)
		at = append(at, endOf(p))
	}
	slices.SortFunc(at, time.Time.Compare)
	return failures, ignored, at
}

// backoff is how long to wait after so many failures, the last one last.
func backoff(failures []time.Time, now time.Time) time.Duration {
	if len(failures) == 0 {
		return 0
	}
	wait := longest
	if n := len(failures) - 1; n < 6 {
		wait = min(longest, firstWait<<n)
	}
	return failures[len(failures)-1].Add(wait).Sub(now)
}
