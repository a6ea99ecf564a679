// Package link is one session between a node agent and the control plane: who the other
// is, streams both ways, and why it ended. Over QUIC in the field, in memory in tests;
// both pass linktest. Nothing exported here names QUIC.
package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Protocol names the application in the TLS handshake: nodes with a certificate, and
// machines that have only a join token.
const (
	ProtocolNode = "wherry-node/1"
	ProtocolJoin = "wherry-join/1"
)

// ServerName is the name in the control plane's certificate that agents verify, whatever
// address they reach it by.
const ServerName = "kubernetes.default.svc"

var (
	// ErrClosed is what calls on a session, stream or listener return that was closed on
	// this side. It is also the cause of such a session's Context.
	ErrClosed = errors.New("link: closed")
	// ErrLost says that the connection broke without a word from the peer: nothing was
	// heard for too long, or the peer restarted. Dial again.
	ErrLost = errors.New("link: connection lost")
)

// Code says why a stream or session ended.
type Code uint64

const (
	CodeOK           Code = iota // finished
	CodeCanceled                 // the other side is no longer interested
	CodeProtocol                 // the peer broke the protocol
	CodeVersion                  // no common protocol version
	CodeUnauthorized             // not (or no longer) allowed
	CodeSuperseded               // the same node opened a newer session
	CodeShutdown                 // going away; dial again
	CodeInternal                 // a bug or a full disk on the closing side
)

func (c Code) String() string {
	names := [...]string{"ok", "canceled", "protocol broken", "no common version", "unauthorized", "superseded", "going away", "internal error"}
	if c < Code(len(names)) {
		return names[c]
	}
	return fmt.Sprintf("code %d", uint64(c))
}

// Error is a stream's reset or a session's end as the peer worded it.
type Error struct {
	Code   Code
	Reason string // "" for streams
}

func (e *Error) Error() string {
	if e.Reason == "" {
		return "link: ended by peer: " + e.Code.String()
	}
	return "link: ended by peer: " + e.Code.String() + ": " + e.Reason
}

// MaxReason bounds a session's last words, in bytes; longer ones are cut.
const MaxReason = 512

// Peer is who the verified certificate says is at the other end. Node is "" in a join
// session and for the control plane, Key too: the hash of the node's public key
// (nodelink.KeyHash), which stays the same when its certificate is renewed.
type Peer struct {
	Node    string
	Key     string
	Address string
}

// Session is one connection. All methods may be called concurrently.
type Session interface {
	Peer() Peer
	// Protocol is what was negotiated: ProtocolNode or ProtocolJoin.
	Protocol() string
	// Open opens a stream; the peer sees it when the first byte is written. It waits while too many are
	// open.
	Open(ctx context.Context) (Stream, error)
	// Accept returns the next stream that the peer opened.
	Accept(ctx context.Context) (Stream, error)
	// Close ends the session and all its streams at once: what the peer has not received yet
	// may be lost. It may be called again; the first call counts.
	Close(code Code, reason string) error
	// Context ends with the session; its cause is an *Error in the peer's words, ErrClosed, or an
	// ErrLost. What calls return from then on is the cause.
	Context() context.Context
}

// Stream is an ordered stream of bytes both ways.
type Stream interface {
	io.Reader // io.EOF after the peer's CloseWrite; *Error after its Reset
	io.Writer
	// CloseWrite says that no more is written; reading goes on.
	CloseWrite() error
	// Reset ends both directions at once.
	Reset(code Code)
	// Close is CloseWrite and no interest in what is still to be read: the peer's writes fail with
	// CodeCanceled. Every stream must be closed or reset in the end.
	Close() error
	// Deadlines are as net.Conn's: calls fail with os.ErrDeadlineExceeded.
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// Listener accepts sessions.
type Listener interface {
	Accept(ctx context.Context) (Session, error)
	// Close stops listening and ends every session with CodeShutdown.
	Close() error
}
