// Package admission completes and refuses writes before they are validated: one file per
// rule, each a state.Admission.
package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"wherry/orchestrator/state"
)

// What a write does, as state words it.
const (
	opCreate = "CREATE"
	opUpdate = "UPDATE"
	opDelete = "DELETE"
)

// Chain asks rules in order; the first refusal counts.
type Chain []state.Admission

// Admit implements state.Admission.
func (c Chain) Admit(ctx context.Context, a *state.Attributes) error {
	for _, rule := range c {
		if err := rule.Admit(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// Default are the rules that a cluster has, in Kubernetes' order.
func Default() Chain {
	return Chain{NamespaceLifecycle{}, ServiceAccount{}, Priority{}, DefaultTolerations{}}
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
		name = a.Object.GetName()
	}
	return apierrors.NewForbidden(a.Kind.GroupResource(), name, why)
}
