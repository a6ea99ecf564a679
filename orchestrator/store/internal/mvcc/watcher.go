package mvcc

import (
	"context"
	"sync"

	"wherry/orchestrator/store"
)

// Poll returns the events after a revision, the revision through which it has looked,
// and, if there are none, a channel that is closed at the next change.
// Errors: store.ErrCompacted, store.ErrClosed.
type Poll func(after store.Revision) ([]store.Event, store.Revision, <-chan struct{}, error)

// Watcher is a store.Watcher over a Poll. Next is for one goroutine at a time.
type Watcher struct {
	poll   Poll
	after  store.Revision
	closed chan struct{}
	once   sync.Once
}

// NewWatcher returns a watcher for what happens after the revision.
func NewWatcher(after store.Revision, poll Poll) *Watcher {
	return &Watcher{poll: poll, after: after, closed: make(chan struct{})}
}

// Next implements store.Watcher.
func (w *Watcher) Next(ctx context.Context) ([]store.Event, store.Revision, error) {
	for {
		if err := w.ended(ctx); err != nil {
			return nil, 0, err
		}
		events, through, changed, err := w.poll(w.after)
		if err != nil {
			return nil, 0, err
		}
		w.after = through
		if len(events) > 0 {
			return events, through, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-w.closed:
		}
	}
}

func (w *Watcher) ended(ctx context.Context) error {
	select {
	case <-w.closed:
		return store.ErrClosed
	default:
		return ctx.Err()
	}
}

// Close implements store.Watcher. It may be called again.
func (w *Watcher) Close() { w.once.Do(func() { close(w.closed) }) }
