package stream

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"wherry/proto/link"
)

// kubelet answers the HTTP requests that come over a stream until the control plane closes it.
func (s *Server) kubelet(ctx context.Context, st link.Stream) {
	ended := make(chan struct{})
	var once sync.Once
	server := &http.Server{
		Handler: s.Kubelet, ReadHeaderTimeout: patience, WriteTimeout: time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				once.Do(func() { close(ended) })
			}
		},
	}
	l := &oneConn{conn: link.NetConn(st, "node", "control plane"), closed: make(chan struct{})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) }) // it says that it was closed
	select {
	case <-ended:
	case <-ctx.Done():
	}
	_ = server.Close() // of streams that have ended
	serving.Wait()
}

// oneConn is a listener that one connection comes to.
type oneConn struct {
	conn   net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *oneConn) Accept() (net.Conn, error) {
	if conn := l.conn; conn != nil {
		l.conn = nil
		return conn, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "link"} }
