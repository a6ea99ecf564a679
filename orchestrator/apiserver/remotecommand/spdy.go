package remotecommand

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// spdyProtocols are what SPDY may speak, the best first.
var spdyProtocols = []string{"v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"}

// maxStreams are error, stdin, stdout, stderr and resize.
const maxStreams = 5

// connection is a client's SPDY connection.
type connection struct {
	httpstream.Connection
	protocol string
	opened   chan opened
}

// opened is a stream with the header streamType; it may be written to when the client has been told.
type opened struct {
	httpstream.Stream
	told <-chan struct{}
}

func serveSPDY(ctx context.Context, w http.ResponseWriter, r *http.Request, o Options, log *slog.Logger, run func(context.Context, *Streams) *metav1.Status) error {
	if !strings.EqualFold(r.Header.Get("Upgrade"), spdy.HeaderSpdy31) {
		return ErrUpgrade
	}
	protocol, err := httpstream.Handshake(r, w, spdyProtocols)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUpgrade, err)
	}
	c := &connection{protocol: protocol, opened: make(chan opened, maxStreams)}
	c.Connection = spdy.NewResponseUpgraderWithPings(pingPeriod).UpgradeResponse(hijackable{w}, r, c.take)
	if c.Connection == nil {
		return nil // the client has been told
	}
	if err := c.serve(ctx, o, run); err != nil {
		log.Debug("exec or attach", "error", err)
	}
	return nil
}

// take takes a stream that the client opened; more than there can be are refused.
func (c *connection) take(stream httpstream.Stream, replySent <-chan struct{}) error {
	select {
	case c.opened <- opened{stream, replySent}:
		return nil
	default:
		return errors.New("remotecommand: too many streams")
	}
}

func (c *connection) serve(ctx context.Context, o Options, run func(context.Context, *Streams) *metav1.Status) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-ctx.Done():
		case <-c.CloseChan():
			cancel()
		}
	})
	defer watching.Wait()
	defer cancel()
	streams, err := c.await(ctx, c.expected(o))
	if err != nil {
		return errors.Join(err, c.Close())
	}
	sizes := make(newest, 1)
	if stream := streams["resize"]; stream != nil {
		watching.Go(func() { readSizes(stream, sizes) })
	} else {
		close(sizes)
	}
	outcome := run(ctx, streamsOf(streams, sizes))
	err = writeStatus(streams["error"], outcome, c.protocol == spdyProtocols[0])
	for _, stream := range streams {
		err = errors.Join(err, ignoreClosed(stream.Close()))
	}
	return errors.Join(err, ignoreClosed(c.Close()))
}

// expected are the types of the streams that the client will open.
func (c *connection) expected(o Options) []string {
	types := []string{"error"}
	for name, wanted := range map[string]bool{
		"stdin": o.Stdin, "stdout": o.Stdout, "stderr": o.Stderr,
		"resize": o.TTY && (c.protocol == "v4.channel.k8s.io" || c.protocol == "v3.channel.k8s.io"),
	} {
		if wanted {
			types = append(types, name)
		}
	}
	return types
}

// await returns the streams by type when all have been opened.
func (c *connection) await(ctx context.Context, types []string) (map[string]httpstream.Stream, error) {
	timer := time.NewTimer(streamTimeout)
	defer timer.Stop()
	streams := map[string]httpstream.Stream{}
	missing := func() int {
		n := 0
		for _, name := range types {
			if streams[name] == nil {
				n++
			}
		}
		return n
	}
	for missing() > 0 {
		select {
		case stream := <-c.opened:
			select {
			case <-stream.told:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			streams[stream.Headers().Get("streamType")] = stream.Stream
		case <-timer.C:
			return nil, errors.New("remotecommand: the client did not open its streams in time")
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return streams, nil
}

func streamsOf(streams map[string]httpstream.Stream, sizes newest) *Streams {
	s := &Streams{Resize: sizes}
	if stream := streams["stdin"]; stream != nil {
		s.Stdin = stream
	}
	if stream := streams["stdout"]; stream != nil {
		s.Stdout = stream
	}
	if stream := streams["stderr"]; stream != nil {
		s.Stderr = stream
	}
	return s
}

func readSizes(from io.Reader, sizes newest) {
	defer close(sizes)
	decoder := json.NewDecoder(from)
	for {
		var size Size
		if err := decoder.Decode(&size); err != nil {
			return
		}
		sizes.put(size)
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// hijackable reaches the connection through wrapped ResponseWriters.
type hijackable struct{ http.ResponseWriter }

// Hijack implements http.Hijacker.
func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(h.ResponseWriter).Hijack()
}
