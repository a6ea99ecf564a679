package resource

import (
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func mutatingAdmissionPolicies() *Kind {
	return &Kind{
		GroupVersionKind: admissionv1.SchemeGroupVersion.WithKind("MutatingAdmissionPolicy"),
		Plural:           "mutatingadmissionpolicies",
		Singular:         "mutatingadmissionpolicy",
		Categories:       []string{"api-extensions"},
		New:              newObject[admissionv1.MutatingAdmissionPolicy],
		NewList:          newList[admissionv1.MutatingAdmissionPolicyList],

		PrepareForCreate: typed(func(p *admissionv1.MutatingAdmissionPolicy) { p.Generation = 1 }),
		PrepareForUpdate: typedUpdate(func(p, old *admissionv1.MutatingAdmissionPolicy) {
			if !equality.Semantic.DeepEqual(p.Spec, old.Spec) {
				p.Generation = old.Generation + 1
			}
		}),
		Validate:       named(validateMutatingPolicy),
		ValidateUpdate: namedUpdate(func(p, _ *admissionv1.MutatingAdmissionPolicy) field.ErrorList { return validateMutatingPolicy(p) }),
		Warnings:       func(obj, _ Object) []string { return staticNameWarnings(obj.GetName()) },

		Columns: policyColumns("Mutations", "Mutation indicates the number of mutations rules defined in this configuration"),
		Row: row(func(p *admissionv1.MutatingAdmissionPolicy) []any {
			return []any{p.Name, int64(len(p.Spec.Mutations)), paramKindCell(p.Spec.ParamKind), age(p)}
		}),
	}
}

func validateMutatingPolicy(p *admissionv1.MutatingAdmissionPolicy) field.ErrorList {
	path, spec := field.NewPath("spec"), &p.Spec
	errs := policyMatch{
		failurePolicy: spec.FailurePolicy, paramKind: spec.ParamKind, constraints: spec.MatchConstraints,
		conditions: spec.MatchConditions, variables: spec.Variables, mutating: true,
	}.validate(path)
	if len(spec.Mutations) == 0 {
		errs = append(errs, field.Required(path.Child("mutations"), "mutations must contain at least one item"))
	}
	for i, m := range spec.Mutations {
		errs = append(errs, validateMutation(&m, path.Child("mutations").Index(i))...)
	}
	if spec.ReinvocationPolicy == "" {
		return append(errs, field.Required(path.Child("reinvocationPolicy"), ""))
	}
	return append(errs, oneOf(&spec.ReinvocationPolicy, reinvocationPolicies, path.Child("reinvocationPolicy"))...)
}

func validateMutation(m *admissionv1.Mutation, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	patch, configuration := path.Child("jsonPatch"), path.Child("applyConfiguration")
	switch m.PatchType {
	case "":
		return field.ErrorList{field.Required(path.Child("patchType"), "")}
	case admissionv1.PatchTypeJSONPatch:
		if m.JSONPatch == nil {
			errs = append(errs, field.Required(patch, "must be specified when patchType is JSONPatch"))
		} else if strings.TrimSpace(m.JSONPatch.Expression) == "" {
			errs = append(errs, field.Required(patch.Child("expression"), ""))
		}
		if m.ApplyConfiguration != nil {
			errs = append(errs, field.Invalid(configuration, "{applyConfiguration}", "must not be specified when patchType is JSONPatch"))
		}
	case admissionv1.PatchTypeApplyConfiguration:
		if m.ApplyConfiguration == nil {
			errs = append(errs, field.Required(configuration, "must be specified when patchType is ApplyConfiguration"))
		} else if strings.TrimSpace(m.ApplyConfiguration.Expression) == "" {
			errs = append(errs, field.Required(configuration.Child("expression"), ""))
		}
		if m.JSONPatch != nil {
			errs = append(errs, field.Invalid(patch, "{jsonPatch}", "must not be specified when patchType is ApplyConfiguration"))
		}
	default:
		errs = oneOf(&m.PatchType, []string{string(admissionv1.PatchTypeApplyConfiguration), string(admissionv1.PatchTypeJSONPatch)}, path.Child("patchType"))
	}
	return errs
}
