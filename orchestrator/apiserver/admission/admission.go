// Package admission completes writes before they are validated, and refuses them before or
// after: one file per rule.
package admission

import (
	"cmp"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"wherry/orchestrator/apiserver/admission/podsecurity"
	"wherry/orchestrator/state"
)

// Mutating is a rule of the first phase, Validating of the second; state.Admission says
// what each may do. A rule may be both.
type (
	Mutating interface {
		Admit(ctx context.Context, a *state.Attributes) error
	}
	Validating interface {
		Validate(ctx context.Context, a *state.Attributes) error
	}
)

// Remembering is a rule of the first phase that knows, when it is asked once more about a request, what it did the first
// time. Begin makes what is asked about one request, by one goroutine.
type Remembering interface{ Begin() Mutating }

// Chain asks rules in order; the first refusal counts.
type Chain struct {
	mutating   []func() Mutating
	validating []Validating
}

// New makes a chain of rules, each a Mutating, a Remembering, a Validating or several of them.
func New(rules ...any) *Chain {
	c := &Chain{}
	for _, rule := range rules {
		m, mutates := rule.(Mutating)
		r, remembers := rule.(Remembering)
		v, validates := rule.(Validating)
		switch {
		case mutates:
			c.mutating = append(c.mutating, func() Mutating { return m })
		case remembers:
			c.mutating = append(c.mutating, r.Begin)
		}
		if validates {
			c.validating = append(c.validating, v)
		}
		if !mutates && !remembers && !validates {
			panic(fmt.Sprintf("admission: %T is no rule", rule))
		}
	}
	return c
}

// Admit implements state.Admission. All are asked once more after users' rules changed the object.
func (c *Chain) Admit(ctx context.Context, a *state.Attributes) error {
	rules := c.begin()
	if err := rules.Admit(ctx, a); err != nil || !a.Replaced {
		return err
	}
	return rules.Admit(ctx, a)
}

// asked are the rules of the first phase as they are asked about one request.
type asked []Mutating

func (c *Chain) begin() asked {
	rules := make(asked, len(c.mutating))
	for i, begin := range c.mutating {
		rules[i] = begin()
	}
	return rules
}

// Admit asks each once.
func (r asked) Admit(ctx context.Context, a *state.Attributes) error {
	for _, rule := range r {
		if err := rule.Admit(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// Validate implements state.Admission.
func (c *Chain) Validate(ctx context.Context, a *state.Attributes) error {
	for _, rule := range c.validating {
		if err := rule.Validate(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// Default are the rules that a cluster has, in Kubernetes' order; more are those that stand on other parts: guards, then
// webhooks and policies.
func Default(more ...any) *Chain {
	rules := []any{
		NamespaceLifecycle{}, LimitRanger{}, ServiceAccount{}, TaintNodesByCondition{}, podsecurity.New(), Priority{},
		DefaultTolerations{}, DefaultStorageClass{}, StorageObjectInUseProtection{}, PersistentVolumeClaimResize{},
		RuntimeClass{}, DefaultIngressClass{}, PodTopologyLabels{}, NodeDeclaredFeatureValidator{}, PodResizeValidator{},
	}
	rules = append(rules, more...)
	return New(append(rules, ResourceQuota{})...) // last: what it takes nobody may refuse any more
}

// podOf is the pod that is written through its main door, or nil.
func podOf(a *state.Attributes) *corev1.Pod {
	if a.Subresource != "" || a.Object == nil {
		return nil
	}
	pod, _ := a.Object.(*corev1.Pod)
	return pod
}

// forbidden is the 403 Status of a rule.
func forbidden(a *state.Attributes, why error) *apierrors.StatusError {
	name := a.Name
	if name == "" && a.Object != nil {
		name = cmp.Or(a.Object.GetName(), a.Object.GetGenerateName(), "Unknown")
	}
	return apierrors.NewForbidden(a.Kind.GroupResource(), name, why)
}
