package link

import (
	"errors"
	"fmt"

	"github.com/quic-go/quic-go"
)

// translate turns quic-go's errors into this package's words; others stay as they are.
func translate(err error) error {
	var (
		reset     *quic.StreamError
		end       *quic.ApplicationError
		broken    *quic.TransportError
		idle      *quic.IdleTimeoutError
		handshake *quic.HandshakeTimeoutError
		restarted *quic.StatelessResetError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &reset):
		return ended(reset.Remote, Code(reset.ErrorCode), "")
	case errors.As(err, &end):
		return ended(end.Remote, Code(end.ErrorCode), end.ErrorMessage)
	case errors.As(err, &broken):
		return transportError(broken)
	case errors.As(err, &idle):
		return fmt.Errorf("%w: nothing was heard for too long", ErrLost)
	case errors.As(err, &handshake):
		return fmt.Errorf("%w: the peer does not answer", ErrLost)
	case errors.As(err, &restarted):
		return fmt.Errorf("%w: the peer does not know this session any more", ErrLost)
	case errors.Is(err, quic.ErrTransportClosed), errors.Is(err, quic.ErrStreamClosed):
		return ErrClosed
	}
	return err
}

func ended(remote bool, code Code, reason string) error {
	if !remote {
		return ErrClosed
	}
	return &Error{Code: code, Reason: reason}
}

// alert is a TLS alert (RFC 8446, section 6.2) as QUIC carries it (RFC 9001, section 4.8).
const alert = 0x100

func transportError(e *quic.TransportError) error {
	if !e.Remote {
		return e // says what was wrong with the peer or its certificate
	}
	switch uint64(e.ErrorCode) {
	case alert + 42, alert + 43, alert + 44, alert + 45, alert + 46, alert + 48, alert + 49, alert + 116:
		return &Error{Code: CodeUnauthorized, Reason: "certificate refused: " + e.Error()}
	case alert + 120: // no_application_protocol
		return &Error{Code: CodeVersion, Reason: e.Error()}
	case uint64(quic.ConnectionRefused):
		return &Error{Code: CodeShutdown, Reason: "connection refused"}
	}
	return fmt.Errorf("%w: %w", ErrLost, e)
}
