package resource

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

func podTemplates() *Kind {
	return &Kind{
		GroupVersionKind:    corev1.SchemeGroupVersion.WithKind("PodTemplate"),
		Plural:              "podtemplates",
		Singular:            "podtemplate",
		Namespaced:          true,
		New:                 newObject[corev1.PodTemplate],
		NewList:             newList[corev1.PodTemplateList],
		Derive:              derived[core.PodTemplate, corev1.PodTemplate](),
		UnconditionalUpdate: true,

		PrepareForCreate: typed(func(t *corev1.PodTemplate) {
			t.Generation = 1
			through(t, nil, dropPodTemplateFields)
		}),
		PrepareForUpdate: typedUpdate(func(t, old *corev1.PodTemplate) {
			through(t, old, dropPodTemplateFields)
			if !equality.Semantic.DeepEqual(t.Template, old.Template) {
				t.Generation = old.Generation + 1
			}
		}),
		Validate: validate(func(t *core.PodTemplate) field.ErrorList {
			return validation.ValidatePodTemplate(t, podutil.GetValidationOptionsFromPodTemplate(&t.Template, nil))
		}),
		ValidateUpdate: validateUpdate(func(t, old *core.PodTemplate) field.ErrorList {
			return validation.ValidatePodTemplateUpdate(t, old, podutil.GetValidationOptionsFromPodTemplate(&t.Template, &old.Template))
		}),
		Warnings: typedWarnings(func(t, old *corev1.PodTemplate) []string {
			in := internal[core.PodTemplateSpec](&t.Template)
			switch {
			case old == nil:
				return podutil.GetWarningsForPodTemplate(context.Background(), field.NewPath("template"), in, nil)
			case t.Generation == old.Generation:
				return nil
			}
			return podutil.GetWarningsForPodTemplate(context.Background(), field.NewPath("template"), in, internal[core.PodTemplateSpec](&old.Template))
		}),

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("Containers", "string", "Names of each container in the template."),
			column("Images", "string", "Images referenced by each container in the template."),
			column("Pod Labels", "string", "The labels for the pod template."),
		},
		Row: row(func(t *corev1.PodTemplate) []any {
			names, images := containerCells(t.Template.Spec.Containers)
			return []any{t.Name, names, images, labels.FormatLabels(t.Template.Labels)}
		}),
	}
}

func dropPodTemplateFields(t, old *core.PodTemplate) {
	if old == nil {
		podutil.DropDisabledTemplateFields(&t.Template, nil)
		return
	}
	podutil.DropDisabledTemplateFields(&t.Template, &old.Template)
}
