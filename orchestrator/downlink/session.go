package downlink

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/pki"
	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// session is one node's.
type session struct {
	*Downlink
	link    link.Session
	node    string
	log     *slog.Logger
	feed    *feed
	granted granted
	out     chan *nodelink.ServerMessage // what the writer sends, in order
	done    chan struct{}                // closed when the session has left
}

// converse serves a node until its session ends.
func (d *Downlink) converse(ctx context.Context, ls link.Session) {
	peer := ls.Peer()
	s := &session{
		Downlink: d, link: ls, node: peer.Node,
		log:     d.Logger.With("node", peer.Node, "peer", peer.Address),
		feed:    newFeed(peer.Node),
		granted: granted{pods: map[types.UID]map[wish]minted{}},
		out:     make(chan *nodelink.ServerMessage, 64),
		done:    make(chan struct{}),
	}
	control, hello, err := s.greet(ctx)
	if err != nil {
		s.end(err)
		return
	}
	if err := d.enter(ctx, s); err != nil {
		s.end(err)
		return
	}
	defer d.leave(s)
	s.end(s.run(ctx, control, hello))
}

// end closes the link with the right last words.
func (s *session) end(err error) {
	var r *refused
	code, reason := link.CodeOK, ""
	switch {
	case s.link.Context().Err() != nil:
		err = context.Cause(s.link.Context()) // what the others fell over
	case errors.As(err, &r):
		code, reason = r.code, r.Error()
	case err != nil:
		code, reason = link.CodeInternal, "the control plane failed; its log says why"
	}
	s.log.Info("session ended", "cause", err)
	_ = s.link.Close(code, reason) // it ends either way
}

// greet reads Hello and answers a refusal itself.
func (s *session) greet(ctx context.Context) (link.Stream, *nodelink.Hello, error) {
	ctx, cancel := context.WithTimeout(ctx, openingTimeout)
	defer cancel()
	control, err := s.link.Accept(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("wait for the control stream: %w", err)
	}
	hello, err := s.hello(control)
	var r *refused
	if errors.As(err, &r) {
		s.log.Warn("node refused", "error", err)
		s.sayNo(ctx, control, err)
	}
	return control, hello, err
}

func (s *session) hello(control link.Stream) (*nodelink.Hello, error) {
	if err := control.SetReadDeadline(time.Now().Add(openingTimeout)); err != nil {
		return nil, err
	}
	m := &nodelink.AgentMessage{}
	if err := nodelink.ReadMessage(control, m, nodelink.MaxMessage); err != nil {
		return nil, fmt.Errorf("read hello: %w", err)
	}
	hello := m.GetHello()
	if hello == nil {
		return nil, refuse(link.CodeProtocol, true, "the first message must be Hello")
	}
	return hello, errors.Join(control.SetReadDeadline(time.Time{}), s.check(hello))
}

func (s *session) check(h *nodelink.Hello) error {
	if _, ok := nodelink.Agree(h.MinVersion, h.Version); !ok {
		return refuse(link.CodeVersion, true, "the agent speaks versions %d to %d of the protocol, this control plane %d to %d: upgrade the older one",
			h.MinVersion, h.Version, nodelink.MinVersion, nodelink.Version)
	}
	if id := s.PKI.ClusterID(); h.ClusterId != "" && h.ClusterId != id {
		return refuse(link.CodeUnauthorized, true, "the node belongs to cluster %s, this is cluster %s", h.ClusterId, id)
	}
	if h.NodeName != s.node {
		return refuse(link.CodeUnauthorized, true, "the node calls itself %q, its certificate is for %q", h.NodeName, s.node)
	}
	return s.nameIsFree(s.node, s.link.Peer().Key)
}

// sayNo sends a refusal and gives the agent time to read it and to go.
func (s *session) sayNo(ctx context.Context, control link.Stream, why error) {
	m := &nodelink.ServerMessage{Body: &nodelink.ServerMessage_Refusal{Refusal: refusal(why)}}
	if nodelink.WriteMessage(control, m) != nil {
		return
	}
	select {
	case <-s.link.Context().Done():
	case <-ctx.Done():
	}
}

// run is the session behind its greeting. It returns when all that it started has returned.
func (s *session) run(ctx context.Context, control link.Stream, hello *nodelink.Hello) error {
	group, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(s.link.Context(), func() { control.Reset(link.CodeCanceled) })
	defer stop()
	node, err := s.register(ctx, hello.Node)
	if err != nil {
		return err
	}
	s.log.Info("node connected", "version", hello.AgentVersion)
	writers := newWriters(s)
	synced := make(chan struct{})
	group.Go(func() error { return s.write(ctx, control) })
	group.Go(func() error { return s.send(ctx, s.welcome(hello, node.Spec.PodCIDR)) })
	group.Go(func() error { return s.read(ctx, control, writers, synced) })
	group.Go(func() error {
		select {
		case <-synced:
			return s.tell(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	group.Go(func() error { return s.acceptStreams(ctx) })
	group.Go(func() error { return s.renewLease(ctx) })
	writers.start(ctx, group)
	// Reads of the control stream end with the group.
	unblock := context.AfterFunc(ctx, func() { control.Reset(link.CodeCanceled) })
	defer unblock()
	return group.Wait()
}

func (s *session) welcome(h *nodelink.Hello, podCIDR string) *nodelink.ServerMessage {
	version, _ := nodelink.Agree(h.MinVersion, h.Version) // checked before
	return &nodelink.ServerMessage{Body: &nodelink.ServerMessage_Welcome{Welcome: &nodelink.Welcome{
		Version: version, ClusterId: s.PKI.ClusterID(), ServerVersion: s.Version,
		HeartbeatSeconds: max(1, int64(s.Heartbeat/time.Second)),
		PodCidr:          podCIDR, ServiceCidr: s.ServiceCIDR, DnsAddress: s.DNSAddress, ClusterDomain: s.ClusterDomain, ClusterPodCidr: s.PodCIDR,
	}}}
}

// send queues a message for the writer.
func (s *session) send(ctx context.Context, m *nodelink.ServerMessage) error {
	select {
	case s.out <- m:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// write sends what is queued, in as few packets as possible.
func (s *session) write(ctx context.Context, control link.Stream) error {
	w := bufio.NewWriterSize(control, 16<<10)
	for {
		select {
		case m := <-s.out:
			if err := nodelink.WriteMessage(w, m); err != nil {
				return fmt.Errorf("write to the control stream: %w", err)
			}
		case <-ctx.Done():
			return nil
		}
		if len(s.out) > 0 {
			continue
		}
		if err := w.Flush(); err != nil {
			return fmt.Errorf("write to the control stream: %w", err)
		}
	}
}

// maxInventory bounds what an agent may say that it has.
const maxInventory = 500_000

// missedHeartbeats is after how many the session of an agent that hangs is ended.
const missedHeartbeats = 3

// read takes what the agent says until the stream ends. It closes synced after the inventory.
func (s *session) read(ctx context.Context, control link.Stream, w *writers, synced chan struct{}) error {
	defer w.close()
	in := bufio.NewReaderSize(control, 16<<10)
	have, complete := 0, false
	for {
		m := &nodelink.AgentMessage{}
		err := control.SetReadDeadline(time.Now().Add(missedHeartbeats * s.Heartbeat))
		if err == nil {
			err = nodelink.ReadMessage(in, m, nodelink.MaxMessage)
		}
		if err != nil {
			return refuse(link.CodeProtocol, false, "read from the control stream: %w", err)
		}
		s.hear(s.node)
		switch body := m.Body.(type) {
		case *nodelink.AgentMessage_Inventory:
			have += len(body.Inventory.Have)
			if complete || have > maxInventory {
				return refuse(link.CodeProtocol, false, "the inventory is too long")
			}
			s.feed.remember(body.Inventory.Have)
			if body.Inventory.Last {
				complete = true
				close(synced)
			}
		case *nodelink.AgentMessage_Report:
			err = w.take(ctx, body.Report)
		case *nodelink.AgentMessage_Renew:
			err = s.send(ctx, s.renew(body.Renew.Csr))
		case *nodelink.AgentMessage_Hello:
			err = refuse(link.CodeProtocol, false, "a second Hello")
		}
		if err != nil {
			return err
		}
	}
}

// renew signs a new certificate for the key that the node has.
func (s *session) renew(csr []byte) *nodelink.ServerMessage {
	answer := &nodelink.Renewed{}
	cert, err := s.renewed(csr)
	if err != nil {
		s.log.Warn("certificate not renewed", "error", err)
		answer.Refusal = refusal(err)
	} else {
		answer.Certificate = [][]byte{cert}
	}
	return &nodelink.ServerMessage{Body: &nodelink.ServerMessage_Renewed{Renewed: answer}}
}

func (s *session) renewed(csr []byte) ([]byte, error) {
	key, err := pki.RequestKey(csr)
	if err == nil && key != s.link.Peer().Key {
		err = errors.New("the request is for another key than the node's")
	}
	if err != nil {
		return nil, refuse(link.CodeUnauthorized, false, "%w", err)
	}
	cert, err := s.PKI.SignNode(csr, s.node)
	if err != nil {
		return nil, refuse(link.CodeUnauthorized, false, "%w", err)
	}
	return cert, nil
}
