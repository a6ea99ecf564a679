package resource

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	"k8s.io/kubernetes/pkg/apis/apps/validation"
)

func replicaSets() *Kind {
	return &Kind{
		GroupVersionKind:    appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
		Plural:              "replicasets",
		Singular:            "replicaset",
		ShortNames:          []string{"rs"},
		Categories:          []string{"all"},
		Namespaced:          true,
		New:                 newObject[appsv1.ReplicaSet],
		NewList:             newList[appsv1.ReplicaSetList],
		Derive:              derived[apps.ReplicaSet, appsv1.ReplicaSet](),
		UnconditionalUpdate: true,

		PrepareForCreate: typed(func(rs *appsv1.ReplicaSet) {
			rs.Status = appsv1.ReplicaSetStatus{}
			rs.Generation = 1
			through(rs, nil, dropReplicaSetFields)
		}),
		PrepareForUpdate: typedUpdate(func(rs, old *appsv1.ReplicaSet) {
			rs.Status = *old.Status.DeepCopy()
			through(rs, old, dropReplicaSetFields)
			if !equality.Semantic.DeepEqual(rs.Spec, old.Spec) {
				rs.Generation = old.Generation + 1
			}
		}),
		Validate: validate(func(rs *apps.ReplicaSet) field.ErrorList {
			return validation.ValidateReplicaSet(rs, podutil.GetValidationOptionsFromPodTemplate(&rs.Spec.Template, nil))
		}),
		ValidateUpdate: validateUpdate(func(rs, old *apps.ReplicaSet) field.ErrorList {
			return validation.ValidateReplicaSetUpdate(rs, old, podutil.GetValidationOptionsFromPodTemplate(&rs.Spec.Template, &old.Spec.Template))
		}),
		Warnings: typedWarnings(func(rs, old *appsv1.ReplicaSet) []string {
			if old == nil {
				return templateWarnings(rs, nil, &rs.Spec.Template, nil)
			}
			return templateWarnings(rs, old, &rs.Spec.Template, &old.Spec.Template)
		}),
		Resets: resets(statusField),

		Columns: replicaSetColumns(),
		Row:     row(replicaSetRow),
		Subresources: map[string]*Subresource{
			"status": {
				PrepareForUpdate: typedUpdate(func(rs, old *appsv1.ReplicaSet) { rs.Spec = *old.Spec.DeepCopy() }),
				ValidateUpdate:   validateUpdate(validation.ValidateReplicaSetStatusUpdate),
				Resets:           resets(specField),
			},
			"scale": scaleDoor(func(obj Object) (**int32, int32, *metav1.LabelSelector) {
				rs := obj.(*appsv1.ReplicaSet)
				return &rs.Spec.Replicas, rs.Status.Replicas, rs.Spec.Selector
			}),
		},
	}
}

func dropReplicaSetFields(rs, old *apps.ReplicaSet) {
	if old == nil {
		podutil.DropDisabledTemplateFields(&rs.Spec.Template, nil)
		return
	}
	podutil.DropDisabledTemplateFields(&rs.Spec.Template, &old.Spec.Template)
}

func replicaSetColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		nameColumn,
		column("Desired", "integer", appsv1.ReplicaSetSpec{}.SwaggerDoc()["replicas"]),
		column("Current", "integer", appsv1.ReplicaSetStatus{}.SwaggerDoc()["replicas"]),
		column("Ready", "integer", appsv1.ReplicaSetStatus{}.SwaggerDoc()["readyReplicas"]),
		ageColumn,
		wide("Containers", "string", "Names of each container in the template."),
		wide("Images", "string", "Images referenced by each container in the template."),
		wide("Selector", "string", appsv1.ReplicaSetSpec{}.SwaggerDoc()["selector"]),
	}
}

func replicaSetRow(rs *appsv1.ReplicaSet) []any {
	names, images := containerCells(rs.Spec.Template.Spec.Containers)
	return []any{
		rs.Name, int64(replicas(rs.Spec.Replicas)), int64(rs.Status.Replicas), int64(rs.Status.ReadyReplicas),
		age(rs), names, images, metav1.FormatLabelSelector(rs.Spec.Selector),
	}
}
