// Package meter rewrites a WebAssembly module so that its host can measure, slow down and stop
// it. It is pure: bytes in, bytes out.
//
// # What is added
//
// An import, wherry.tick(i32) i32, after the function imports of the module; a mutable global, the
// budget, after its globals; and a few helper functions after its functions. The budget is counted
// down by what runs. When it is below zero the guest calls tick with it, and tick returns the next
// budget, or sleeps first, or traps.
//
//	function entry     budget -= cost; if budget < 0 { budget = tick(budget) }
//	way back to a loop allowance -= cost; if allowance < 0 { allowance = refill(allowance) }
//
// The allowance is a local of the function, so that the engine keeps it in a register: it is drawn from
// the budget in pieces by refill.
//
// # What is paid
//
// Every instruction has a weight, and unitWeight weights are one unit of the budget. The weights on the
// most expensive path since the last check are paid at the next one: a branch back to a loop pays for what led to it, a
// function entry for the dearest way out, and code that goes on for long without either
// gets checks of its own. So between two ticks a guest executes at most Slice units, however it is
// written. Small functions that neither loop nor call are paid for by their callers.
//
// Instructions that work in bulk (memory.fill, table.copy and their like) pay in proportion; those on
// memories are done in pieces, so that each piece is short.
//
// # What else changes
//
// Tables get a maximum, since engines do not limit them; before one grows, tick is called with the number of entries, which
// is not negative as a used-up budget is, and returns it, or a number so large that growing fails. Custom sections go, but for the names of the module and
// of its functions, which get the index that the function has in the original, so that traps can be told in its terms. Everything else stays: a metered module does what it did.
//
// Modules may use WebAssembly 2.0, tail calls and extended constant expressions. Anything else is refused.
package meter

import "errors"

const (
	// ImportModule and ImportName name the function that a metered module calls.
	ImportModule = "wherry"
	ImportName   = "tick"

	// Slice is the budget that a module starts with, in units. tick should return it too. It takes 0.1 to 1
	// milliseconds to use up.
	Slice = 200_000
)

var (
	// ErrMalformed says that the bytes are no well-formed module.
	ErrMalformed = errors.New("malformed module")
	// ErrUnsupported says that the module uses a feature that is not known here.
	ErrUnsupported = errors.New("unsupported module")
)
