package downlink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// registry serves HTTP on agents' streams: a net.Listener whose connections are handed to it.
type registry struct {
	server *http.Server
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newRegistry(h http.Handler) *registry {
	return &registry{
		server: &http.Server{Handler: h, ReadHeaderTimeout: openingTimeout, IdleTimeout: 2 * time.Minute},
		conns:  make(chan net.Conn),
		closed: make(chan struct{}),
	}
}

// run serves until ctx ends.
func (r *registry) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		_ = r.server.Close() // the listener's close, which cannot fail
	})
	defer stop()
	err := r.server.Serve(r)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("downlink: registry: %w", err)
}

// serve hands over a connection and returns when it has been closed.
func (r *registry) serve(ctx context.Context, c net.Conn) error {
	tracked := &trackedConn{Conn: c, done: make(chan struct{})}
	select {
	case r.conns <- tracked:
	case <-r.closed:
		return errors.Join(net.ErrClosed, c.Close())
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), c.Close())
	}
	select {
	case <-tracked.done:
		return nil
	case <-ctx.Done():
		return tracked.Close()
	}
}

// Accept, Close and Addr make a net.Listener.
func (r *registry) Accept() (net.Conn, error) {
	select {
	case c := <-r.conns:
		return c, nil
	case <-r.closed:
		return nil, net.ErrClosed
	}
}

func (r *registry) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}

func (r *registry) Addr() net.Addr { return linkAddr{} }

type linkAddr struct{}

func (linkAddr) Network() string { return "link" }
func (linkAddr) String() string  { return "registry" }

// trackedConn tells when it is closed.
type trackedConn struct {
	net.Conn
	done chan struct{}
	once sync.Once
}

func (c *trackedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.done) })
	return err
}
