package resource

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

func replicationControllers() *Kind {
	return &Kind{
		GroupVersionKind:    corev1.SchemeGroupVersion.WithKind("ReplicationController"),
		Plural:              "replicationcontrollers",
		Singular:            "replicationcontroller",
		ShortNames:          []string{"rc"},
		Categories:          []string{"all"},
		Namespaced:          true,
		New:                 newObject[corev1.ReplicationController],
		NewList:             newList[corev1.ReplicationControllerList],
		Derive:              derived[core.ReplicationController, corev1.ReplicationController](),
		UnconditionalUpdate: true,
		DefaultPropagation:  metav1.DeletePropagationOrphan,

		PrepareForCreate: typed(func(rc *corev1.ReplicationController) {
			rc.Status = corev1.ReplicationControllerStatus{}
			rc.Generation = 1
			through(rc, nil, dropReplicationControllerFields)
		}),
		PrepareForUpdate: typedUpdate(func(rc, old *corev1.ReplicationController) {
			rc.Status = *old.Status.DeepCopy()
			through(rc, old, dropReplicationControllerFields)
			if !equality.Semantic.DeepEqual(rc.Spec, old.Spec) {
				rc.Generation = old.Generation + 1
			}
		}),
		Validate: validate(func(rc *core.ReplicationController) field.ErrorList {
			return validation.ValidateReplicationController(rc, podutil.GetValidationOptionsFromPodTemplate(rc.Spec.Template, nil))
		}),
		ValidateUpdate: validateUpdate(func(rc, old *core.ReplicationController) field.ErrorList {
			return validation.ValidateReplicationControllerUpdate(rc, old, podutil.GetValidationOptionsFromPodTemplate(rc.Spec.Template, old.Spec.Template))
		}),
		Warnings: typedWarnings(func(rc, old *corev1.ReplicationController) []string {
			if old == nil {
				return templateWarnings(rc, nil, orEmpty(rc.Spec.Template), nil)
			}
			return templateWarnings(rc, old, orEmpty(rc.Spec.Template), orEmpty(old.Spec.Template))
		}),
		Resets: resets(statusField),

		Fields: func(obj Object) fields.Set {
			return fields.Set{"status.replicas": strconv.Itoa(int(obj.(*corev1.ReplicationController).Status.Replicas))}
		},
		FieldNames: []string{"status.replicas"},
		Columns:    replicationControllerColumns(),
		Row:        row(replicationControllerRow),
		Subresources: map[string]*Subresource{
			"status": {
				PrepareForUpdate: typedUpdate(func(rc, old *corev1.ReplicationController) { rc.Spec = *old.Spec.DeepCopy() }),
				ValidateUpdate:   validateUpdate(validation.ValidateReplicationControllerStatusUpdate),
				Resets:           resets(specField),
			},
			"scale": scaleDoor(func(obj Object) (**int32, int32, *metav1.LabelSelector) {
				rc := obj.(*corev1.ReplicationController)
				return &rc.Spec.Replicas, rc.Status.Replicas, &metav1.LabelSelector{MatchLabels: rc.Spec.Selector}
			}),
		},
	}
}

func dropReplicationControllerFields(rc, old *core.ReplicationController) {
	if old == nil {
		podutil.DropDisabledTemplateFields(rc.Spec.Template, nil)
		return
	}
	podutil.DropDisabledTemplateFields(rc.Spec.Template, old.Spec.Template)
}

// orEmpty is the template that validation has made sure of.
func orEmpty(t *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
	if t == nil {
		return &corev1.PodTemplateSpec{}
	}
	return t
}

func replicationControllerColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		nameColumn,
		column("Desired", "integer", corev1.ReplicationControllerSpec{}.SwaggerDoc()["replicas"]),
		column("Current", "integer", corev1.ReplicationControllerStatus{}.SwaggerDoc()["replicas"]),
		column("Ready", "integer", corev1.ReplicationControllerStatus{}.SwaggerDoc()["readyReplicas"]),
		ageColumn,
		wide("Containers", "string", "Names of each container in the template."),
		wide("Images", "string", "Images referenced by each container in the template."),
		wide("Selector", "string", corev1.ReplicationControllerSpec{}.SwaggerDoc()["selector"]),
	}
}

func replicationControllerRow(rc *corev1.ReplicationController) []any {
	names, images := containerCells(orEmpty(rc.Spec.Template).Spec.Containers)
	return []any{
		rc.Name, int64(replicas(rc.Spec.Replicas)), int64(rc.Status.Replicas), int64(rc.Status.ReadyReplicas),
		age(rc), names, images, labels.FormatLabels(rc.Spec.Selector),
	}
}
