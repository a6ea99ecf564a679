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

// compiled are the expressions of a policy at one revision.
type compiled struct {
	revision    string
	set         *expression.Set
	spec        *admissionregistrationv1.ValidatingAdmissionPolicySpec
	conditions  expression.Evaluator // nil: none
	validations expression.Evaluator
	messages    expression.Evaluator
	notes       expression.Evaluator
}

// maxCompiled bounds how many policies are kept compiled.
const maxCompiled = 1000

// compile compiles the policy once. What does not compile says so when it is asked.
func (r *Rule) compile(p *admissionregistrationv1.ValidatingAdmissionPolicy) (*compiled, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.compiled[string(p.UID)]; c != nil && c.revision == p.ResourceVersion {
		return c, nil
	}
	params := p.Spec.ParamKind != nil
	all, plain := expression.Declared{HasParams: params, HasAuthorizer: true}, expression.Declared{HasParams: params}
	var variables, conditions, validations, messages, notes []expression.Named
	for _, v := range p.Spec.Variables {
		variables = append(variables, expression.Any(v.Name, v.Expression))
	}
	for _, c := range p.Spec.MatchConditions {
		conditions = append(conditions, expression.Bool(c.Name, c.Expression))
	}
	for _, v := range p.Spec.Validations {
		validations = append(validations, expression.Bool("", v.Expression))
		var message expression.Named
		if v.MessageExpression != "" {
			message = expression.Text("", v.MessageExpression)
		}
		messages = append(messages, message)
	}
	for _, n := range p.Spec.AuditAnnotations {
		notes = append(notes, expression.TextOrNull(n.Key, n.ValueExpression))
	}
	set, err := expression.NewSet(variables, all)
	if err != nil {
		return nil, err
	}
	c := &compiled{revision: p.ResourceVersion, set: set, spec: &p.Spec,
		validations: set.Compile(validations, all), messages: set.Compile(messages, plain), notes: set.Compile(notes, all)}
	if len(conditions) > 0 {
		c.conditions = set.Compile(conditions, all)
	}
	if len(r.compiled) >= maxCompiled {
		clear(r.compiled)
	}
	r.compiled[string(p.UID)] = c
	return c, nil
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
	if c.conditions != nil {
		results, _, err := in.Ask(ctx, c.set, c.conditions, param, expression.CostOfConditions)
		holds := false
		if err == nil {
			holds, err = expression.AllHold(results)
		}
		if err != nil {
			failed(0, err)
			return refusals, nil
		}
		if !holds {
			return nil, nil
		}
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
