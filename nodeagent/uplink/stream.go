package uplink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// openingTimeout bounds how long the opening of a stream may take.
const openingTimeout = 10 * time.Second

// acceptStreams serves what the control plane opens.
func (c *conversation) acceptStreams(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	for {
		s, err := c.link.Accept(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept a stream: %w", err)
		}
		work.Go(func() {
			if err := c.serveStream(ctx, s); err != nil && ctx.Err() == nil {
				c.log.Debug("stream", "error", err)
			}
		})
	}
}

func (c *conversation) serveStream(ctx context.Context, s link.Stream) error {
	stop := context.AfterFunc(ctx, func() { s.Reset(link.CodeCanceled) })
	defer stop()
	o := &nodelink.Open{}
	err := s.SetReadDeadline(time.Now().Add(openingTimeout))
	if err == nil {
		err = nodelink.ReadMessage(s, o, nodelink.MaxOpening)
	}
	if err == nil {
		err = s.SetReadDeadline(time.Time{})
	}
	if err != nil {
		s.Reset(link.CodeProtocol)
		return fmt.Errorf("read what the stream is for: %w", err)
	}
	serve, err := c.decide(ctx, o)
	opened := &nodelink.Opened{}
	if err != nil {
		opened.Refusal = &nodelink.Refusal{Code: uint32(link.CodeCanceled), Message: err.Error()}
	}
	if werr := nodelink.WriteMessage(s, opened); werr != nil {
		s.Reset(link.CodeCanceled)
		if err == nil {
			serve(ctx, s) // to release what it holds
		}
		return fmt.Errorf("answer: %w", werr)
	}
	if err != nil {
		return s.Close()
	}
	serve(ctx, s)
	return nil
}

// decide asks what serves a stream. An agent serves nobody's registry.
func (c *conversation) decide(ctx context.Context, o *nodelink.Open) (Serve, error) {
	if _, registry := o.Body.(*nodelink.Open_Registry); registry || o.Body == nil || c.config.Open == nil {
		return nil, errors.New("this agent does not serve such streams")
	}
	return c.config.Open(ctx, o)
}

// open opens a stream to the control plane and waits for its answer.
func (u *Uplink) open(ctx context.Context, o *nodelink.Open) (link.Stream, error) {
	session, err := u.current()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openingTimeout)
	defer cancel()
	s, err := session.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a stream to the control plane: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { s.Reset(link.CodeCanceled) })
	defer stop()
	err = nodelink.WriteMessage(s, o)
	opened := &nodelink.Opened{}
	if err == nil {
		err = nodelink.ReadMessage(s, opened, nodelink.MaxOpening)
	}
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case err == nil && opened.Refusal != nil:
		err = &refusedError{opened.Refusal, false}
	}
	if err != nil {
		s.Reset(link.CodeCanceled)
		return nil, fmt.Errorf("open a stream to the control plane: %w", err)
	}
	return s, nil
}

// Tunnel opens a connection to a pod of another node, relayed by the control plane. The caller
// closes it. Errors: ErrOffline; the refusal in the control plane's or the other agent's words.
func (u *Uplink) Tunnel(ctx context.Context, t *nodelink.Tunnel) (link.Stream, error) {
	return u.open(ctx, &nodelink.Open{Body: &nodelink.Open_Tunnel{Tunnel: t}})
}

// Registry sends HTTP requests to the cluster's own OCI registry, whatever host and scheme they
// name. Errors: ErrOffline.
func (u *Uplink) Registry() http.RoundTripper { return u.registry }

// newRegistry is a transport whose connections are streams.
func (u *Uplink) newRegistry() *http.Transport {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		s, err := u.open(ctx, &nodelink.Open{Body: &nodelink.Open_Registry{Registry: &nodelink.Registry{}}})
		if err != nil {
			return nil, err
		}
		return link.NetConn(s, u.config.NodeName, "registry"), nil
	}
	return &http.Transport{
		DialContext:         dial,
		DialTLSContext:      dial, // the link is encrypted
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     30 * time.Second,
		DisableCompression:  true,
	}
}
