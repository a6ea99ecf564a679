package resource

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/policy"
	"k8s.io/kubernetes/pkg/apis/policy/validation"
)

func podDisruptionBudgets() *Kind {
	return &Kind{
		GroupVersionKind: policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"),
		Plural:           "poddisruptionbudgets",
		Singular:         "poddisruptionbudget",
		ShortNames:       []string{"pdb"},
		Namespaced:       true,
		New:              newObject[policyv1.PodDisruptionBudget],
		NewList:          newList[policyv1.PodDisruptionBudgetList],

		PrepareForCreate: typed(func(b *policyv1.PodDisruptionBudget) {
			b.Status = policyv1.PodDisruptionBudgetStatus{}
			b.Generation = 1
		}),
		PrepareForUpdate: typedUpdate(func(b, old *policyv1.PodDisruptionBudget) {
			b.Status = *old.Status.DeepCopy()
			if !equality.Semantic.DeepEqual(b.Spec, old.Spec) {
				b.Generation = old.Generation + 1
			}
		}),
		Validate: validate(func(b *policy.PodDisruptionBudget) field.ErrorList {
			return validation.ValidatePodDisruptionBudget(b, validation.PodDisruptionBudgetValidationOptions{})
		}),
		ValidateUpdate: validateUpdate(func(b, old *policy.PodDisruptionBudget) field.ErrorList {
			return validation.ValidatePodDisruptionBudget(b, validation.PodDisruptionBudgetValidationOptions{
				AllowInvalidLabelValueInSelector: metav1validation.LabelSelectorHasInvalidLabelValue(old.Spec.Selector),
			})
		}),
		Resets: resets(statusField),

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("Min Available", "string", "The minimum number of pods that must be available."),
			column("Max Unavailable", "string", "The maximum number of pods that may be unavailable."),
			column("Allowed Disruptions", "integer", "Calculated number of pods that may be disrupted at this time."),
			ageColumn,
		},
		Row: row(func(b *policyv1.PodDisruptionBudget) []any {
			return []any{b.Name, orNotApplicable(b.Spec.MinAvailable), orNotApplicable(b.Spec.MaxUnavailable), int64(b.Status.DisruptionsAllowed), age(b)}
		}),
		Subresources: map[string]*Subresource{"status": {
			PrepareForUpdate: typedUpdate(func(b, old *policyv1.PodDisruptionBudget) { b.Spec = *old.Spec.DeepCopy() }),
			ValidateUpdate: validateUpdate(func(b, old *policy.PodDisruptionBudget) field.ErrorList {
				return validation.ValidatePodDisruptionBudgetStatusUpdate(b.Status, old.Status, field.NewPath("status"), policyv1.SchemeGroupVersion)
			}),
			Resets: resets(specField),
		}},
	}
}

func orNotApplicable(n *intstr.IntOrString) string {
	if n == nil {
		return "N/A"
	}
	return n.String()
}
