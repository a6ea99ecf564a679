package cronjob

import (
	"fmt"
	"maps"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// scheduledAt is what a Job says of the time that it was due.
const scheduledAt = "batch.kubernetes.io/cronjob-scheduled-timestamp"

// tooMany is how many missed times are worth a warning.
const tooMany = 100

// told is an event to be.
type told struct{ eventtype, reason, text string }

// cronPlan is what is to be done, the status as it is then, and when to look again (0: never).
type cronPlan struct {
	create *batchv1.Job // nil: nothing is due
	remove []*batchv1.Job
	status batchv1.CronJobStatus
	tell   []told
	again  time.Duration
	due    time.Time // of create
}

// started notes the Job in the status.
func (p *cronPlan) started(j *batchv1.Job) {
	at := metav1.NewTime(p.due)
	p.status.LastScheduleTime = &at
	p.status.Active = append(p.status.Active, corev1.ObjectReference{
		Kind: "Job", APIVersion: "batch/v1", Namespace: j.Namespace, Name: j.Name, UID: j.UID, ResourceVersion: j.ResourceVersion,
	})
}

func (p *cronPlan) warn(reason, format string, args ...any) {
	p.tell = append(p.tell, told{corev1.EventTypeWarning, reason, fmt.Sprintf(format, args...)})
}

func (p *cronPlan) note(reason, format string, args ...any) {
	p.tell = append(p.tell, told{corev1.EventTypeNormal, reason, fmt.Sprintf(format, args...)})
}

func plan(cj *batchv1.CronJob, jobs []*batchv1.Job, now time.Time) cronPlan {
	p := cronPlan{status: *cj.Status.DeepCopy()}
	p.look(jobs)
	p.prune(jobs, batchv1.JobComplete, cj.Spec.SuccessfulJobsHistoryLimit)
	p.prune(jobs, batchv1.JobFailed, cj.Spec.FailedJobsHistoryLimit)
	if cj.Spec.Suspend != nil && *cj.Spec.Suspend {
		return p
	}
	s, err := scheduleOf(cj)
	if err != nil {
		p.warn("UnparseableSchedule", "%v", err)
		return p
	}
	p.decide(cj, jobs, s, now)
	if next := s.after(now); !next.IsZero() {
		p.again = next.Sub(now)
	}
	return p
}

// look brings the list of active Jobs up to date.
func (p *cronPlan) look(jobs []*batchv1.Job) {
	byUID := map[types.UID]*batchv1.Job{}
	for _, j := range jobs {
		byUID[j.UID] = j
	}
	p.status.Active = slices.DeleteFunc(p.status.Active, func(r corev1.ObjectReference) bool {
		j, ok := byUID[r.UID]
		switch end := ended(j); {
		case !ok:
			p.note("MissingJob", "Active job went missing: %v", r.Name)
			return true
		case end != "":
			p.note("SawCompletedJob", "Saw completed job: %s, condition: %v", j.Name, end)
			return true
		}
		return false
	})
	for _, j := range jobs {
		if ended(j) == batchv1.JobComplete && j.Status.CompletionTime != nil &&
			(p.status.LastSuccessfulTime == nil || p.status.LastSuccessfulTime.Before(j.Status.CompletionTime)) {
			p.status.LastSuccessfulTime = j.Status.CompletionTime
		}
	}
}

// ended is the condition with which a Job has ended; "" while it has not.
func ended(j *batchv1.Job) batchv1.JobConditionType {
	if j == nil {
		return ""
	}
	for _, c := range j.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c.Type
		}
	}
	return ""
}

// prune removes the oldest of the Jobs that ended so, until the limit is kept.
func (p *cronPlan) prune(jobs []*batchv1.Job, how batchv1.JobConditionType, limit *int32) {
	if limit == nil {
		return
	}
	all := slices.DeleteFunc(slices.Clone(jobs), func(j *batchv1.Job) bool { return ended(j) != how || j.DeletionTimestamp != nil })
	slices.SortFunc(all, func(a, b *batchv1.Job) int { return startOf(a).Compare(startOf(b)) })
	p.remove = append(p.remove, all[:max(0, len(all)-int(*limit))]...)
}

func startOf(j *batchv1.Job) time.Time {
	if j.Status.StartTime != nil {
		return j.Status.StartTime.Time
	}
	return j.CreationTimestamp.Time
}

// decide says whether a Job is to be made now.
func (p *cronPlan) decide(cj *batchv1.CronJob, jobs []*batchv1.Job, s schedule, now time.Time) {
	due, ok := p.lastDue(cj, s, now)
	if !ok {
		return
	}
	if d := cj.Spec.StartingDeadlineSeconds; d != nil && due.Add(time.Duration(*d)*time.Second).Before(now) {
		p.warn("MissSchedule", "Missed scheduled time to start a job: %s", due.UTC().Format(time.RFC1123Z))
		return
	}
	name := fmt.Sprintf("%s-%d", cj.Name, due.Unix()/60)
	if slices.ContainsFunc(jobs, func(j *batchv1.Job) bool { return j.Name == name }) {
		return
	}
	switch cj.Spec.ConcurrencyPolicy {
	case batchv1.ForbidConcurrent:
		if len(p.status.Active) > 0 {
			p.note("JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
			return
		}
	case batchv1.ReplaceConcurrent:
		for _, j := range jobs {
			if slices.ContainsFunc(p.status.Active, func(r corev1.ObjectReference) bool { return r.UID == j.UID }) {
				p.remove = append(p.remove, j)
			}
		}
		p.status.Active = nil
	}
	p.create, p.due = newJob(cj, name, due), due
}

// lastDue is the last scheduled time that has come and has not been dealt with.
func (p *cronPlan) lastDue(cj *batchv1.CronJob, s schedule, now time.Time) (time.Time, bool) {
	since := cj.CreationTimestamp.Time
	if cj.Status.LastScheduleTime != nil {
		since = cj.Status.LastScheduleTime.Time
	}
	if d := cj.Spec.StartingDeadlineSeconds; d != nil {
		if earliest := now.Add(-time.Duration(*d) * time.Second); earliest.After(since) {
			since = earliest
		}
	}
	due, n, err := s.missed(since, now, tooMany)
	if err != nil {
		p.warn("InvalidSchedule", "invalid schedule: %s : %v", cj.Spec.Schedule, err)
		return due, false
	}
	if n >= tooMany {
		p.warn("TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	return due, n > 0
}

func newJob(cj *batchv1.CronJob, name string, due time.Time) *batchv1.Job {
	t := cj.Spec.JobTemplate.DeepCopy()
	j := &batchv1.Job{Spec: t.Spec}
	j.Namespace, j.Name = cj.Namespace, name
	j.Labels, j.Annotations = t.Labels, maps.Clone(t.Annotations)
	if j.Annotations == nil {
		j.Annotations = map[string]string{}
	}
	j.Annotations[scheduledAt] = due.Format(time.RFC3339)
	j.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(cj, kind)}
	return j
}
