package resource

import (
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

func validatingAdmissionPolicies() *Kind {
	return &Kind{
		GroupVersionKind: admissionv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicy"),
		Plural:           "validatingadmissionpolicies",
		Singular:         "validatingadmissionpolicy",
		Categories:       []string{"api-extensions"},
		New:              newObject[admissionv1.ValidatingAdmissionPolicy],
		NewList:          newList[admissionv1.ValidatingAdmissionPolicyList],

		PrepareForCreate: typed(func(p *admissionv1.ValidatingAdmissionPolicy) {
			p.Status = admissionv1.ValidatingAdmissionPolicyStatus{}
			p.Generation = 1
		}),
		PrepareForUpdate: typedUpdate(func(p, old *admissionv1.ValidatingAdmissionPolicy) {
			p.Status = *old.Status.DeepCopy()
			if !equality.Semantic.DeepEqual(p.Spec, old.Spec) {
				p.Generation = old.Generation + 1
			}
		}),
		Validate:       named(validateValidatingPolicy),
		ValidateUpdate: namedUpdate(func(p, _ *admissionv1.ValidatingAdmissionPolicy) field.ErrorList { return validateValidatingPolicy(p) }),
		Warnings:       func(obj, _ Object) []string { return staticNameWarnings(obj.GetName()) },
		Resets:         resets(statusField),

		Columns: policyColumns("Validations", "Validations indicates the number of validation rules defined in this configuration"),
		Row: row(func(p *admissionv1.ValidatingAdmissionPolicy) []any {
			return []any{p.Name, int64(len(p.Spec.Validations)), paramKindCell(p.Spec.ParamKind), age(p)}
		}),
		Subresources: map[string]*Subresource{"status": {
			PrepareForUpdate: typedUpdate(func(p, old *admissionv1.ValidatingAdmissionPolicy) {
				p.Spec = *old.Spec.DeepCopy()
				metav1.ResetObjectMetaForStatus(p, old)
			}),
			ValidateUpdate: namedUpdate(func(p, _ *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
				return validatePolicyStatus(&p.Status, field.NewPath("status"))
			}),
			Resets: resets(specField, metadataField),
		}},
	}
}

// Bounds of audit annotations, of which the second is in bytes.
const (
	maxAuditAnnotations     = 20
	maxAuditAnnotationValue = 5 * 1024
)

var policyReasons = []string{string(metav1.StatusReasonForbidden), string(metav1.StatusReasonInvalid), string(metav1.StatusReasonRequestEntityTooLarge)}

func validateValidatingPolicy(p *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
	path, spec := field.NewPath("spec"), &p.Spec
	errs := policyMatch{
		failurePolicy: spec.FailurePolicy, paramKind: spec.ParamKind, constraints: spec.MatchConstraints,
		conditions: spec.MatchConditions, variables: spec.Variables,
	}.validate(path)
	if len(spec.Validations) == 0 && len(spec.AuditAnnotations) == 0 {
		const one = "validations or auditAnnotations must contain at least one item"
		return append(errs, field.Required(path.Child("validations"), one), field.Required(path.Child("auditAnnotations"), one))
	}
	for i, v := range spec.Validations {
		errs = append(errs, validateValidation(&v, path.Child("validations").Index(i))...)
	}
	return append(errs, validateAuditAnnotations(p.Name, spec.AuditAnnotations, path.Child("auditAnnotations"))...)
}

func validateValidation(v *admissionv1.Validation, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if strings.TrimSpace(v.Expression) == "" {
		errs = append(errs, field.Required(path.Child("expression"), "expression is not specified"))
	}
	if v.MessageExpression != "" && strings.TrimSpace(v.MessageExpression) == "" {
		errs = append(errs, field.Invalid(path.Child("messageExpression"), v.MessageExpression, "must be non-empty if specified"))
	}
	switch message := strings.TrimSpace(v.Message); {
	case v.Message != "" && message == "":
		errs = append(errs, field.Invalid(path.Child("message"), v.Message, "must be non-empty if specified"))
	case strings.ContainsAny(message, "\n\r"):
		errs = append(errs, field.Invalid(path.Child("message"), v.Message, "must not contain line breaks"))
	}
	return append(errs, oneOf(v.Reason, policyReasons, path.Child("reason"))...)
}

func validateAuditAnnotations(policy string, all []admissionv1.AuditAnnotation, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(all) > maxAuditAnnotations {
		errs = append(errs, field.Invalid(path, all, fmt.Sprintf("must not have more than %d auditAnnotations", maxAuditAnnotations)))
	}
	keys := map[string]bool{}
	for i, a := range all {
		at := path.Index(i)
		if policy == "" {
			errs = append(errs, field.Invalid(at.Child("key"), a.Key, "requires metadata.name be non-empty"))
		} else {
			errs = append(errs, validation.ValidateQualifiedName(policy+"/"+a.Key, at.Child("key"))...)
		}
		switch value := strings.TrimSpace(a.ValueExpression); {
		case value == "":
			errs = append(errs, field.Required(at.Child("valueExpression"), "valueExpression is not specified"))
		case len(value) > maxAuditAnnotationValue:
			errs = append(errs, field.Required(at.Child("valueExpression"), fmt.Sprintf("must not exceed %d bytes in length", maxAuditAnnotationValue)))
		}
		if keys[a.Key] {
			errs = append(errs, field.Duplicate(at.Child("key"), a.Key))
		}
		keys[a.Key] = true
	}
	return errs
}

func validatePolicyStatus(s *admissionv1.ValidatingAdmissionPolicyStatus, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.TypeChecking != nil {
		for i, w := range s.TypeChecking.ExpressionWarnings {
			at := path.Child("typeChecking", "expressionWarnings").Index(i)
			if w.Warning == "" {
				errs = append(errs, field.Required(at.Child("warning"), ""))
			}
			if strings.TrimSpace(w.FieldRef) == "" {
				errs = append(errs, field.Required(at.Child("fieldRef"), ""))
			}
		}
	}
	return append(errs, metav1validation.ValidateConditions(s.Conditions, path.Child("conditions"))...)
}
