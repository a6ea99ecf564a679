package admission

import (
	"context"
	"sync/atomic"

	"wherry/orchestrator/state"
)

// Gate asks rules that users make, webhooks and policies, from when it is opened: what a control plane writes before it
// answers requests must not hang on them, or nobody could take a wrong one away.
type Gate struct {
	open  atomic.Bool
	rules *Chain
}

// NewGate makes a closed gate before rules.
func NewGate(rules ...any) *Gate { return &Gate{rules: New(rules...)} }

// Open lets requests through to the rules.
func (g *Gate) Open() { g.open.Store(true) }

// Begin implements Remembering.
func (g *Gate) Begin() Mutating {
	if !g.open.Load() {
		return asked(nil)
	}
	return g.rules.begin()
}

// Validate implements Validating.
func (g *Gate) Validate(ctx context.Context, a *state.Attributes) error {
	if !g.open.Load() {
		return nil
	}
	return g.rules.Validate(ctx, a)
}
