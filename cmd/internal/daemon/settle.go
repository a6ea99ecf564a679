package daemon

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"
)

// When memory is given back: once what only a start needs is over, and from time to time.
const (
	settled = 5 * time.Second
	settles = 5 * time.Minute
)

// settle gives back memory that was used once, until ctx ends: the heap's, and the parts of the program itself that
// the start, or a while of much work, has touched. A gateway has little, and most of a program of this size is not
// used again.
func settle(ctx context.Context) {
	for wait := settled; ; wait = settles {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		debug.FreeOSMemory()
		if err := dropProgram(); err != nil {
			slog.Debug("memory of the program cannot be given back", "error", err)
		}
	}
}
