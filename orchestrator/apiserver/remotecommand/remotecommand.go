// Package remotecommand speaks the protocols of kubectl exec and attach with a client: streams of standard input,
// output, error, the terminal's size and the final status, over a WebSocket or over SPDY/3.1.
//
// In a WebSocket each message begins with the number of its stream (0 stdin, 1 stdout, 2 stderr, 3 status, 4 size;
// 255 in v5 closes the stream that the next byte names). In the base64 protocols the number is a digit and the rest is
// base64. In SPDY each is a stream with the header streamType.
//
//	v5  adds the end of stdin to v4 (WebSocket only)
//	v4  the final status is a metav1.Status in JSON
//	v3  adds the size of the terminal (SPDY)
//	v2, v1  errors are plain text, and nothing says that all went well
package remotecommand

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Options are the streams that the client asks for.
type Options struct{ Stdin, Stdout, Stderr, TTY bool }

// Size is a terminal's, in characters.
type Size struct {
	Width, Height uint16
}

// Streams are a client's. Those that were not asked for are nil.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Resize has the newest size; it is closed when the client says no more.
	Resize <-chan Size
}

// Bounds of one client.
const (
	streamTimeout = 30 * time.Second // how long a client may take to open its streams
	pingPeriod    = 10 * time.Second
	maxMessage    = 1 << 20
)

// ErrUpgrade says that the request does not ask for an upgrade that is spoken here. It is returned before anything has
// been written.
var ErrUpgrade = errors.New("remotecommand: the request asks neither for a WebSocket nor for SPDY/3.1")

// Serve takes the connection over, and lets run answer the client. What run returns goes out as the final status. The
// context of run ends when the client leaves or ctx ends. When Serve returns, everything that it started has ended.
func Serve(ctx context.Context, w http.ResponseWriter, r *http.Request, o Options, log *slog.Logger, run func(context.Context, *Streams) *metav1.Status) error {
	if o.TTY {
		o.Stderr = false // a terminal has one output
	}
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return serveWebSocket(ctx, w, r, o, log, run)
	}
	return serveSPDY(ctx, w, r, o, log, run)
}

// writeStatus says how it ended. Clients of protocols before v4 hear of failures only, as text.
func writeStatus(w io.Writer, status *metav1.Status, structured bool) error {
	if !structured {
		if status.Status == metav1.StatusSuccess {
			return nil
		}
		_, err := io.WriteString(w, status.Message)
		return err
	}
	b, err := json.Marshal(status)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// newest is a channel that keeps the newest size only. It has one writer.
type newest chan Size

func (c newest) put(s Size) {
	select {
	case <-c:
	default: // there is no older one
	}
	c <- s
}
