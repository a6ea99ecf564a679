// Package stream serves what the control plane opens to an agent: the log of a container, a process in it (exec) or its
// own (attach), a connection to a port of a pod, and a tunnel from a pod of another node. Every stream names a pod that runs here now, or it is refused in words that
// reach the user.
//
// A stream begins with an Open, which the uplink has read and hands to Server.Open; the answer to that is a refusal, or
// what carries the bytes.
package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"

	"wherry/nodeagent/podnet"
	"wherry/nodeagent/runtime"
	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// Config is what a Server needs.
type Config struct {
	// Pod returns a pod that is here now, and its newest status; nil: it is not.
	Pod func(uid string) (*corev1.Pod, *corev1.PodStatus)
	// LogPath is where the log of a run is.
	LogPath func(id runtime.ID) string
	// Ended returns when the run has ended or ctx has.
	Ended func(ctx context.Context, id runtime.ID)
	// Execer finds the driver that runs a container; an error, for people, if it takes no exec and attach.
	Execer func(ctx context.Context, id runtime.ID) (runtime.Execer, error)
	// DialPod connects to a port of a pod, as one of its own containers would.
	DialPod func(ctx context.Context, uid string, port uint16) (net.Conn, error)
	// DialTunnel connects to a pod of this node, on behalf of one of another node.
	DialTunnel func(ctx context.Context, source netip.AddrPort, network string, target netip.AddrPort) (net.Conn, error)
	// Kubelet answers HTTP about the node, Usage measures it.
	Kubelet http.Handler
	Usage   func(ctx context.Context) *nodelink.NodeUsage
	Log     *slog.Logger
}

// Server serves streams. Its methods may be called concurrently.
type Server struct{ Config }

// New returns a server.
func New(c Config) *Server {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Server{c}
}

// Serve carries a stream to its end, and closes it.
type Serve = func(ctx context.Context, st link.Stream)

// patience is how long a dial may take.
const patience = 10 * time.Second

// Open decides about a stream. An error is for the user's eyes.
func (s *Server) Open(ctx context.Context, o *nodelink.Open) (Serve, error) {
	switch {
	case o.GetLog() != nil:
		return s.log(o.GetLog())
	case o.GetPortForward() != nil:
		return s.portForward(ctx, o.GetPortForward())
	case o.GetTunnel() != nil:
		return s.tunnel(ctx, o.GetTunnel())
	case o.GetExec() != nil:
		return s.exec(ctx, o.GetExec())
	case o.GetAttach() != nil:
		return s.attach(ctx, o.GetAttach())
	case o.GetKubelet() != nil:
		return s.kubelet, nil
	case o.GetUsage() != nil:
		return func(ctx context.Context, st link.Stream) { s.end(st, nodelink.WriteMessage(st, s.Usage(ctx))) }, nil
	}
	return nil, errors.New("this agent does not know what the stream is for; it may be older than the control plane")
}

// end closes a stream after it was carried.
func (s *Server) end(st link.Stream, err error) {
	if err == nil {
		err = st.Close()
	} else {
		st.Reset(link.CodeInternal)
	}
	if err != nil {
		s.Log.Debug("stream broke off", "err", err)
	}
}

func (s *Server) pod(uid string) (*corev1.Pod, *corev1.PodStatus, error) {
	p, status := s.Pod(uid)
	if p == nil {
		return nil, nil, fmt.Errorf("no pod with uid %q is on this node now", uid)
	}
	return p, status, nil
}

func (s *Server) portForward(ctx context.Context, o *nodelink.PortForward) (Serve, error) {
	p, _, err := s.pod(o.GetPodUid())
	if err != nil {
		return nil, err
	}
	if o.GetPort() < 1 || o.GetPort() > 65535 {
		return nil, fmt.Errorf("%d is no port", o.GetPort())
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := s.DialPod(ctx, o.GetPodUid(), uint16(o.GetPort()))
	if err != nil {
		return nil, fmt.Errorf("failed to connect to port %d of pod %s/%s: %w", o.GetPort(), p.Namespace, p.Name, err)
	}
	return s.join("tcp", c), nil
}

func (s *Server) tunnel(ctx context.Context, o *nodelink.Tunnel) (Serve, error) {
	to, err := netip.ParseAddr(o.GetAddress())
	if err != nil || o.GetPort() < 1 || o.GetPort() > 65535 || o.GetNetwork() != "tcp" && o.GetNetwork() != "udp" {
		return nil, fmt.Errorf("there is no tunnel to %s %q port %d", o.GetNetwork(), o.GetAddress(), o.GetPort())
	}
	var source netip.AddrPort
	if ip, err := netip.ParseAddr(o.GetSource()); err == nil {
		source = netip.AddrPortFrom(ip, 0)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := s.DialTunnel(ctx, source, o.GetNetwork(), netip.AddrPortFrom(to, uint16(o.GetPort())))
	if err != nil {
		return nil, err
	}
	return s.join(o.GetNetwork(), c), nil
}

// join copies both ways, with half-close, until both have ended or one has failed. What is returned has to be called:
// it closes c.
func (s *Server) join(network string, c net.Conn) Serve {
	return func(ctx context.Context, st link.Stream) {
		s.end(st, podnet.Splice(ctx, podnet.StreamConn(st, network, netip.AddrPort{}, netip.AddrPort{}), c))
	}
}
