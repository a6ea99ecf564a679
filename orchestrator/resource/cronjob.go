package resource

import (
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/batch"
	"k8s.io/kubernetes/pkg/apis/batch/validation"
)

func cronJobs() *Kind {
	return &Kind{
		GroupVersionKind:    batchv1.SchemeGroupVersion.WithKind("CronJob"),
		Plural:              "cronjobs",
		Singular:            "cronjob",
		ShortNames:          []string{"cj"},
		Categories:          []string{"all"},
		Namespaced:          true,
		New:                 newObject[batchv1.CronJob],
		NewList:             newList[batchv1.CronJobList],
		Derive:              derived[batch.CronJob, batchv1.CronJob](),
		UnconditionalUpdate: true,

		PrepareForCreate: typed(func(c *batchv1.CronJob) {
			c.Status = batchv1.CronJobStatus{}
			c.Generation = 1
			through(c, nil, func(c, _ *batch.CronJob) {
				podutil.DropDisabledTemplateFields(&c.Spec.JobTemplate.Spec.Template, nil)
			})
		}),
		PrepareForUpdate: typedUpdate(func(c, old *batchv1.CronJob) {
			c.Status = *old.Status.DeepCopy()
			through(c, old, func(c, old *batch.CronJob) {
				podutil.DropDisabledTemplateFields(&c.Spec.JobTemplate.Spec.Template, &old.Spec.JobTemplate.Spec.Template)
			})
			if !equality.Semantic.DeepEqual(c.Spec, old.Spec) {
				c.Generation = old.Generation + 1
			}
		}),
		Validate: validate(func(c *batch.CronJob) field.ErrorList {
			return validation.ValidateCronJobCreate(c, podutil.GetValidationOptionsFromPodTemplate(&c.Spec.JobTemplate.Spec.Template, nil))
		}),
		ValidateUpdate: validateUpdate(func(c, old *batch.CronJob) field.ErrorList {
			o := podutil.GetValidationOptionsFromPodTemplate(&c.Spec.JobTemplate.Spec.Template, &old.Spec.JobTemplate.Spec.Template)
			return validation.ValidateCronJobUpdate(c, old, o)
		}),
		Warnings: typedWarnings(cronJobWarnings),
		Resets:   resets(statusField),

		Columns: cronJobColumns(),
		Row:     row(cronJobRow),
		Subresources: map[string]*Subresource{"status": {
			PrepareForUpdate: typedUpdate(func(c, old *batchv1.CronJob) { c.Spec = *old.Spec.DeepCopy() }),
			ValidateUpdate:   func(_, _ Object) field.ErrorList { return nil },
			Resets:           resets(specField),
		}},
	}
}

// cronJobWarnings, where old may be nil.
func cronJobWarnings(c, old *batchv1.CronJob) []string {
	path := field.NewPath("spec", "jobTemplate", "spec")
	if old == nil {
		return append(podNameWarnings(c), jobSpecWarnings(path, &c.Spec.JobTemplate.Spec, nil)...)
	}
	var warnings []string
	if c.Generation != old.Generation {
		warnings = jobSpecWarnings(path, &c.Spec.JobTemplate.Spec, &old.Spec.JobTemplate.Spec)
	}
	if strings.Contains(c.Spec.Schedule, "TZ") {
		warnings = append(warnings, fmt.Sprintf("cannot use TZ or CRON_TZ in %s, use timeZone instead, "+
			"see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details", field.NewPath("spec", "spec", "schedule")))
	}
	return warnings
}

func cronJobColumns() []metav1.TableColumnDefinition {
	spec, status := batchv1.CronJobSpec{}.SwaggerDoc(), batchv1.CronJobStatus{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		nameColumn,
		column("Schedule", "string", spec["schedule"]),
		column("Timezone", "string", spec["timeZone"]),
		column("Suspend", "boolean", spec["suspend"]),
		column("Active", "integer", status["active"]),
		column("Last Schedule", "string", status["lastScheduleTime"]),
		ageColumn,
		wide("Containers", "string", "Names of each container in the template."),
		wide("Images", "string", "Images referenced by each container in the template."),
		wide("Selector", "string", batchv1.JobSpec{}.SwaggerDoc()["selector"]),
	}
}

func cronJobRow(c *batchv1.CronJob) []any {
	last, zone, suspend := "<none>", "<none>", "<unset>"
	if t := c.Status.LastScheduleTime; t != nil {
		last = since(t.Time)
	}
	if z := c.Spec.TimeZone; z != nil {
		zone = *z
	}
	if s := c.Spec.Suspend; s != nil && *s {
		suspend = "True"
	} else if s != nil {
		suspend = "False"
	}
	job := &c.Spec.JobTemplate.Spec
	names, images := containerCells(job.Template.Spec.Containers)
	return []any{
		c.Name, c.Spec.Schedule, zone, suspend, int64(len(c.Status.Active)), last, age(c),
		names, images, metav1.FormatLabelSelector(job.Selector),
	}
}
