package remotecommand

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"

	"github.com/coder/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The numbers of the streams.
const (
	stdin byte = iota
	stdout
	stderr
	status
	resize
	closing byte = 255
)

// socketProtocols are what a WebSocket may speak; "" is channel.k8s.io.
var socketProtocols = []string{
	"v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io",
}

// socket is a client's WebSocket.
type socket struct {
	conn       *websocket.Conn
	base64     bool
	structured bool // the status is JSON
	closes     bool // the end of stdin can be said

	mu sync.Mutex // held while a message goes out: WebSocket messages do not mix
}

func serveWebSocket(ctx context.Context, w http.ResponseWriter, r *http.Request, o Options, log *slog.Logger, run func(context.Context, *Streams) *metav1.Status) error {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: socketProtocols, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		log.Debug("a WebSocket was not accepted", "error", err) // the client has been told
		return nil
	}
	conn.SetReadLimit(maxMessage)
	protocol := conn.Subprotocol()
	s := &socket{
		conn: conn, base64: protocol == "v4.base64.channel.k8s.io" || protocol == "base64.channel.k8s.io",
		structured: protocol != "" && protocol != "channel.k8s.io" && protocol != "base64.channel.k8s.io",
		closes:     protocol == "v5.channel.k8s.io",
	}
	if err := s.serve(ctx, o, run); err != nil {
		log.Debug("exec or attach", "error", err)
	}
	return nil
}

func (s *socket) serve(ctx context.Context, o Options, run func(context.Context, *Streams) *metav1.Status) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	typed, typing := io.Pipe()
	sizes := make(newest, 1)
	streams := &Streams{Resize: sizes}
	if o.Stdin {
		streams.Stdin = typed
	}
	if o.Stdout {
		streams.Stdout = s.writer(ctx, stdout)
	}
	if o.Stderr {
		streams.Stderr = s.writer(ctx, stderr)
	}
	// An empty message tells the client that the connection stands.
	if err := s.send(ctx, s.first(o), nil); err != nil {
		return err
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer cancel()
		defer close(sizes)
		_ = s.read(ctx, o, typing, sizes) // the client has gone, or has been answered
		_ = typing.Close()                // it never fails
	})
	outcome := run(ctx, streams)
	_ = typed.Close() // it never fails
	err := writeStatus(s.writer(context.WithoutCancel(ctx), status), outcome, s.structured)
	if err == nil {
		err = s.conn.Close(websocket.StatusNormalClosure, "")
	} else {
		_ = s.conn.CloseNow() // the first error says more
	}
	cancel()
	reading.Wait()
	return err
}

// first is the stream of the lowest number that the client reads.
func (s *socket) first(o Options) byte {
	switch {
	case o.Stdout:
		return stdout
	case o.Stderr:
		return stderr
	}
	return status
}

// read hands over what the client sends until it leaves.
func (s *socket) read(ctx context.Context, o Options, typing *io.PipeWriter, sizes newest) error {
	for {
		_, message, err := s.conn.Read(ctx)
		if err != nil {
			return err
		}
		number, data, err := s.open(message)
		if err != nil {
			return err
		}
		switch {
		case number == stdin && o.Stdin:
			_, _ = typing.Write(data) // nobody reads it any more
		case number == closing && s.closes && len(data) == 1 && data[0] == stdin:
			_ = typing.Close() // it never fails
		case number == resize && o.TTY:
			var size Size
			if json.Unmarshal(data, &size) == nil {
				sizes.put(size)
			}
		}
	}
}

// open takes a message apart. An empty one is for nobody.
func (s *socket) open(message []byte) (byte, []byte, error) {
	switch {
	case len(message) == 0:
		return status, nil, nil
	case !s.base64:
		return message[0], message[1:], nil
	case message[0] < '0' || message[0] > '9':
		return 0, nil, fmt.Errorf("remotecommand: %q is no stream", message[0])
	}
	data, err := base64.StdEncoding.DecodeString(string(message[1:]))
	return message[0] - '0', data, err
}

func (s *socket) send(ctx context.Context, number byte, data []byte) error {
	kind, message := websocket.MessageBinary, append([]byte{number}, data...)
	if s.base64 {
		kind, message = websocket.MessageText, append([]byte{'0' + number}, base64.StdEncoding.EncodeToString(data)...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn.Write(ctx, kind, message)
}

func (s *socket) writer(ctx context.Context, number byte) io.Writer {
	return writerFunc(func(b []byte) (int, error) {
		if err := s.send(ctx, number, b); err != nil {
			return 0, err
		}
		return len(b), nil
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
