package policy

import (
	"context"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"wherry/orchestrator/apiserver/admission/expression"
	"wherry/orchestrator/state"
)

// Compiles refuses policies and webhooks with expressions that do not compile, when they are written. (Kubernetes has it
// in the validation of these kinds.)
type Compiles struct{}

// Validate implements admission.Validating. What did not change is not judged anew.
func (Compiles) Validate(_ context.Context, a *state.Attributes) error {
	if a.Object == nil || a.Subresource != "" || a.Old != nil && a.Old.GetGeneration() == a.Object.GetGeneration() {
		return nil
	}
	var errs field.ErrorList
	var err error
	switch obj := a.Object.(type) {
	case *admissionregistrationv1.ValidatingAdmissionPolicy:
		errs, err = checkValidating(&obj.Spec)
	case *admissionregistrationv1.MutatingAdmissionPolicy:
		errs, err = checkMutating(&obj.Spec)
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		for i, w := range obj.Webhooks {
			errs = append(errs, checkHook(i, w.MatchConditions)...)
		}
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		for i, w := range obj.Webhooks {
			errs = append(errs, checkHook(i, w.MatchConditions)...)
		}
	}
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(a.Kind.GroupVersionKind.GroupKind(), a.Object.GetName(), errs)
	}
	return nil
}

// draftOf has the conditions and variables that both kinds of policies have.
func draftOf(when []admissionregistrationv1.MatchCondition, variables []admissionregistrationv1.Variable, o expression.Declared, at *field.Path) (*expression.Draft, error) {
	d, err := expression.NewDraft(len(variables) > 0)
	if err != nil {
		return nil, err
	}
	d.Errors = checkConditions(when, o, at)
	for i, v := range variables {
		d.Variable(expression.Any(v.Name, v.Expression), o, at.Child("variables").Index(i).Child("expression"))
	}
	return d, nil
}

// checkConditions checks conditions, which are asked before there are variables.
func checkConditions(all []admissionregistrationv1.MatchCondition, o expression.Declared, at *field.Path) field.ErrorList {
	if len(all) == 0 {
		return nil
	}
	d, err := expression.NewDraft(false)
	if err != nil {
		return field.ErrorList{field.InternalError(at, err)}
	}
	for i, c := range all {
		d.Compile(expression.Bool(c.Name, c.Expression), o, at.Child("matchConditions").Index(i).Child("expression"))
	}
	return d.Errors
}

func checkHook(i int, all []admissionregistrationv1.MatchCondition) field.ErrorList {
	return checkConditions(all, expression.Declared{HasAuthorizer: true}, field.NewPath("webhooks").Index(i))
}

func checkValidating(spec *admissionregistrationv1.ValidatingAdmissionPolicySpec) (field.ErrorList, error) {
	params, path := spec.ParamKind != nil, field.NewPath("spec")
	all, plain := expression.Declared{HasParams: params, HasAuthorizer: true}, expression.Declared{HasParams: params}
	d, err := draftOf(spec.MatchConditions, spec.Variables, all, path)
	if err != nil {
		return nil, err
	}
	for i, v := range spec.Validations {
		at := path.Child("validations").Index(i)
		d.Compile(expression.Bool("", v.Expression), all, at.Child("expression"))
		if v.MessageExpression != "" {
			d.Compile(expression.Text("", v.MessageExpression), plain, at.Child("messageExpression"))
		}
	}
	for i, n := range spec.AuditAnnotations {
		d.Compile(expression.TextOrNull(n.Key, n.ValueExpression), all, path.Child("auditAnnotations").Index(i).Child("valueExpression"))
	}
	return d.Errors, nil
}

func checkMutating(spec *admissionregistrationv1.MutatingAdmissionPolicySpec) (field.ErrorList, error) {
	declared, path := expression.Declared{HasParams: spec.ParamKind != nil, HasAuthorizer: true}, field.NewPath("spec")
	d, err := draftOf(spec.MatchConditions, spec.Variables, declared, path)
	if err != nil {
		return nil, err
	}
	declared.HasPatchTypes = true
	for i, m := range spec.Mutations {
		at := path.Child("mutations").Index(i)
		if m.JSONPatch != nil {
			d.Compile(expression.JSONPatch(strings.TrimSpace(m.JSONPatch.Expression)), declared, at.Child("jsonPatch", "expression"))
		}
		if m.ApplyConfiguration != nil {
			d.Compile(expression.ApplyConfiguration(strings.TrimSpace(m.ApplyConfiguration.Expression)), declared, at.Child("applyConfiguration", "expression"))
		}
	}
	return d.Errors, nil
}
