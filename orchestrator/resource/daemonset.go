package resource

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	"k8s.io/kubernetes/pkg/apis/apps/validation"
)

func daemonSets() *Kind {
	return &Kind{
		GroupVersionKind:    appsv1.SchemeGroupVersion.WithKind("DaemonSet"),
		Plural:              "daemonsets",
		Singular:            "daemonset",
		ShortNames:          []string{"ds"},
		Categories:          []string{"all"},
		Namespaced:          true,
		New:                 newObject[appsv1.DaemonSet],
		NewList:             newList[appsv1.DaemonSetList],
		Derive:              derived[apps.DaemonSet, appsv1.DaemonSet](),
		UnconditionalUpdate: true,

		PrepareForCreate: typed(func(d *appsv1.DaemonSet) {
			d.Status = appsv1.DaemonSetStatus{}
			d.Generation = 1
			through(d, nil, func(d, _ *apps.DaemonSet) {
				d.Spec.TemplateGeneration = max(d.Spec.TemplateGeneration, 1)
				podutil.DropDisabledTemplateFields(&d.Spec.Template, nil)
			})
		}),
		PrepareForUpdate: typedUpdate(func(d, old *appsv1.DaemonSet) {
			d.Status = *old.Status.DeepCopy()
			through(d, old, prepareDaemonSet)
		}),
		Validate: validate(func(d *apps.DaemonSet) field.ErrorList {
			return validation.ValidateDaemonSet(d, podutil.GetValidationOptionsFromPodTemplate(&d.Spec.Template, nil))
		}),
		ValidateUpdate: validateUpdate(func(d, old *apps.DaemonSet) field.ErrorList {
			o := podutil.GetValidationOptionsFromPodTemplate(&d.Spec.Template, &old.Spec.Template)
			o.AllowInvalidLabelValueInSelector = o.AllowInvalidLabelValueInSelector || metav1validation.LabelSelectorHasInvalidLabelValue(old.Spec.Selector)
			return validation.ValidateDaemonSetUpdate(d, old, o)
		}),
		Warnings: typedWarnings(func(d, old *appsv1.DaemonSet) []string {
			switch {
			case old == nil:
				return podTemplateWarnings(&d.Spec.Template, nil)
			case equality.Semantic.DeepEqual(d.Spec.Template, old.Spec.Template):
				return nil
			}
			return podTemplateWarnings(&d.Spec.Template, &old.Spec.Template)
		}),
		Resets: resets(statusField),

		Columns: daemonSetColumns(),
		Row:     row(daemonSetRow),
		Subresources: map[string]*Subresource{"status": {
			PrepareForUpdate: typedUpdate(func(d, old *appsv1.DaemonSet) {
				// The generation of the template is an annotation here, and part of the spec there.
				through(d, old, func(d, old *apps.DaemonSet) { d.Spec = *old.Spec.DeepCopy() })
			}),
			ValidateUpdate: validateUpdate(validation.ValidateDaemonSetStatusUpdate),
			Resets:         resets(specField),
		}},
	}
}

// prepareDaemonSet raises the generations, of which clients set neither.
func prepareDaemonSet(d, old *apps.DaemonSet) {
	podutil.DropDisabledTemplateFields(&d.Spec.Template, &old.Spec.Template)
	d.Spec.TemplateGeneration = old.Spec.TemplateGeneration
	if !equality.Semantic.DeepEqual(d.Spec.Template, old.Spec.Template) {
		d.Spec.TemplateGeneration++
		d.Generation = old.Generation + 1
	} else if !equality.Semantic.DeepEqual(d.Spec, old.Spec) {
		d.Generation = old.Generation + 1
	}
}

func daemonSetColumns() []metav1.TableColumnDefinition {
	status := appsv1.DaemonSetStatus{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		nameColumn,
		column("Desired", "integer", status["desiredNumberScheduled"]),
		column("Current", "integer", status["currentNumberScheduled"]),
		column("Ready", "integer", status["numberReady"]),
		column("Up-to-date", "integer", status["updatedNumberScheduled"]),
		column("Available", "integer", status["numberAvailable"]),
		column("Node Selector", "string", corev1.PodSpec{}.SwaggerDoc()["nodeSelector"]),
		ageColumn,
		wide("Containers", "string", "Names of each container in the template."),
		wide("Images", "string", "Images referenced by each container in the template."),
		wide("Selector", "string", appsv1.DaemonSetSpec{}.SwaggerDoc()["selector"]),
	}
}

func daemonSetRow(d *appsv1.DaemonSet) []any {
	names, images := containerCells(d.Spec.Template.Spec.Containers)
	return []any{
		d.Name, int64(d.Status.DesiredNumberScheduled), int64(d.Status.CurrentNumberScheduled), int64(d.Status.NumberReady),
		int64(d.Status.UpdatedNumberScheduled), int64(d.Status.NumberAvailable),
		labels.FormatLabels(d.Spec.Template.Spec.NodeSelector), age(d), names, images, metav1.FormatLabelSelector(d.Spec.Selector),
	}
}
