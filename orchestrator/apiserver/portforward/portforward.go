// Package portforward speaks kubectl's port-forward protocol with a client, over SPDY/3.1,
// plain or tunnelled through a WebSocket.
//
// For each TCP connection the client opens two SPDY streams with the same requestID: one of
// streamType error, on which at most one message goes back, and one of streamType data,
// which carries the bytes. Both name the port.
package portforward

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// Protocol names the streams' meaning, Tunnel their transport in a WebSocket.
const (
	Protocol = "portforward.k8s.io"
	Tunnel   = "SPDY/3.1+" + Protocol
)

// Headers of the streams.
const (
	headerType      = "streamType"
	headerPort      = "port"
	headerRequestID = "requestID"
)

// Bounds of one client.
const (
	maxPairs    = 512
	pairTimeout = 30 * time.Second // how long the second stream of a pair may take
	pingPeriod  = 10 * time.Second
)

// Stream is one connection into a pod.
type Stream interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Dial opens a connection to a port of the pod.
type Dial func(ctx context.Context, port uint16) (Stream, error)

// ErrUpgrade says that the request does not ask for an upgrade that is spoken here. It is
// returned before anything has been written.
var ErrUpgrade = errors.New("portforward: the request asks neither for SPDY/3.1 nor for a WebSocket with subprotocol " + Tunnel)

// Serve takes the connection over and forwards until the client leaves or ctx ends. name
// is what the pod is called in messages to the user. When it returns, everything that it
// started has ended.
func Serve(ctx context.Context, w http.ResponseWriter, r *http.Request, name string, dial Dial, log *slog.Logger) error {
	s := &session{name: name, dial: dial, log: log, waiting: map[string]*pair{}, ready: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(ctx)
	defer s.cancel()
	conn, err := s.upgrade(w, r)
	if err != nil || conn == nil {
		return err
	}
	s.conn = conn
	close(s.ready)
	select {
	case <-s.ctx.Done():
	case <-conn.CloseChan():
	}
	s.cancel()
	err = conn.Close()
	s.forget()
	s.running.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		log.Debug("closing a port-forward", "pod", name, "error", err)
	}
	return nil
}

// session is one client.
type session struct {
	ctx     context.Context
	cancel  context.CancelFunc
	name    string
	dial    Dial
	log     *slog.Logger
	running sync.WaitGroup
	ready   chan struct{} // closed when conn is set
	conn    httpstream.Connection

	mu      sync.Mutex
	waiting map[string]*pair // by requestID: the other stream is still to come
	pairs   int
}

// pair is the two streams of one forwarded connection.
type pair struct {
	port        uint16
	data, error httpstream.Stream
	expiry      *time.Timer
}

// upgrade returns nil and no error if the client has been told already why not.
func (s *session) upgrade(w http.ResponseWriter, r *http.Request) (httpstream.Connection, error) {
	if isWebSocket(r) {
		return s.tunnel(w, r)
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), spdy.HeaderSpdy31) {
		return nil, ErrUpgrade
	}
	if _, err := httpstream.Handshake(r, w, []string{Protocol}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUpgrade, err)
	}
	conn := spdy.NewResponseUpgraderWithPings(pingPeriod).UpgradeResponse(hijackable{w}, r, s.opened)
	return conn, nil
}

func isWebSocket(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// tunnel carries SPDY frames in binary messages.
func (s *session) tunnel(w http.ResponseWriter, r *http.Request) (httpstream.Connection, error) {
	if !strings.Contains(strings.Join(r.Header.Values("Sec-WebSocket-Protocol"), ","), Tunnel) {
		return nil, ErrUpgrade
	}
	socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{Tunnel}, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		s.log.Debug("a WebSocket was not accepted", "error", err)
		return nil, nil
	}
	conn, err := spdy.NewServerConnectionWithPings(websocket.NetConn(s.ctx, socket, websocket.MessageBinary), s.opened, pingPeriod)
	if err != nil {
		s.log.Debug("SPDY in a WebSocket", "error", err)
		return nil, nil
	}
	return conn, nil
}

// hijackable reaches the connection through wrapped ResponseWriters.
type hijackable struct{ http.ResponseWriter }

// opened takes a stream that the client opened. Errors reset it.
func (s *session) opened(stream httpstream.Stream, replySent <-chan struct{}) error {
	port, err := strconv.ParseUint(stream.Headers().Get(headerPort), 10, 16)
	if err != nil || port == 0 {
		return fmt.Errorf("portforward: %q is not a port", stream.Headers().Get(headerPort))
	}
	kind := stream.Headers().Get(headerType)
	if kind != "error" && kind != "data" {
		return fmt.Errorf("portforward: stream type %q is unknown", kind)
	}
	p, err := s.match(stream, uint16(port), kind == "error")
	if p == nil || err != nil {
		return err
	}
	s.running.Go(func() {
		<-replySent
		s.forward(p)
	})
	return nil
}

// match returns the pair that stream completes, or nil.
func (s *session) match(stream httpstream.Stream, port uint16, isError bool) (*pair, error) {
	id := stream.Headers().Get(headerRequestID)
	s.mu.Lock()
	defer s.mu.Unlock()
	p, known := s.waiting[id]
	if !known {
		if s.pairs >= maxPairs {
			return nil, errors.New("portforward: too many connections at once")
		}
		s.pairs++
		p = &pair{port: port}
		p.expiry = time.AfterFunc(pairTimeout, func() { s.expire(id, p) })
		s.waiting[id] = p
	}
	slot := &p.data
	if isError {
		slot = &p.error
	}
	if *slot != nil || p.port != port {
		return nil, fmt.Errorf("portforward: the streams of request %q do not fit", id)
	}
	*slot = stream
	if p.data == nil || p.error == nil {
		return nil, nil
	}
	p.expiry.Stop()
	delete(s.waiting, id)
	return p, nil
}

// expire gives up a pair whose second stream never came.
func (s *session) expire(id string, p *pair) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting[id] != p {
		return
	}
	delete(s.waiting, id)
	s.pairs--
	for _, stream := range []httpstream.Stream{p.data, p.error} {
		if stream != nil {
			s.quiet(stream.Reset())
		}
	}
}

// forget stops the clocks of pairs that will not be completed.
func (s *session) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.waiting {
		p.expiry.Stop()
	}
	s.waiting = nil
	s.pairs = maxPairs // no stream is taken any more
}

// forward relays one connection until both sides are done with it.
func (s *session) forward(p *pair) {
	var sending sync.WaitGroup
	err := s.relay(p, &sending)
	if err != nil && s.ctx.Err() == nil {
		_, write := fmt.Fprintf(p.error, "error forwarding port %d to pod %s: %v", p.port, s.name, err)
		s.quiet(write)
	}
	s.quiet(p.data.Close())
	s.quiet(p.error.Close())
	s.quiet(p.data.Reset()) // the client may still be sending to a pod that has closed
	sending.Wait()
	<-s.ready
	s.conn.RemoveStreams(p.data, p.error)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pairs--
}

// relay copies both ways until the pod has sent everything. sending ends when the client
// has, too.
func (s *session) relay(p *pair, sending *sync.WaitGroup) error {
	pod, err := s.dial(s.ctx, p.port)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(s.ctx, func() { s.quiet(pod.Close()) })
	defer stop()
	sending.Go(func() {
		_, err := io.Copy(pod, p.data)
		s.quiet(err)
		s.quiet(pod.CloseWrite())
	})
	_, err = io.Copy(p.data, pod)
	s.quiet(pod.Close())
	return err
}

// quiet notes errors that end a connection which is ending anyway.
func (s *session) quiet(err error) {
	if err != nil {
		s.log.Debug("port-forward", "pod", s.name, "error", err)
	}
}

// Hijack implements http.Hijacker.
func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(h.ResponseWriter).Hijack()
}
