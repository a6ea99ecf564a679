package policy

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/cel-go/common/types"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"wherry/orchestrator/apiserver/admission/expression"
)

// compiled are the expressions of a ValidatingAdmissionPolicy.
type compiled struct {
	set         *expression.Set
	spec        *admissionregistrationv1.ValidatingAdmissionPolicySpec
	conditions  expression.Evaluator // nil: none
	validations expression.Evaluator
	messages    expression.Evaluator
	notes       expression.Evaluator
}

// compile compiles a policy. What does not compile says so when it is asked.
func compile(spec *admissionregistrationv1.ValidatingAdmissionPolicySpec) (*compiled, error) {
	params := spec.ParamKind != nil
	all, plain := expression.Declared{HasParams: params, HasAuthorizer: true}, expression.Declared{HasParams: params}
	set, err := expression.NewSet(variables(spec.Variables), all)
	if err != nil {
		return nil, err
	}
	var validations, messages, notes []expression.Named
	for _, v := range spec.Validations {
		validations = append(validations, expression.Bool("", v.Expression))
		var message expression.Named
		if v.MessageExpression != "" {
			message = expression.Text("", v.MessageExpression)
		}
		messages = append(messages, message)
	}
	for _, n := range spec.AuditAnnotations {
		notes = append(notes, expression.TextOrNull(n.Key, n.ValueExpression))
	}
	return &compiled{
		set: set, spec: spec, conditions: conditions(set, spec.MatchConditions, all),
		validations: set.Compile(validations, all), messages: set.Compile(messages, plain), notes: set.Compile(notes, all),
	}, nil
}

// note is an audit annotation.
type note struct{ key, value string }

// maxNote bounds the value of an audit annotation, in bytes; maxMessage a message that an expression makes.
const (
	maxNote    = 10 << 10
	maxMessage = 5 << 10
)

// judge asks all expressions about a request and a parameter. forgive: what cannot be told is for the request.
func (c *compiled) judge(ctx context.Context, in *expression.Input, param runtime.Object, forgive bool) (refusals []refusal, notes []note) {
	failed := func(i int, why error) {
		if !forgive {
			refusals = append(refusals, refusal{message: why.Error(), index: i})
		}
	}
	if holds, err := hold(ctx, in, c.set, c.conditions, param); err != nil {
		failed(0, err)
		return refusals, nil
	} else if !holds {
		return nil, nil
	}
	results, left, err := in.Ask(ctx, c.set, c.validations, param, expression.CostOfPolicy)
	if err != nil {
		failed(0, err)
		return refusals, nil
	}
	messages, _, messagesErr := in.Ask(ctx, c.set, c.messages, param, left)
	for i, result := range results {
		switch {
		case result.Error != nil:
			failed(i, result.Error)
		case messagesErr != nil:
			failed(i, fmt.Errorf("failed messageExpression: %w", messagesErr))
		case result.EvalResult != types.True:
			var made *expression.Result
			if i < len(messages) {
				made = &messages[i]
			}
			refusals = append(refusals, refusal{message: message(&c.spec.Validations[i], made), reason: reason(&c.spec.Validations[i]), index: i})
		}
	}
	notes, err = c.annotations(ctx, in, param)
	if err != nil {
		failed(0, err)
	}
	return refusals, notes
}

func reason(v *admissionregistrationv1.Validation) metav1.StatusReason {
	if v.Reason == nil {
		return metav1.StatusReasonInvalid
	}
	return *v.Reason
}

// message is what the expression for it made, else what is written, else the expression that is false.
func message(v *admissionregistrationv1.Validation, made *expression.Result) string {
	if made != nil && made.Error == nil && made.EvalResult != nil {
		if text, ok := made.EvalResult.Value().(string); ok {
			text = strings.TrimSpace(text)
			if text != "" && len(text) <= maxMessage && !strings.Contains(text, "\n") {
				return text
			}
		}
	}
	if text := strings.TrimSpace(v.Message); text != "" {
		return text
	}
	return "failed expression: " + strings.TrimSpace(v.Expression)
}

func (c *compiled) annotations(ctx context.Context, in *expression.Input, param runtime.Object) ([]note, error) {
	results, _, err := in.Ask(ctx, c.set, c.notes, param, expression.CostOfPolicy)
	if err != nil {
		return nil, err
	}
	var all []note
	var first error
	for i, result := range results {
		if result.Error != nil {
			if first == nil {
				first = result.Error
			}
			continue
		}
		text, ok := result.EvalResult.Value().(string)
		if text = strings.TrimSpace(text); !ok || text == "" {
			continue
		}
		all = append(all, note{c.spec.AuditAnnotations[i].Key, text[:min(len(text), maxNote)]})
	}
	return all, first
}
