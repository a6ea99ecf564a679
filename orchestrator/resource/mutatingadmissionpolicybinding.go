package resource

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func mutatingAdmissionPolicyBindings() *Kind {
	valid := func(b *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList {
		return policyRef{name: b.Spec.PolicyName, param: b.Spec.ParamRef, match: b.Spec.MatchResources, mutating: true}.validate(field.NewPath("spec"))
	}
	return &Kind{
		GroupVersionKind: admissionv1.SchemeGroupVersion.WithKind("MutatingAdmissionPolicyBinding"),
		Plural:           "mutatingadmissionpolicybindings",
		Singular:         "mutatingadmissionpolicybinding",
		Categories:       []string{"api-extensions"},
		New:              newObject[admissionv1.MutatingAdmissionPolicyBinding],
		NewList:          newList[admissionv1.MutatingAdmissionPolicyBindingList],

		PrepareForCreate: typed(func(b *admissionv1.MutatingAdmissionPolicyBinding) { b.Generation = 1 }),
		PrepareForUpdate: typedUpdate(func(b, old *admissionv1.MutatingAdmissionPolicyBinding) {
			if !equality.Semantic.DeepEqual(b.Spec, old.Spec) {
				b.Generation = old.Generation + 1
			}
		}),
		Validate:       named(valid),
		ValidateUpdate: namedUpdate(func(b, _ *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList { return valid(b) }),
		Warnings:       func(obj, _ Object) []string { return staticNameWarnings(obj.GetName()) },

		Columns: policyBindingColumns(),
		Row: row(func(b *admissionv1.MutatingAdmissionPolicyBinding) []any {
			return []any{b.Name, b.Spec.PolicyName, paramRefCell(b.Spec.ParamRef), age(b)}
		}),
	}
}
