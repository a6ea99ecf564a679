package resource

import (
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	"k8s.io/kubernetes/pkg/apis/apps/validation"
)

func deployments() *Kind {
	return &Kind{
		GroupVersionKind:    appsv1.SchemeGroupVersion.WithKind("Deployment"),
		Plural:              "deployments",
		Singular:            "deployment",
		ShortNames:          []string{"deploy"},
		Categories:          []string{"all"},
		Namespaced:          true,
		New:                 newObject[appsv1.Deployment],
		NewList:             newList[appsv1.DeploymentList],
		Derive:              derived[apps.Deployment, appsv1.Deployment](),
		UnconditionalUpdate: true,

		PrepareForCreate: typed(func(d *appsv1.Deployment) {
			d.Status = appsv1.DeploymentStatus{}
			d.Generation = 1
			through(d, nil, dropDeploymentFields)
		}),
		PrepareForUpdate: typedUpdate(func(d, old *appsv1.Deployment) {
			d.Status = *old.Status.DeepCopy()
			through(d, old, dropDeploymentFields)
			// Annotations count too: they are copied to the replica sets.
			if !equality.Semantic.DeepEqual(d.Spec, old.Spec) || !equality.Semantic.DeepEqual(d.Annotations, old.Annotations) {
				d.Generation = old.Generation + 1
			}
		}),
		Validate: validate(func(d *apps.Deployment) field.ErrorList {
			return validation.ValidateDeployment(d, podutil.GetValidationOptionsFromPodTemplate(&d.Spec.Template, nil))
		}),
		ValidateUpdate: validateUpdate(func(d, old *apps.Deployment) field.ErrorList {
			return validation.ValidateDeploymentUpdate(d, old, podutil.GetValidationOptionsFromPodTemplate(&d.Spec.Template, &old.Spec.Template))
		}),
		Warnings: typedWarnings(func(d, old *appsv1.Deployment) []string {
			if old == nil {
				return templateWarnings(d, nil, &d.Spec.Template, nil)
			}
			return templateWarnings(d, old, &d.Spec.Template, &old.Spec.Template)
		}),
		Resets: resets(statusField),

		Columns: deploymentColumns(),
		Row:     row(deploymentRow),
		Subresources: map[string]*Subresource{
			"status": {
				PrepareForUpdate: typedUpdate(func(d, old *appsv1.Deployment) {
					d.Spec = *old.Spec.DeepCopy()
					d.Labels = maps.Clone(old.Labels)
				}),
				ValidateUpdate: validateUpdate(validation.ValidateDeploymentStatusUpdate),
				Resets:         resets(specField, []any{"metadata", "labels"}),
			},
			"scale": scaleDoor(func(obj Object) (**int32, int32, *metav1.LabelSelector) {
				d := obj.(*appsv1.Deployment)
				return &d.Spec.Replicas, d.Status.Replicas, d.Spec.Selector
			}),
		},
	}
}

func dropDeploymentFields(d, old *apps.Deployment) {
	if old == nil {
		podutil.DropDisabledTemplateFields(&d.Spec.Template, nil)
		return
	}
	podutil.DropDisabledTemplateFields(&d.Spec.Template, &old.Spec.Template)
}

func deploymentColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		nameColumn,
		column("Ready", "string", "Number of the pod with ready state"),
		column("Up-to-date", "string", appsv1.DeploymentStatus{}.SwaggerDoc()["updatedReplicas"]),
		column("Available", "string", appsv1.DeploymentStatus{}.SwaggerDoc()["availableReplicas"]),
		ageColumn,
		wide("Containers", "string", "Names of each container in the template."),
		wide("Images", "string", "Images referenced by each container in the template."),
		wide("Selector", "string", appsv1.DeploymentSpec{}.SwaggerDoc()["selector"]),
	}
}

func deploymentRow(d *appsv1.Deployment) []any {
	names, images := containerCells(d.Spec.Template.Spec.Containers)
	selector := "<invalid>"
	if s, err := metav1.LabelSelectorAsSelector(d.Spec.Selector); err == nil {
		selector = s.String()
	}
	return []any{
		d.Name,
		fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, replicas(d.Spec.Replicas)),
		int64(d.Status.UpdatedReplicas), int64(d.Status.AvailableReplicas),
		age(d), names, images, selector,
	}
}
