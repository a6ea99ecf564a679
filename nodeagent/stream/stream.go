// Package stream serves what the control plane opens to an agent: the log of a container, a connection to a port of a
// pod, and a tunnel from a pod of another node. Every stream names a pod that runs here now, or it is refused in words that
// reach the user.
//
// A stream begins with an Open, which the uplink has read. Serve answers Opened; then bytes follow until either
// side ends them.
package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
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
	// DialPod connects to a port of a pod, as one of its own containers would.
	DialPod func(ctx context.Context, uid string, port uint16) (net.Conn, error)
	// DialTunnel connects to a pod of this node, on behalf of one of another node.
	DialTunnel func(ctx context.Context, source netip.AddrPort, network string, target netip.AddrPort) (net.Conn, error)
	Log        *slog.Logger
}

// Server serves streams. Serve may be called concurrently.
type Server struct{ Config }

// New returns a server.
func New(c Config) *Server {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Server{c}
}

// patience is how long a dial may take, and a peer that takes no bytes is borne while it is told no.
const patience = 10 * time.Second

// Serve serves one stream to its end, and closes it.
func (s *Server) Serve(ctx context.Context, st link.Stream, o *nodelink.Open) {
	var err error
	switch {
	case o.GetLog() != nil:
		err = s.log(ctx, st, o.GetLog())
	case o.GetPortForward() != nil:
		err = s.portForward(ctx, st, o.GetPortForward())
	case o.GetTunnel() != nil:
		err = s.tunnel(ctx, st, o.GetTunnel())
	default:
		err = refuse(link.CodeProtocol, "this agent does not know what the stream is for; it may be older than the control plane")
	}
	var r *refusal
	if errors.As(err, &r) {
		err = s.answer(st, &nodelink.Opened{Refusal: &nodelink.Refusal{Code: uint32(r.code), Message: r.Error()}})
	}
	if err != nil {
		s.Log.Debug("stream broke off", "err", err)
		st.Reset(link.CodeInternal)
		return
	}
	if err := st.Close(); err != nil {
		s.Log.Debug("stream was not closed well", "err", err)
	}
}

// answer says how the stream was taken.
func (s *Server) answer(st link.Stream, o *nodelink.Opened) error {
	if err := st.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := nodelink.WriteMessage(st, o); err != nil {
		return fmt.Errorf("answer a stream: %w", err)
	}
	return st.SetWriteDeadline(time.Time{})
}

// refusal is a no that the user sees.
type refusal struct {
	code    link.Code
	message string
}

func (r *refusal) Error() string { return r.message }

func refuse(code link.Code, format string, args ...any) error {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

func (s *Server) pod(uid string) (*corev1.Pod, *corev1.PodStatus, error) {
	p, status := s.Pod(uid)
	if p == nil {
		return nil, nil, refuse(link.CodeCanceled, "no pod with uid %q is on this node now", uid)
	}
	return p, status, nil
}

func (s *Server) portForward(ctx context.Context, st link.Stream, o *nodelink.PortForward) error {
	p, _, err := s.pod(o.GetPodUid())
	if err != nil {
		return err
	}
	if o.GetPort() < 1 || o.GetPort() > 65535 {
		return refuse(link.CodeProtocol, "%d is no port", o.GetPort())
	}
	dialing, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := s.DialPod(dialing, o.GetPodUid(), uint16(o.GetPort()))
	if err != nil {
		return refuse(link.CodeCanceled, "failed to connect to port %d of pod %s/%s: %v", o.GetPort(), p.Namespace, p.Name, err)
	}
	return s.join(ctx, st, "tcp", c)
}

func (s *Server) tunnel(ctx context.Context, st link.Stream, o *nodelink.Tunnel) error {
	to, err := netip.ParseAddr(o.GetAddress())
	if err != nil || o.GetPort() < 1 || o.GetPort() > 65535 || o.GetNetwork() != "tcp" && o.GetNetwork() != "udp" {
		return refuse(link.CodeProtocol, "a tunnel to %s %q port %d", o.GetNetwork(), o.GetAddress(), o.GetPort())
	}
	var source netip.AddrPort
	if ip, err := netip.ParseAddr(o.GetSource()); err == nil {
		source = netip.AddrPortFrom(ip, 0)
	}
	dialing, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := s.DialTunnel(dialing, source, o.GetNetwork(), netip.AddrPortFrom(to, uint16(o.GetPort())))
	if err != nil {
		return refuse(link.CodeCanceled, "%v", err)
	}
	return s.join(ctx, st, o.GetNetwork(), c)
}

// join says yes and copies both ways, with half-close, until both have ended or one has failed.
func (s *Server) join(ctx context.Context, st link.Stream, network string, c net.Conn) error {
	if err := s.answer(st, &nodelink.Opened{}); err != nil {
		return errors.Join(err, c.Close())
	}
	return podnet.Splice(ctx, podnet.StreamConn(st, network, netip.AddrPort{}, netip.AddrPort{}), c)
}
