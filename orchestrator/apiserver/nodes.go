package apiserver

import (
	"context"

	"wherry/proto/link"
)

// Nodes opens streams to agents.
type Nodes interface {
	Open(ctx context.Context, node string) (link.Stream, error)
}
