package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"wherry/orchestrator/apiserver/admission"
	"wherry/orchestrator/apiserver/admission/expression"
	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// Mutating is the rule of MutatingAdmissionPolicies. See NewMutating.
type Mutating struct {
	authorizer auth.Authorizer
	types      Types
	compiled   cache[*mutations]
}

// NewMutating makes the rule. The authorizer is what expressions ask; types are what ApplyConfigurations are merged by.
func NewMutating(a auth.Authorizer, types Types) *Mutating {
	return &Mutating{authorizer: a, types: types}
}

// Begin implements admission.Remembering.
func (m *Mutating) Begin() admission.Mutating { return &mutating{rule: m} }

// mutating is the rule within one request.
type mutating struct {
	rule     *Mutating
	asked    bool
	left     []after   // invocations that may be made again, in order
	failures []failure // of this round
}

// invocation is a policy with a binding and one of its parameters.
type invocation struct {
	policy  *admissionregistrationv1.MutatingAdmissionPolicy
	binding *admissionregistrationv1.MutatingAdmissionPolicyBinding
	kind    *resource.Kind // as which the policy sees the object
	param   runtime.Object
}

// after is the object as it was after an invocation.
type after struct {
	invocation
	object []byte
}

// failure is why an invocation could not be made.
type failure struct {
	invocation
	err    error
	reason metav1.StatusReason
}

// Admit implements admission.Mutating: policies one after the other by their names and those of their bindings; the
// second time those that ask for it, if others have changed the object since.
func (r *mutating) Admit(ctx context.Context, a *state.Attributes) error {
	if a.Operation == state.OpDelete {
		return nil
	}
	r.failures = nil
	var again []after
	if r.asked {
		again = r.left
	} else {
		r.asked = true
		for _, one := range r.collect(ctx, a) {
			if err := r.invoke(ctx, a, one); err != nil {
				return err
			}
		}
	}
	for _, one := range again {
		if a.Object == nil || bytes.Equal(one.object, mustJSON(a.Object)) {
			continue
		}
		if err := r.invoke(ctx, a, one.invocation); err != nil {
			return err
		}
	}
	return r.refusal(a)
}

// collect finds what is to be invoked, before anything is changed.
func (r *mutating) collect(ctx context.Context, a *state.Attributes) []invocation {
	policies := state.List[*admissionregistrationv1.MutatingAdmissionPolicy](a.Reader, state.Selector{})
	if len(policies) == 0 {
		return nil
	}
	bindings := state.List[*admissionregistrationv1.MutatingAdmissionPolicyBinding](a.Reader, state.Selector{})
	var all []invocation
	for _, p := range policies {
		for _, b := range bindings {
			if b.Spec.PolicyName != p.Name {
				continue
			}
			one := invocation{policy: p, binding: b}
			found, err := one.params(ctx, a)
			if err != nil {
				r.failures = append(r.failures, failure{invocation: one, err: fmt.Errorf("failed to configure binding: %w", err)})
			}
			for _, one.param = range found {
				all = append(all, one)
			}
		}
	}
	return all
}

// params are empty if the request is not wanted.
func (i *invocation) params(ctx context.Context, a *state.Attributes) ([]runtime.Object, error) {
	var err error
	i.kind, err = wanted(a, i.policy.Spec.MatchConstraints, i.binding.Spec.MatchResources)
	if err != nil || i.kind == nil {
		return nil, err
	}
	return params(ctx, a, i.policy.Spec.ParamKind, i.binding.Spec.ParamRef)
}

// invoke makes all changes of a policy to the object. Errors: the Status that refuses at once; others are noted.
func (r *mutating) invoke(ctx context.Context, a *state.Attributes, i invocation) error {
	c, err := r.rule.compiled.get(&i.policy.ObjectMeta, func() (*mutations, error) { return compileMutations(&i.policy.Spec) })
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	in, err := expression.NewInput(ctx, a, i.kind, r.rule.authorizer)
	if err != nil {
		r.failed(i, err)
		return nil
	}
	holds, err := hold(ctx, in, c.set, c.conditions, i.param)
	if err != nil {
		r.failed(i, err)
	}
	if !holds {
		return nil
	}
	for n, m := range c.all {
		if n > 0 { // it was changed
			if in, err = expression.NewInput(ctx, a, i.kind, r.rule.authorizer); err != nil {
				return apierrors.NewInternalError(err)
			}
		}
		err := r.change(ctx, a, i, c.set, m, in)
		if status := apierrors.APIStatus(nil); errors.As(err, &status) {
			return err
		}
		if err != nil {
			r.failed(i, err)
		}
	}
	if i.policy.Spec.ReinvocationPolicy == admissionregistrationv1.IfNeededReinvocationPolicy && a.Object != nil {
		r.left = append(r.left, after{i, mustJSON(a.Object)})
	}
	return nil
}

func (r *mutating) failed(i invocation, err error) {
	r.failures = append(r.failures, failure{i, err, metav1.StatusReasonInvalid})
}

// refusal is the Status of what failed and is not to be ignored; nil if there is nothing.
func (r *mutating) refusal(a *state.Attributes) error {
	var refused *apierrors.StatusError
	for _, f := range r.failures {
		if p := f.policy.Spec.FailurePolicy; p != nil && *p == admissionregistrationv1.Ignore {
			continue
		}
		message := fmt.Sprintf("policy '%s' with binding '%s' denied request: %v", f.policy.Name, f.binding.Name, f.err)
		if refused == nil {
			refused = apierrors.NewForbidden(a.Kind.GroupResource(), a.Name, errors.New("admission request denied by policy"))
			refused.ErrStatus.Message = message
			if f.reason != "" {
				refused.ErrStatus.Reason = f.reason
			}
		}
		refused.ErrStatus.Details.Causes = append(refused.ErrStatus.Details.Causes, metav1.StatusCause{Message: message})
	}
	if refused == nil {
		return nil
	}
	return refused
}

// mustJSON tells two states of an object apart.
func mustJSON(obj state.Object) []byte {
	b, err := json.Marshal(obj)
	if err != nil {
		panic(fmt.Sprintf("policy: an object that was decoded cannot be encoded: %v", err))
	}
	return b
}
