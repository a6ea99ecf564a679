package resource

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"
	jobutil "k8s.io/kubernetes/pkg/api/job"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/batch"
	"k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/core"
)

func jobs() *Kind {
	return &Kind{
		GroupVersionKind:    batchv1.SchemeGroupVersion.WithKind("Job"),
		Plural:              "jobs",
		Singular:            "job",
		Categories:          []string{"all"},
		Namespaced:          true,
		New:                 newObject[batchv1.Job],
		NewList:             newList[batchv1.JobList],
		Derive:              derived[batch.Job, batchv1.Job](),
		UnconditionalUpdate: true,
		DefaultPropagation:  metav1.DeletePropagationOrphan,
		Orphaning: "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them " +
			"or set propagationPolicy=Orphan to suppress this warning",

		PrepareForCreate: typed(func(j *batchv1.Job) {
			named := maps.Equal(j.Labels, j.Spec.Template.Labels) // by the defaults: it goes on to be named like its pods
			selectOwnPods(j)
			if named {
				j.Labels = maps.Clone(j.Spec.Template.Labels)
			}
			j.Status = batchv1.JobStatus{}
			j.Generation = 1
			through(j, nil, func(j, _ *batch.Job) { podutil.DropDisabledTemplateFields(&j.Spec.Template, nil) })
		}),
		PrepareForUpdate: typedUpdate(func(j, old *batchv1.Job) {
			j.Status = *old.Status.DeepCopy()
			through(j, old, func(j, old *batch.Job) { podutil.DropDisabledTemplateFields(&j.Spec.Template, &old.Spec.Template) })
			if !equality.Semantic.DeepEqual(j.Spec, old.Spec) {
				j.Generation = old.Generation + 1
			}
		}),
		Validate: validate(func(j *batch.Job) field.ErrorList { return validation.ValidateJob(j, jobOptions(j, nil)) }),
		ValidateUpdate: validateUpdate(func(j, old *batch.Job) field.ErrorList {
			o := jobOptions(j, old)
			return append(validation.ValidateJob(j, o), validation.ValidateJobUpdate(j, old, o)...)
		}),
		Warnings: typedWarnings(func(j, old *batchv1.Job) []string {
			switch {
			case old == nil:
				return append(podNameWarnings(j), jobSpecWarnings(field.NewPath("spec"), &j.Spec, nil)...)
			case j.Generation == old.Generation:
				return nil
			}
			return jobSpecWarnings(field.NewPath("spec"), &j.Spec, &old.Spec)
		}),
		Resets: resets(statusField),

		Fields: func(obj Object) fields.Set {
			return fields.Set{"status.successful": strconv.Itoa(int(obj.(*batchv1.Job).Status.Succeeded))}
		},
		FieldNames: []string{"status.successful"},
		Columns:    jobColumns(),
		Row:        row(jobRow),
		Subresources: map[string]*Subresource{"status": {
			PrepareForUpdate: typedUpdate(func(j, old *batchv1.Job) { j.Spec = *old.Spec.DeepCopy() }),
			ValidateUpdate: validateUpdate(func(j, old *batch.Job) field.ErrorList {
				return validation.ValidateJobUpdateStatus(j, old, jobStatusOptions(j, old))
			}),
			Resets: resets(specField),
		}},
	}
}

// jobSpecWarnings, where old may be nil.
func jobSpecWarnings(path *field.Path, spec, old *batchv1.JobSpec) []string {
	var inOld *batch.JobSpec
	if old != nil {
		inOld = internal[batch.JobSpec](old)
	}
	return jobutil.WarningsForJobSpec(context.Background(), path, internal[batch.JobSpec](spec), inOld)
}

// selectOwnPods makes a Job select its pods by its own uid, unless the client takes care of it.
func selectOwnPods(j *batchv1.Job) {
	if j.Spec.ManualSelector != nil && *j.Spec.ManualSelector {
		return
	}
	template := &j.Spec.Template
	if template.Labels == nil {
		template.Labels = map[string]string{}
	}
	setIfMissing := func(labels map[string]string, name, value string) {
		if _, ok := labels[name]; !ok {
			labels[name] = value
		}
	}
	setIfMissing(template.Labels, batch.LegacyJobNameLabel, j.Name)
	setIfMissing(template.Labels, batchv1.JobNameLabel, j.Name)
	setIfMissing(template.Labels, batch.LegacyControllerUidLabel, string(j.UID))
	setIfMissing(template.Labels, batchv1.ControllerUidLabel, string(j.UID))
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	if j.Spec.Selector.MatchLabels == nil {
		j.Spec.Selector.MatchLabels = map[string]string{}
	}
	setIfMissing(j.Spec.Selector.MatchLabels, batchv1.ControllerUidLabel, string(j.UID))
}

// jobOptions say which rules apply; old may be nil. The template of a suspended Job that runs nothing may change.
func jobOptions(j, old *batch.Job) validation.JobValidationOptions {
	var template *core.PodTemplateSpec
	if old != nil {
		template = &old.Spec.Template
	}
	o := validation.JobValidationOptions{
		PodValidationOptions:  podutil.GetValidationOptionsFromPodTemplate(&j.Spec.Template, template),
		RequirePrefixedLabels: true,
	}
	if old == nil {
		return o
	}
	suspended := old.Spec.Suspend != nil && *old.Spec.Suspend
	idle := (old.Status.StartTime == nil || validation.IsConditionTrue(old.Status.Conditions, batch.JobSuspended)) && old.Status.Active == 0
	_, named := old.Spec.Template.Labels[batch.JobNameLabel]
	_, owned := old.Spec.Template.Labels[batch.ControllerUidLabel]
	o.AllowInvalidLabelValueInSelector = o.AllowInvalidLabelValueInSelector || metav1validation.LabelSelectorHasInvalidLabelValue(old.Spec.Selector)
	o.AllowMutableSchedulingDirectives = suspended && idle
	o.AllowMutablePodResources = suspended && idle
	o.RequirePrefixedLabels = named && owned
	return o
}

func jobColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		nameColumn,
		column("Status", "string", "Status of the job."),
		column("Completions", "string", batchv1.JobStatus{}.SwaggerDoc()["succeeded"]),
		column("Duration", "string", "Time required to complete the job."),
		ageColumn,
		wide("Containers", "string", "Names of each container in the template."),
		wide("Images", "string", "Images referenced by each container in the template."),
		wide("Selector", "string", batchv1.JobSpec{}.SwaggerDoc()["selector"]),
	}
}

func jobRow(j *batchv1.Job) []any {
	names, images := containerCells(j.Spec.Template.Spec.Containers)
	return []any{j.Name, jobStatus(j), jobCompletions(j), jobDuration(j), age(j), names, images, metav1.FormatLabelSelector(j.Spec.Selector)}
}

func jobStatus(j *batchv1.Job) string {
	is := map[batchv1.JobConditionType]bool{}
	for _, c := range j.Status.Conditions {
		if _, seen := is[c.Type]; !seen {
			is[c.Type] = c.Status == corev1.ConditionTrue
		}
	}
	switch {
	case is[batchv1.JobComplete]:
		return "Complete"
	case is[batchv1.JobFailed]:
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case is[batchv1.JobSuspended]:
		return "Suspended"
	case is[batchv1.JobFailureTarget]:
		return "FailureTarget"
	case is[batchv1.JobSuccessCriteriaMet]:
		return "SuccessCriteriaMet"
	}
	return "Running"
}

func jobCompletions(j *batchv1.Job) string {
	if n := j.Spec.Completions; n != nil {
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *n)
	}
	if n := replicas(j.Spec.Parallelism); n > 1 {
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, n)
	}
	return fmt.Sprintf("%d/1", j.Status.Succeeded)
}

func jobDuration(j *batchv1.Job) string {
	switch {
	case j.Status.StartTime == nil:
		return ""
	case j.Status.CompletionTime == nil:
		return duration.HumanDuration(time.Since(j.Status.StartTime.Time))
	}
	return duration.HumanDuration(j.Status.CompletionTime.Sub(j.Status.StartTime.Time))
}
