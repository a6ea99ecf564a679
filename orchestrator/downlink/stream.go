package downlink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/state"
	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// Open opens a stream to the agent of a node, sends o and reads the answer: the stream is at the
// first byte behind Opened. The caller closes it. Errors: ErrNoSession; the agent's
// refusal in its own words, an *OpenError.
func (d *Downlink) Open(ctx context.Context, node string, o *nodelink.Open) (link.Stream, error) {
	s, err := d.session(node)
	if err != nil {
		return nil, err
	}
	stream, err := s.link.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a stream to node %s: %w", node, err)
	}
	if err := knock(ctx, stream, o); err != nil {
		stream.Reset(link.CodeCanceled)
		return nil, err
	}
	return stream, nil
}

// OpenError is an agent's clear no to a stream.
type OpenError struct {
	Code    link.Code
	Message string
}

func (e *OpenError) Error() string { return e.Message }

// knock sends Open and waits for Opened, not longer than ctx.
func knock(ctx context.Context, stream link.Stream, o *nodelink.Open) error {
	stop := context.AfterFunc(ctx, func() { stream.Reset(link.CodeCanceled) })
	defer stop()
	err := nodelink.WriteMessage(stream, o)
	opened := &nodelink.Opened{}
	if err == nil {
		err = nodelink.ReadMessage(stream, opened, nodelink.MaxOpening)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("open a stream: %w", err)
	case opened.Refusal != nil:
		return &OpenError{Code: link.Code(opened.Refusal.Code), Message: opened.Refusal.Message}
	}
	return nil
}

// acceptStreams serves what the agent opens.
func (s *session) acceptStreams(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	for {
		stream, err := s.link.Accept(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept a stream: %w", err)
		}
		work.Go(func() {
			if err := s.serveStream(ctx, stream); err != nil && ctx.Err() == nil {
				s.log.Debug("stream", "error", err)
			}
		})
	}
}

func (s *session) serveStream(ctx context.Context, stream link.Stream) error {
	stop := context.AfterFunc(ctx, func() { stream.Reset(link.CodeCanceled) })
	defer stop()
	o := &nodelink.Open{}
	err := stream.SetReadDeadline(time.Now().Add(openingTimeout))
	if err == nil {
		err = nodelink.ReadMessage(stream, o, nodelink.MaxOpening)
	}
	if err == nil {
		err = stream.SetReadDeadline(time.Time{})
	}
	if err != nil {
		stream.Reset(link.CodeProtocol)
		return fmt.Errorf("read what the stream is for: %w", err)
	}
	switch body := o.Body.(type) {
	case *nodelink.Open_Registry:
		return s.serveRegistry(ctx, stream)
	case *nodelink.Open_Tunnel:
		return s.serveTunnel(ctx, stream, body.Tunnel)
	}
	return answer(stream, refuse(link.CodeProtocol, true, "the control plane does not serve such streams"))
}

// answer sends Opened, or the refusal that err is, and then ends the stream and returns err.
func answer(stream link.Stream, err error) error {
	opened := &nodelink.Opened{}
	if err != nil {
		opened.Refusal = refusal(err)
	}
	werr := nodelink.WriteMessage(stream, opened)
	if err != nil {
		return errors.Join(err, stream.Close())
	}
	return werr
}

func (s *session) serveRegistry(ctx context.Context, stream link.Stream) error {
	if s.Registry == nil {
		return answer(stream, refuse(link.CodeUnauthorized, true, "this control plane has no registry"))
	}
	if err := answer(stream, nil); err != nil {
		return err
	}
	return s.registry.serve(ctx, link.NetConn(stream, "registry", s.node))
}

// serveTunnel relays to the agent that has the pod.
func (s *session) serveTunnel(ctx context.Context, stream link.Stream, t *nodelink.Tunnel) error {
	target, err := s.route(t)
	if err != nil {
		return answer(stream, err)
	}
	opening, cancel := context.WithTimeout(ctx, openingTimeout)
	defer cancel()
	onward, err := s.Open(opening, target, &nodelink.Open{Body: &nodelink.Open_Tunnel{Tunnel: t}})
	if err != nil {
		return answer(stream, refuse(link.CodeCanceled, false, "no way to %s: %w", t.Address, err))
	}
	if err := answer(stream, nil); err != nil {
		onward.Reset(link.CodeCanceled)
		return err
	}
	relay(ctx, stream, onward)
	return nil
}

// route finds the node that a tunnel leads to. A node may only speak for its own pods.
func (s *session) route(t *nodelink.Tunnel) (string, error) {
	to, err := netip.ParseAddr(t.Address)
	if err != nil || t.Port == 0 || t.Port > 65535 || t.Network != "tcp" && t.Network != "udp" {
		return "", refuse(link.CodeProtocol, true, "tunnel to %s %q port %d", t.Network, t.Address, t.Port)
	}
	if t.Source != "" {
		from, err := netip.ParseAddr(t.Source)
		if owner := s.nodeOf(from); err != nil || owner != s.node {
			return "", refuse(link.CodeUnauthorized, true, "%q is no pod of node %s", t.Source, s.node)
		}
	}
	switch target := s.nodeOf(to); target {
	case "":
		return "", refuse(link.CodeCanceled, false, "no node has the pod address %s", to)
	case s.node:
		return "", refuse(link.CodeProtocol, false, "%s is an address of the node itself", to)
	default:
		return target, nil
	}
}

// nodeOf is the node whose block holds a pod's address; "" if none.
func (d *Downlink) nodeOf(a netip.Addr) string {
	for _, n := range state.List[*corev1.Node](d.State, state.Selector{}) {
		for _, cidr := range append([]string{n.Spec.PodCIDR}, n.Spec.PodCIDRs...) {
			if p, err := netip.ParsePrefix(cidr); err == nil && p.Contains(a) {
				return n.Name
			}
		}
	}
	return ""
}

// relay copies both ways, with half-close, until both directions have ended. A reset goes through.
func relay(ctx context.Context, a, b link.Stream) {
	stop := context.AfterFunc(ctx, func() {
		a.Reset(link.CodeShutdown)
		b.Reset(link.CodeShutdown)
	})
	defer stop()
	var work sync.WaitGroup
	work.Go(func() { pump(a, b) })
	pump(b, a)
	work.Wait()
}

// pump copies one way.
func pump(to, from link.Stream) {
	_, err := io.Copy(to, from)
	if err == nil {
		err = to.CloseWrite()
	}
	if err == nil {
		return
	}
	code := link.CodeCanceled
	var e *link.Error
	if errors.As(err, &e) {
		code = e.Code
	}
	to.Reset(code)
	from.Reset(code)
}
