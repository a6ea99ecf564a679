package link

import (
	"context"
	"strings"

	"github.com/quic-go/quic-go"
)

// session is a Session over QUIC.
type session struct {
	conn     *quic.Conn
	peer     Peer
	protocol string
	ctx      context.Context
	cancel   context.CancelCauseFunc
	release  func() // may be nil; frees what the session owns
	ended    chan struct{}
}

// newSession follows the connection until it ends; then it calls release, which may be nil.
func newSession(conn *quic.Conn, release func()) *session {
	s := &session{
		conn:     conn,
		peer:     Peer{Address: conn.RemoteAddr().String()},
		protocol: conn.ConnectionState().TLS.NegotiatedProtocol,
		release:  release,
		ended:    make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	context.AfterFunc(conn.Context(), s.end)
	return s
}

func (s *session) end() {
	s.cancel(translate(context.Cause(s.conn.Context())))
	if s.release != nil {
		s.release()
	}
	close(s.ended)
}

func (s *session) Peer() Peer               { return s.peer }
func (s *session) Protocol() string         { return s.protocol }
func (s *session) Context() context.Context { return s.ctx }

func (s *session) Open(ctx context.Context) (Stream, error) {
	qs, err := s.conn.OpenStreamSync(ctx)
	return s.stream(ctx, qs, err)
}

func (s *session) Accept(ctx context.Context) (Stream, error) {
	qs, err := s.conn.AcceptStream(ctx)
	return s.stream(ctx, qs, err)
}

func (s *session) stream(ctx context.Context, qs *quic.Stream, err error) (Stream, error) {
	switch {
	case err == nil:
		return &stream{qs}, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, translate(err)
}

func (s *session) Close(code Code, reason string) error {
	if len(reason) > MaxReason {
		reason = strings.ToValidUTF8(reason[:MaxReason], "")
	}
	// It returns when the last packet has been sent; the error is always nil.
	_ = s.conn.CloseWithError(quic.ApplicationErrorCode(code), reason)
	<-s.ended
	return nil
}
