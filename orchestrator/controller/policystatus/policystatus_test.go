package policystatus_test

import (
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/controller/policystatus"
	"wherry/orchestrator/state"
)

// A policy is checked once in each of its generations.
func TestStatusFollowsTheSpec(t *testing.T) {
	checked := 0
	check := func(p *admissionregistrationv1.ValidatingAdmissionPolicy) []admissionregistrationv1.ExpressionWarning {
		checked++
		if text := p.Spec.Validations[0].Expression; text != "true" {
			return []admissionregistrationv1.ExpressionWarning{{FieldRef: "spec.validations[0].expression", Warning: "not " + text}}
		}
		return nil
	}
	controllertest.Run(t, func(s *state.State, _ controller.Events) []controller.Controller {
		return []controller.Controller{policystatus.New(s, check)}
	}, func(c *controllertest.Cluster) {
		controllertest.Apply(c, `
metadata: {name: p}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: ['*'], resources: [pods]}]}
  validations: [{expression: 'false'}]
`, &admissionregistrationv1.ValidatingAdmissionPolicy{})
		status := func() admissionregistrationv1.ValidatingAdmissionPolicyStatus {
			c.Settle(0)
			p, _ := state.Get[*admissionregistrationv1.ValidatingAdmissionPolicy](c.State, "", "p")
			return p.Status
		}
		if s := status(); s.ObservedGeneration != 1 || len(s.TypeChecking.ExpressionWarnings) != 1 || s.TypeChecking.ExpressionWarnings[0].Warning != "not false" {
			c.T.Errorf("%+v", s)
		}
		change := func(f func(p *admissionregistrationv1.ValidatingAdmissionPolicy)) {
			if _, err := state.Update(c.T.Context(), c.State, "", "p", func(p *admissionregistrationv1.ValidatingAdmissionPolicy) error { f(p); return nil }); err != nil {
				c.T.Fatal(err)
			}
		}
		change(func(p *admissionregistrationv1.ValidatingAdmissionPolicy) { p.Labels = map[string]string{"a": "b"} })
		change(func(p *admissionregistrationv1.ValidatingAdmissionPolicy) { p.Spec.Validations[0].Expression = "true" })
		if s := status(); s.ObservedGeneration != 2 || s.TypeChecking == nil || len(s.TypeChecking.ExpressionWarnings) != 0 {
			c.T.Errorf("%+v", s)
		}
		if checked != 2 {
			c.T.Errorf("checked %d times", checked)
		}
	})
}
