package resource

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	claimutil "k8s.io/kubernetes/pkg/api/persistentvolumeclaim"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	"k8s.io/kubernetes/pkg/apis/apps/validation"
)

func statefulSets() *Kind {
	return &Kind{
		GroupVersionKind:    appsv1.SchemeGroupVersion.WithKind("StatefulSet"),
		Plural:              "statefulsets",
		Singular:            "statefulset",
		ShortNames:          []string{"sts"},
		Categories:          []string{"all"},
		Namespaced:          true,
		New:                 newObject[appsv1.StatefulSet],
		NewList:             newList[appsv1.StatefulSetList],
		Derive:              derived[apps.StatefulSet, appsv1.StatefulSet](),
		UnconditionalUpdate: true,

		// What stands inside carries its kind, which protobuf does not keep.
		Decoded: typed(func(s *appsv1.StatefulSet) {
			for i := range s.Spec.VolumeClaimTemplates {
				s.Spec.VolumeClaimTemplates[i].SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim"))
			}
		}),
		PrepareForCreate: typed(func(s *appsv1.StatefulSet) {
			s.Status = appsv1.StatefulSetStatus{}
			s.Generation = 1
			through(s, nil, dropStatefulSetFields)
		}),
		PrepareForUpdate: typedUpdate(func(s, old *appsv1.StatefulSet) {
			s.Status = *old.Status.DeepCopy()
			through(s, old, dropStatefulSetFields)
			if !equality.Semantic.DeepEqual(s.Spec, old.Spec) {
				s.Generation = old.Generation + 1
			}
		}),
		Validate: validate(func(s *apps.StatefulSet) field.ErrorList {
			return validation.ValidateStatefulSet(s, podutil.GetValidationOptionsFromPodTemplate(&s.Spec.Template, nil))
		}),
		ValidateUpdate: validateUpdate(func(s, old *apps.StatefulSet) field.ErrorList {
			return validation.ValidateStatefulSetUpdate(s, old, podutil.GetValidationOptionsFromPodTemplate(&s.Spec.Template, &old.Spec.Template))
		}),
		Warnings: typedWarnings(statefulSetWarnings),
		Resets:   resets(statusField),

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("Ready", "string", "Number of the pod with ready state"),
			ageColumn,
			wide("Containers", "string", "Names of each container in the template."),
			wide("Images", "string", "Images referenced by each container in the template."),
		},
		Row: row(func(s *appsv1.StatefulSet) []any {
			names, images := containerCells(s.Spec.Template.Spec.Containers)
			return []any{s.Name, fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, replicas(s.Spec.Replicas)), age(s), names, images}
		}),
		Subresources: map[string]*Subresource{
			"status": {
				PrepareForUpdate: typedUpdate(func(s, old *appsv1.StatefulSet) { s.Spec = *old.Spec.DeepCopy() }),
				ValidateUpdate:   validateUpdate(validation.ValidateStatefulSetStatusUpdate),
				Resets:           resets(specField),
			},
			"scale": scaleDoor(func(obj Object) (**int32, int32, *metav1.LabelSelector) {
				s := obj.(*appsv1.StatefulSet)
				return &s.Spec.Replicas, s.Status.Replicas, s.Spec.Selector
			}),
		},
	}
}

func dropStatefulSetFields(s, old *apps.StatefulSet) {
	// Kubernetes 1.36 takes maxUnavailable only with a feature that is off by default.
	if r := s.Spec.UpdateStrategy.RollingUpdate; r != nil && !limitsUnavailable(old) {
		r.MaxUnavailable = nil
	}
	if old == nil {
		podutil.DropDisabledTemplateFields(&s.Spec.Template, nil)
	} else {
		podutil.DropDisabledTemplateFields(&s.Spec.Template, &old.Spec.Template)
	}
}

func limitsUnavailable(s *apps.StatefulSet) bool {
	return s != nil && s.Spec.UpdateStrategy.RollingUpdate != nil && s.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable != nil
}

// statefulSetWarnings, where old may be nil.
func statefulSetWarnings(s, old *appsv1.StatefulSet) []string {
	var warnings []string
	claim := func(i int) *field.Path { return field.NewPath("spec", "volumeClaimTemplates").Index(i) }
	switch {
	case old == nil:
		warnings = podTemplateWarnings(&s.Spec.Template, nil)
	case s.Generation != old.Generation:
		warnings = podTemplateWarnings(&s.Spec.Template, &old.Spec.Template)
	}
	in := internal[apps.StatefulSet](s)
	for i, c := range in.Spec.VolumeClaimTemplates {
		path := claim(i)
		if old != nil {
			path = path.Child("Spec") // as Kubernetes has it
		}
		warnings = append(warnings, claimutil.GetWarningsForPersistentVolumeClaimSpec(path, c.Spec)...)
	}
	if n := s.Spec.RevisionHistoryLimit; n != nil && *n < 0 {
		warnings = append(warnings, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
	}
	return warnings
}
