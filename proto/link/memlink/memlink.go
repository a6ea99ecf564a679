// Package memlink is link in memory: sessions between two ends of one process, for tests
// and for a control plane and an agent that share a process. It keeps link's promises,
// back pressure and stream limits included, and works in a synctest bubble.
package memlink

import (
	"context"
	"sync"

	"wherry/proto/link"
)

const (
	maxStreams = 1024     // open streams that each side may have opened
	window     = 64 << 10 // bytes that a stream holds for its reader
)

// Pipe returns the two ends of a session: dialer's peer is the control plane, the
// acceptor's is the node with that key ("" for a join session).
func Pipe(node, key, protocol string) (dialer, acceptor link.Session) {
	d, a := newEnd(link.Peer{Address: "server"}, protocol), newEnd(link.Peer{Node: node, Key: key, Address: "agent"}, protocol)
	d.other, a.other = a, d
	return d, a
}

// end is one side of a session.
type end struct {
	peer     link.Peer
	protocol string
	other    *end
	ctx      context.Context
	cancel   context.CancelCauseFunc
	slots    chan struct{} // one for each stream that this side has open
	incoming chan *stream

	mu      sync.Mutex
	streams map[*stream]struct{} // both sides' that have not ended here
}

func newEnd(peer link.Peer, protocol string) *end {
	e := &end{
		peer: peer, protocol: protocol,
		slots:    make(chan struct{}, maxStreams),
		incoming: make(chan *stream, maxStreams),
		streams:  map[*stream]struct{}{},
	}
	e.ctx, e.cancel = context.WithCancelCause(context.Background())
	return e
}

func (e *end) Peer() link.Peer          { return e.peer }
func (e *end) Protocol() string         { return e.protocol }
func (e *end) Context() context.Context { return e.ctx }

func (e *end) Open(ctx context.Context) (link.Stream, error) {
	if err := e.done(ctx); err != nil {
		return nil, err
	}
	select {
	case e.slots <- struct{}{}:
	case <-e.ctx.Done():
		return nil, context.Cause(e.ctx)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	there, back := newHalf(), newHalf()
	mine := &stream{end: e, in: back, out: there, opener: true}
	mine.theirs = &stream{end: e.other, in: there, out: back}
	e.add(mine)
	return mine, nil
}

func (e *end) Accept(ctx context.Context) (link.Stream, error) {
	if err := e.done(ctx); err != nil {
		return nil, err
	}
	select {
	case s := <-e.incoming:
		return s, nil
	case <-e.ctx.Done():
		return nil, context.Cause(e.ctx)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (e *end) done(ctx context.Context) error {
	if e.ctx.Err() != nil {
		return context.Cause(e.ctx)
	}
	return context.Cause(ctx)
}

func (e *end) Close(code link.Code, reason string) error {
	if len(reason) > link.MaxReason {
		reason = reason[:link.MaxReason]
	}
	e.finish(link.ErrClosed)
	e.other.finish(&link.Error{Code: code, Reason: reason})
	return nil
}

// finish ends this side and wakes all who wait on its streams.
func (e *end) finish(cause error) {
	e.cancel(cause)
	e.mu.Lock()
	defer e.mu.Unlock()
	for s := range e.streams {
		s.in.wake()
		s.out.wake()
	}
}

func (e *end) add(s *stream) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.streams[s] = struct{}{}
}

// forget drops a stream that has ended, and frees its opener's slot.
func (e *end) forget(s *stream) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.streams[s]; !ok {
		return
	}
	delete(e.streams, s)
	if s.opener {
		<-e.slots
	}
}
