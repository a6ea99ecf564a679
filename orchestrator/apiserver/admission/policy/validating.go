// Package policy are the admission rules of MutatingAdmissionPolicies and ValidatingAdmissionPolicies: CEL expressions that
// bindings put in force, with parameters that are objects of any kind.
package policy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"wherry/orchestrator/apiserver/admission/expression"
	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/state"
)

// Validating is the rule of ValidatingAdmissionPolicies. See NewValidating.
type Validating struct {
	authorizer auth.Authorizer
	compiled   cache[*compiled]
}

// NewValidating makes the rule. The authorizer is what expressions ask.
func NewValidating(a auth.Authorizer) *Validating { return &Validating{authorizer: a} }

// refusal is a decision against a request.
type refusal struct {
	message string
	reason  metav1.StatusReason
	index   int // of the validation
}

// Validate implements admission.Validating. All policies are asked; the first refusal that a binding enforces counts.
func (r *Validating) Validate(ctx context.Context, a *state.Attributes) error {
	policies := state.List[*admissionregistrationv1.ValidatingAdmissionPolicy](a.Reader, state.Selector{})
	if len(policies) == 0 {
		return nil
	}
	bindings := state.List[*admissionregistrationv1.ValidatingAdmissionPolicyBinding](a.Reader, state.Selector{})
	var denied error
	for _, p := range policies {
		one := &asked{rule: r, a: a, policy: p, notes: map[string][]string{}}
		for _, b := range bindings {
			if b.Spec.PolicyName != p.Name {
				continue
			}
			if err := one.ask(ctx, b); err != nil && denied == nil {
				denied = err
			}
		}
		for key, values := range one.notes {
			a.Annotate(p.Name+"/"+key, strings.Join(values, ", "))
		}
	}
	return denied
}

// asked is one policy on one request.
type asked struct {
	rule   *Validating
	a      *state.Attributes
	policy *admissionregistrationv1.ValidatingAdmissionPolicy
	input  *expression.Input   // made when it is needed
	notes  map[string][]string // audit annotations
}

// ask judges the request as a binding wants it, and does what the binding says with the refusals.
func (q *asked) ask(ctx context.Context, b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) error {
	refusals, err := q.judge(ctx, b)
	if err != nil {
		if q.forgives() {
			return nil
		}
		return q.denied(b, refusal{message: fmt.Errorf("failed to configure binding: %w", err).Error()})
	}
	var denied error
	for _, one := range refusals {
		for _, action := range b.Spec.ValidationActions {
			switch action {
			case admissionregistrationv1.Deny:
				if denied == nil {
					denied = q.denied(b, one)
				}
			case admissionregistrationv1.Warn:
				q.a.Warn(fmt.Sprintf("Validation failed for ValidatingAdmissionPolicy '%s' with binding '%s': %s", q.policy.Name, b.Name, one.message))
			case admissionregistrationv1.Audit:
				q.audit(b, one)
			}
		}
	}
	return denied
}

// forgives says that what cannot be judged is let through.
func (q *asked) forgives() bool {
	f := q.policy.Spec.FailurePolicy
	return f != nil && *f == admissionregistrationv1.Ignore
}

// judge finds what is against the request. Errors: the policy or the binding cannot be asked at all.
func (q *asked) judge(ctx context.Context, b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) ([]refusal, error) {
	kind, err := wanted(q.a, q.policy.Spec.MatchConstraints, b.Spec.MatchResources)
	if err != nil || kind == nil {
		return nil, err
	}
	params, err := params(ctx, q.a, q.policy.Spec.ParamKind, b.Spec.ParamRef)
	if err != nil || len(params) == 0 {
		return nil, err
	}
	c, err := q.rule.compiled.get(&q.policy.ObjectMeta, func() (*compiled, error) { return compile(&q.policy.Spec) })
	if err != nil {
		return nil, err
	}
	if q.input == nil {
		if q.input, err = expression.NewInput(ctx, q.a, kind, q.rule.authorizer); err != nil {
			return nil, fmt.Errorf("failed to convert object version: %w", err)
		}
	}
	var all []refusal
	for _, p := range params {
		refusals, notes := c.judge(ctx, q.input, p, q.forgives())
		all = append(all, refusals...)
		for _, n := range notes {
			if !slices.Contains(q.notes[n.key], n.value) {
				q.notes[n.key] = append(q.notes[n.key], n.value)
			}
		}
	}
	return all, nil
}

// denied is the Status of a refusal.
func (q *asked) denied(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding, one refusal) error {
	message := fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s", q.policy.Name, b.Name, one.message)
	err := apierrors.NewForbidden(q.a.Kind.GroupResource(), q.a.Name, errors.New(message))
	err.ErrStatus.Reason = one.reason
	if one.reason == "" {
		err.ErrStatus.Reason = metav1.StatusReasonInvalid
	}
	err.ErrStatus.Code = code(err.ErrStatus.Reason)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Message: message})
	return err
}

func code(reason metav1.StatusReason) int32 {
	switch reason {
	case metav1.StatusReasonForbidden:
		return http.StatusForbidden
	case metav1.StatusReasonUnauthorized:
		return http.StatusUnauthorized
	case metav1.StatusReasonRequestEntityTooLarge:
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusUnprocessableEntity
}

// audit notes a refusal that may not be enforced.
func (q *asked) audit(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding, one refusal) {
	value, err := utiljson.Marshal([]map[string]any{{
		"message": one.message, "policy": q.policy.Name, "binding": b.Name, "expressionIndex": one.index, "validationActions": b.Spec.ValidationActions,
	}})
	if err != nil {
		return // it is made of strings and a number
	}
	q.a.Annotate("validation.policy.admission.k8s.io/validation_failure", string(value))
}
