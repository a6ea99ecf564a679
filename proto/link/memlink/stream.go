package memlink

import (
	"context"
	"io"
	"os"
	"sync"
	"time"

	"wherry/proto/link"
)

// stream is one side's view of two halves.
type stream struct {
	end      *end
	in, out  *half
	opener   bool
	theirs   *stream // the other side's view, until it has been announced
	announce sync.Once
}

// show puts the stream before the peer's Accept.
func (s *stream) show() {
	if !s.opener {
		return
	}
	s.announce.Do(func() {
		s.end.other.add(s.theirs)
		select {
		case s.end.other.incoming <- s.theirs:
		case <-s.end.ctx.Done():
		}
	})
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.in.read(s.end.ctx, p)
	if err != nil {
		s.settle()
	}
	return n, err
}

func (s *stream) Write(p []byte) (int, error) {
	s.show()
	return s.out.write(s.end.ctx, p)
}

func (s *stream) CloseWrite() error {
	s.show()
	err := s.out.closeWrite()
	s.settle()
	return err
}

func (s *stream) Reset(code link.Code) {
	s.show()
	s.out.stop(link.ErrClosed, &link.Error{Code: code})
	s.in.stop(&link.Error{Code: code}, link.ErrClosed)
	s.settle()
}

func (s *stream) Close() error {
	s.in.stop(&link.Error{Code: link.CodeCanceled}, link.ErrClosed)
	return s.CloseWrite()
}

// settle forgets the stream on each side for which both halves are over.
func (s *stream) settle() {
	if s.in.over() && s.out.over() {
		s.end.forget(s)
		if s.theirs != nil {
			s.end.other.forget(s.theirs)
		}
	}
}

func (s *stream) SetDeadline(t time.Time) error {
	s.in.setDeadline(&s.in.readBy, t)
	s.out.setDeadline(&s.out.writeBy, t)
	return nil
}

func (s *stream) SetReadDeadline(t time.Time) error {
	s.in.setDeadline(&s.in.readBy, t)
	return nil
}

func (s *stream) SetWriteDeadline(t time.Time) error {
	s.out.setDeadline(&s.out.writeBy, t)
	return nil
}

// half carries bytes one way. Whoever waits, waits for changed to be closed.
type half struct {
	mu              sync.Mutex
	changed         chan struct{}
	buf             []byte
	eof             bool  // nothing follows buf
	drained         bool  // the reader has seen the end
	writeErr        error // the writer's from now on
	readErr         error // the reader's from now on
	readBy, writeBy time.Time
}

func newHalf() *half { return &half{changed: make(chan struct{})} }

func (h *half) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notify()
}

func (h *half) notify() {
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *half) over() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.drained || h.readErr != nil
}

func (h *half) setDeadline(which *time.Time, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*which = t
	h.notify()
}

// stop ends the half for both ends; what is buffered is lost. After the end nothing changes.
func (h *half) stop(writer, reader error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.drained || h.readErr != nil {
		return
	}
	h.readErr = reader
	if h.writeErr == nil {
		h.writeErr = writer
	}
	h.buf = nil
	h.notify()
}

func (h *half) closeWrite() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.readErr != nil {
		return nil // the reader has gone; there is nobody to tell
	}
	h.eof = true
	if h.writeErr == nil {
		h.writeErr = link.ErrClosed
	}
	h.notify()
	return nil
}

func (h *half) read(session context.Context, p []byte) (int, error) {
	for {
		n, changed, by, err := h.tryRead(session, p)
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
		if err := wait(changed, by); err != nil {
			return 0, err
		}
	}
}

func (h *half) tryRead(session context.Context, p []byte) (int, <-chan struct{}, time.Time, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.readErr != nil:
		return 0, nil, time.Time{}, h.readErr
	case session.Err() != nil:
		return 0, nil, time.Time{}, context.Cause(session)
	case passed(h.readBy):
		return 0, nil, time.Time{}, os.ErrDeadlineExceeded
	case len(h.buf) > 0:
		n := copy(p, h.buf)
		h.buf = h.buf[n:]
		h.notify()
		return n, nil, time.Time{}, nil
	case h.eof:
		h.drained = true
		return 0, nil, time.Time{}, io.EOF
	}
	return 0, h.changed, h.readBy, nil
}

func (h *half) write(session context.Context, p []byte) (int, error) {
	var done int
	for {
		n, changed, by, err := h.tryWrite(session, p[done:])
		done += n
		if err != nil || done == len(p) {
			return done, err
		}
		if err := wait(changed, by); err != nil {
			return done, err
		}
	}
}

func (h *half) tryWrite(session context.Context, p []byte) (int, <-chan struct{}, time.Time, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.writeErr != nil:
		return 0, nil, time.Time{}, h.writeErr
	case session.Err() != nil:
		return 0, nil, time.Time{}, context.Cause(session)
	case passed(h.writeBy):
		return 0, nil, time.Time{}, os.ErrDeadlineExceeded
	}
	n := min(len(p), window-len(h.buf))
	if n > 0 {
		h.buf = append(h.buf, p[:n]...)
		h.notify()
	}
	return n, h.changed, h.writeBy, nil
}

func passed(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

// wait waits for the channel to be closed, at most until by.
func wait(changed <-chan struct{}, by time.Time) error {
	if by.IsZero() {
		<-changed
		return nil
	}
	timer := time.NewTimer(time.Until(by))
	defer timer.Stop()
	select {
	case <-changed:
		return nil
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}
