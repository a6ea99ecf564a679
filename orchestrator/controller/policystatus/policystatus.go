// Package policystatus writes into the status of ValidatingAdmissionPolicies what their expressions have got wrong.
package policystatus

import (
	"context"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

// Check finds what is wrong with the types of a policy's expressions.
type Check func(*admissionregistrationv1.ValidatingAdmissionPolicy) []admissionregistrationv1.ExpressionWarning

// New returns the controller. One policy is checked at a time: it costs some megabytes.
func New(s *state.State, check Check) controller.Controller {
	c := &statuses{s, check}
	return controller.Controller{
		Name: "policystatus", Reconcile: c.reconcile, Workers: 1,
		Sources: []controller.Source{controller.On(controller.Self[*admissionregistrationv1.ValidatingAdmissionPolicy])},
	}
}

type statuses struct {
	state *state.State
	check Check
}

func (c *statuses) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	p, ok := state.Get[*admissionregistrationv1.ValidatingAdmissionPolicy](c.state, "", key.Name)
	if !ok || p.Generation <= p.Status.ObservedGeneration {
		return 0, nil
	}
	warnings := c.check(p)
	_, err := state.UpdateStatus(ctx, c.state, "", key.Name, func(live *admissionregistrationv1.ValidatingAdmissionPolicy) error {
		if live.UID == p.UID && live.Status.ObservedGeneration < p.Generation {
			live.Status.ObservedGeneration = p.Generation
			live.Status.TypeChecking = &admissionregistrationv1.TypeChecking{ExpressionWarnings: warnings}
		}
		return nil
	})
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	return 0, err
}
