package resource

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

func namespaces() *Kind {
	return &Kind{
		GroupVersionKind:    corev1.SchemeGroupVersion.WithKind("Namespace"),
		Plural:              "namespaces",
		Singular:            "namespace",
		ShortNames:          []string{"ns"},
		Verbs:               []string{"create", "delete", "get", "list", "patch", "update", "watch"},
		New:                 newObject[corev1.Namespace],
		NewList:             newList[corev1.NamespaceList],
		UnconditionalUpdate: true,

		PrepareForCreate: typed(prepareNamespace),
		PrepareForUpdate: typedUpdate(func(ns, old *corev1.Namespace) {
			ns.Spec.Finalizers = slices.Clone(old.Spec.Finalizers)
			ns.Status = *old.Status.DeepCopy()
			labelNamespace(ns)
		}),
		Validate:       validate(validation.ValidateNamespace),
		ValidateUpdate: validateBoth(validation.ValidateNamespace, validation.ValidateNamespaceUpdate),
		Resets:         resets(statusField),

		Deleting: typed(func(ns *corev1.Namespace) { ns.Status.Phase = corev1.NamespaceTerminating }),
		Holds:    func(obj Object) bool { return len(obj.(*corev1.Namespace).Spec.Finalizers) > 0 },

		Fields: func(obj Object) fields.Set {
			ns := obj.(*corev1.Namespace)
			return fields.Set{"status.phase": string(ns.Status.Phase), "name": ns.Name}
		},
		FieldNames: []string{"status.phase", "name"},
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("Status", "string", "The status of the namespace"),
			ageColumn,
		},
		Row: row(func(ns *corev1.Namespace) []any {
			return []any{ns.Name, string(ns.Status.Phase), age(ns)}
		}),
		Subresources: map[string]*Subresource{
			"status": {
				PrepareForUpdate: typedUpdate(func(ns, old *corev1.Namespace) {
					ns.Spec = *old.Spec.DeepCopy()
					labelNamespace(ns)
				}),
				ValidateUpdate: validateUpdate(validation.ValidateNamespaceStatusUpdate),
				Resets:         resets(specField),
			},
			"finalize": {
				PrepareForUpdate: typedUpdate(func(ns, old *corev1.Namespace) {
					ns.Status = *old.Status.DeepCopy()
					labelNamespace(ns)
				}),
				ValidateUpdate: validateUpdate(validation.ValidateNamespaceFinalizeUpdate),
				Resets:         resets(statusField),
				Verbs:          []string{"update"},
			},
		},
	}
}

func prepareNamespace(ns *corev1.Namespace) {
	ns.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
	if !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		ns.Spec.Finalizers = append(ns.Spec.Finalizers, corev1.FinalizerKubernetes)
	}
	labelNamespace(ns)
}

// labelNamespace lets namespaces be selected by name.
func labelNamespace(ns *corev1.Namespace) {
	if ns.Labels == nil {
		ns.Labels = map[string]string{}
	}
	ns.Labels[corev1.LabelMetadataName] = ns.Name
}
