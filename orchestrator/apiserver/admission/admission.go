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

// Once is a Mutating that asks others outside of this program, and is not asked again after they changed the object.
type Once interface{ Once() }

// Chain asks rules in order; the first refusal counts.
type Chain struct {
	mutating   []Mutating
	validating []Validating
}

// New makes a chain of rules, each a Mutating, a Validating or both.
func New(rules ...any) *Chain {
	c := &Chain{}
	for _, rule := range rules {
		m, mutates := rule.(Mutating)
		v, validates := rule.(Validating)
		if mutates {
			c.mutating = append(c.mutating, m)
		}
		if validates {
			c.validating = append(c.validating, v)
		}
		if !mutates && !validates {
			panic(fmt.Sprintf("admission: %T is no rule", rule))
		}
	}
	return c
}

// Admit implements state.Admission.
func (c *Chain) Admit(ctx context.Context, a *state.Attributes) error {
	for _, rule := range c.mutating {
		if err := rule.Admit(ctx, a); err != nil {
			return err
		}
	}
	if !a.Replaced {
		return nil
	}
	for _, rule := range c.mutating {
		if _, once := rule.(Once); once {
			continue
		}
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
		RuntimeClass{}, DefaultIngressClass{}, PodTopologyLabels{}, PodResizeValidator{},
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
