package link

import (
	"time"

	"github.com/quic-go/quic-go"
)

// stream is a Stream over QUIC.
type stream struct{ quic *quic.Stream }

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.quic.Read(p)
	return n, translate(err)
}

func (s *stream) Write(p []byte) (int, error) {
	n, err := s.quic.Write(p)
	return n, translate(err)
}

func (s *stream) CloseWrite() error { return translate(s.quic.Close()) }

func (s *stream) Reset(code Code) {
	s.quic.CancelWrite(quic.StreamErrorCode(code))
	s.quic.CancelRead(quic.StreamErrorCode(code))
}

func (s *stream) Close() error {
	s.quic.CancelRead(quic.StreamErrorCode(CodeCanceled))
	return s.CloseWrite()
}

func (s *stream) SetDeadline(t time.Time) error      { return s.quic.SetDeadline(t) }
func (s *stream) SetReadDeadline(t time.Time) error  { return s.quic.SetReadDeadline(t) }
func (s *stream) SetWriteDeadline(t time.Time) error { return s.quic.SetWriteDeadline(t) }
