package link

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"
)

// Options tune QUIC; the zero value is right for the field.
type Options struct {
	// KeepAlive is how often the dialing side is heard at least, so that address
	// translators remember it; 0 means 15 s. Above 30 s many forget.
	KeepAlive time.Duration
	// Idle is after how much silence a session is lost; 0 means 30 s.
	Idle time.Duration
	// ResetKey lets a restarted listener tell its old peers at once that their sessions are
	// gone. It must be secret and kept over restarts. nil: they wait out Idle.
	ResetKey *[32]byte
	// MaxStreams bounds the streams that the peer may have open; 0 means 1024.
	MaxStreams int
}

// config is made for thousands of peers. A stream's window starts small and grows with
// its reader; the connection's is as large as all streams' first windows together, so
// that streams which nobody reads cannot hold up the others.
func (o Options) config() *quic.Config {
	const window = 64 << 10
	streams := int64(or(o.MaxStreams, 1024))
	return &quic.Config{
		HandshakeIdleTimeout:           10 * time.Second,
		MaxIdleTimeout:                 or(o.Idle, 30*time.Second),
		InitialStreamReceiveWindow:     window,
		MaxStreamReceiveWindow:         16 * window,
		InitialConnectionReceiveWindow: window * uint64(streams),
		MaxConnectionReceiveWindow:     window * uint64(streams),
		MaxIncomingStreams:             streams,
		MaxIncomingUniStreams:          -1,
	}
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

func (o Options) transport(conn net.PacketConn) *quic.Transport {
	// Only packets of more than 42 bytes may be answered by a reset: with long connection
	// ids a heartbeat is such a packet.
	t := &quic.Transport{Conn: conn, ConnectionIDLength: 20}
	if o.ResetKey != nil {
		key := quic.StatelessResetKey(*o.ResetKey)
		t.StatelessResetKey = &key
	}
	return t
}

// secure completes a TLS configuration: TLS 1.3 without resumption, which would skip
// looking at certificates.
func secure(c *tls.Config, protocols ...string) *tls.Config {
	c = c.Clone()
	c.MinVersion = tls.VersionTLS13
	c.SessionTicketsDisabled = true
	if len(c.NextProtos) == 0 {
		c.NextProtos = protocols
	}
	return c
}

// ListenQUIC accepts sessions that come over conn, which it owns from now on. The TLS
// configuration should ask for client certificates and verify those given
// (tls.VerifyClientCertIfGiven): sessions of ProtocolNode are refused without a node's.
func ListenQUIC(conn net.PacketConn, tc *tls.Config, o Options) (Listener, error) {
	t := o.transport(conn)
	// Whoever comes in a crowd must first prove that its address is its own.
	calm := rate.NewLimiter(200, 200)
	t.VerifySourceAddress = func(net.Addr) bool { return !calm.Allow() }
	ql, err := t.Listen(secure(tc, ProtocolNode, ProtocolJoin), o.config())
	if err != nil {
		return nil, fmt.Errorf("link: listen on %s: %w", conn.LocalAddr(), err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	l := &listener{
		conn: conn, transport: t, quic: ql, ctx: ctx, cancel: cancel,
		queue: make(chan Session, maxQueue), sessions: map[*session]struct{}{},
	}
	l.work.Go(l.run)
	return l, nil
}

// maxQueue bounds the sessions that wait for Accept: a whole fleet that returns at once.
const maxQueue = 8192

type listener struct {
	conn      net.PacketConn
	transport *quic.Transport
	quic      *quic.Listener
	ctx       context.Context // ends with the listener
	cancel    context.CancelCauseFunc
	queue     chan Session
	work      sync.WaitGroup

	mu       sync.Mutex
	sessions map[*session]struct{}
}

// run empties quic-go's short accept queue, so that it never refuses anybody.
func (l *listener) run() {
	for {
		conn, err := l.quic.Accept(l.ctx)
		if err != nil {
			l.cancel(fmt.Errorf("link: accept: %w", err))
			return
		}
		l.admit(conn)
	}
}

func (l *listener) admit(conn *quic.Conn) {
	s := newSession(conn, nil)
	if s.protocol == ProtocolNode {
		var err error
		if s.peer.Node, s.peer.Key, err = nodeOf(conn.ConnectionState().TLS); err != nil {
			l.refuse(s, CodeUnauthorized, err.Error())
			return
		}
	}
	l.mu.Lock()
	l.sessions[s] = struct{}{}
	l.mu.Unlock()
	context.AfterFunc(s.ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.sessions, s)
	})
	select {
	case l.queue <- s:
	default:
		l.refuse(s, CodeShutdown, "too many are waiting")
	}
}

func (l *listener) refuse(s *session, code Code, reason string) {
	l.work.Go(func() { _ = s.Close(code, reason) }) // nobody is left to tell
}

func (l *listener) Accept(ctx context.Context) (Session, error) {
	select {
	case s := <-l.queue:
		return s, nil
	case <-l.ctx.Done():
		return nil, context.Cause(l.ctx)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *listener) Close() error {
	l.cancel(ErrClosed)
	l.work.Wait()
	l.closeSessions()
	// The listener's own error says only that it was closed.
	_ = l.quic.Close()
	err := l.transport.Close()
	if cerr := l.conn.Close(); err == nil {
		err = cerr
	}
	return err
}

func (l *listener) closeSessions() {
	l.mu.Lock()
	open := slices.Collect(maps.Keys(l.sessions))
	l.mu.Unlock()
	for _, s := range open {
		l.refuse(s, CodeShutdown, "the control plane is going away")
	}
	l.work.Wait()
}

// DialQUIC opens a session over conn, which it owns from now on, also when it fails. Protocol
// is the first of the TLS configuration's NextProtos; none means ProtocolNode. Errors: *Error
// when the peer refused, ErrLost when it did not answer, what the verification of
// its certificate said.
func DialQUIC(ctx context.Context, conn net.PacketConn, to net.Addr, tc *tls.Config, o Options) (Session, error) {
	t := o.transport(conn)
	t.ConnectionIDLength = 4 // the conn is this session's alone
	config := o.config()
	config.KeepAlivePeriod = or(o.KeepAlive, 15*time.Second)
	qc, err := t.Dial(ctx, to, secure(tc, ProtocolNode), config)
	if err != nil {
		// The first error is the one to report.
		_ = t.Close()
		_ = conn.Close()
		return nil, fmt.Errorf("link: dial %s: %w", to, translate(err))
	}
	return newSession(qc, func() {
		_ = t.Close() // they can only say that they are closed
		_ = conn.Close()
	}), nil
}
