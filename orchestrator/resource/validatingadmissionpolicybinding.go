package resource

import (
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validatingAdmissionPolicyBindings() *Kind {
	return &Kind{
		GroupVersionKind: admissionv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicyBinding"),
		Plural:           "validatingadmissionpolicybindings",
		Singular:         "validatingadmissionpolicybinding",
		Categories:       []string{"api-extensions"},
		New:              newObject[admissionv1.ValidatingAdmissionPolicyBinding],
		NewList:          newList[admissionv1.ValidatingAdmissionPolicyBindingList],

		PrepareForCreate: typed(func(b *admissionv1.ValidatingAdmissionPolicyBinding) { b.Generation = 1 }),
		PrepareForUpdate: typedUpdate(func(b, old *admissionv1.ValidatingAdmissionPolicyBinding) {
			if !equality.Semantic.DeepEqual(b.Spec, old.Spec) {
				b.Generation = old.Generation + 1
			}
		}),
		Validate: named(validateValidatingBinding),
		ValidateUpdate: namedUpdate(func(b, _ *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
			return validateValidatingBinding(b)
		}),
		Warnings: func(obj, _ Object) []string { return staticNameWarnings(obj.GetName()) },

		Columns: policyBindingColumns(),
		Row: row(func(b *admissionv1.ValidatingAdmissionPolicyBinding) []any {
			return []any{b.Name, b.Spec.PolicyName, paramRefCell(b.Spec.ParamRef), age(b)}
		}),
	}
}

var validationActions = []string{string(admissionv1.Audit), string(admissionv1.Deny), string(admissionv1.Warn)}

func validateValidatingBinding(b *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
	path, actions := field.NewPath("spec", "validationActions"), b.Spec.ValidationActions
	errs := policyRef{name: b.Spec.PolicyName, param: b.Spec.ParamRef, match: b.Spec.MatchResources}.validate(field.NewPath("spec"))
	for i, a := range actions {
		errs = append(errs, oneOf(&a, validationActions, path.Index(i))...)
		if slices.Contains(actions[:i], a) {
			errs = append(errs, field.Duplicate(path.Index(i), a))
		}
	}
	if slices.Contains(actions, admissionv1.Deny) && slices.Contains(actions, admissionv1.Warn) {
		errs = append(errs, field.Invalid(path, actions, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"))
	}
	if len(actions) == 0 {
		errs = append(errs, field.Required(path, "at least one validation action is required"))
	}
	return errs
}
