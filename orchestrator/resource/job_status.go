package resource

import (
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/kubernetes/pkg/apis/batch"
	"k8s.io/kubernetes/pkg/apis/batch/validation"
)

// jobStatusOptions ask for consistency of what a write of the status changes: what was inconsistent before
// does not hinder.
func jobStatusOptions(j, old *batch.Job) validation.JobStatusValidationOptions {
	finished := validation.IsJobFinished(j) != validation.IsJobFinished(old)
	complete := validation.IsJobComplete(j) != validation.IsJobComplete(old)
	failed := validation.IsJobFailed(j) != validation.IsJobFailed(old)
	turned := func(t batch.JobConditionType) bool {
		return validation.IsConditionTrue(j.Status.Conditions, t) != validation.IsConditionTrue(old.Status.Conditions, t)
	}
	completedIndexes := j.Status.CompletedIndexes != old.Status.CompletedIndexes
	failedIndexes := !equalPointers(j.Status.FailedIndexes, old.Status.FailedIndexes)
	active := j.Status.Active != old.Status.Active
	started := !equality.Semantic.DeepEqual(j.Status.StartTime, old.Status.StartTime)
	ended := !equality.Semantic.DeepEqual(j.Status.CompletionTime, old.Status.CompletionTime)
	uncounted := !equality.Semantic.DeepEqual(j.Status.UncountedTerminatedPods, old.Status.UncountedTerminatedPods)
	indexed := j.Spec.CompletionMode != nil && *j.Spec.CompletionMode == batch.IndexedCompletion
	nothingToDo := j.Spec.Suspend != nil && *j.Spec.Suspend && j.Spec.Completions != nil && *j.Spec.Completions == 0
	resuming := validation.IsConditionTrue(old.Status.Conditions, batch.JobSuspended) && validation.IsConditionFalse(j.Status.Conditions, batch.JobSuspended)

	return validation.JobStatusValidationOptions{
		RejectDecreasingSucceededCounter:             !indexed || !equalPointers(j.Spec.Completions, j.Spec.Parallelism),
		RejectDecreasingFailedCounter:                true,
		RejectDisablingTerminalCondition:             true,
		RejectInvalidCompletedIndexes:                completedIndexes,
		RejectInvalidFailedIndexes:                   failedIndexes,
		RejectCompletedIndexesForNonIndexedJob:       completedIndexes,
		RejectFailedIndexesForNoBackoffLimitPerIndex: failedIndexes,
		RejectFailedIndexesOverlappingCompleted:      failedIndexes || completedIndexes,
		RejectFailedJobWithoutFailureTarget:          failed || failedIndexes,
		RejectCompleteJobWithoutSuccessCriteriaMet:   complete || turned(batch.JobSuccessCriteriaMet),
		RejectFinishedJobWithActivePods:              finished || active,
		RejectFinishedJobWithoutStartTime:            (finished || started) && !nothingToDo,
		RejectFinishedJobWithUncountedTerminatedPods: finished || uncounted,
		RejectStartTimeUpdateForUnsuspendedJob:       started && !resuming,
		RejectCompletionTimeBeforeStartTime:          started || ended,
		RejectMutatingCompletionTime:                 true,
		RejectNotCompleteJobWithCompletionTime:       complete || ended,
		RejectCompleteJobWithoutCompletionTime:       complete || ended,
		RejectCompleteJobWithFailedCondition:         complete || failed,
		RejectCompleteJobWithFailureTargetCondition:  complete || turned(batch.JobFailureTarget),
		AllowForSuccessCriteriaMetInExtendedScope:    true,
		RejectMoreReadyThanActivePods:                active || !equalPointers(j.Status.Ready, old.Status.Ready),
		RejectFinishedJobWithTerminatingPods:         finished || !equalPointers(j.Status.Terminating, old.Status.Terminating),
	}
}
