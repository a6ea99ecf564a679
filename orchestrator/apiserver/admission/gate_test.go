package admission_test

import (
	"context"
	"errors"
	"testing"

	"wherry/orchestrator/apiserver/admission"
	"wherry/orchestrator/state"
)

// strict refuses everything, in the phase that it is for.
type strict struct{ phase string }

func (s strict) Admit(context.Context, *state.Attributes) error    { return s.refuse("admit") }
func (s strict) Validate(context.Context, *state.Attributes) error { return s.refuse("validate") }

func (s strict) refuse(phase string) error {
	if s.phase == phase {
		return errors.New(phase)
	}
	return nil
}

func TestAGateIsClosedAtFirst(t *testing.T) {
	for _, phase := range []string{"admit", "validate"} {
		g := admission.NewGate(strict{phase})
		ask := func() error {
			a := &state.Attributes{}
			return errors.Join(g.Begin().Admit(t.Context(), a), g.Validate(t.Context(), a))
		}
		if err := ask(); err != nil {
			t.Error(err)
		}
		g.Open()
		if err := ask(); err == nil || err.Error() != phase {
			t.Errorf("%v, want %s", err, phase)
		}
	}
}
