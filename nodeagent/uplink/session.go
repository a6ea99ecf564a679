package uplink

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// conversation is one session, from its welcome on.
type conversation struct {
	*Uplink
	link      link.Session
	control   link.Stream
	in        *bufio.Reader
	heartbeat time.Duration
	renewed   chan *nodelink.Renewed // answers to the one Renew under way
}

// converse serves a session until it ends. The error is why.
func (u *Uplink) converse(ctx context.Context, s link.Session) error {
	stop := context.AfterFunc(ctx, func() { _ = s.Close(link.CodeShutdown, "the agent is going away") }) // it ends either way
	defer stop()
	defer s.Close(link.CodeOK, "")
	c := &conversation{Uplink: u, link: s, renewed: make(chan *nodelink.Renewed, 1)}
	err := c.greet(ctx)
	if err == nil {
		u.log.Info("connected to the control plane", "address", s.Peer().Address)
		u.setCurrent(s)
		err = c.run(ctx)
		u.setCurrent(nil)
	}
	var no *refusedError
	if errors.As(err, &no) {
		return err
	}
	return c.cause(ctx, err)
}

// cause is why the session ended, in the words of the control plane if it had any: they come
// a little after the streams have failed.
func (c *conversation) cause(ctx context.Context, err error) error {
	var reset *link.Error
	if errors.As(err, &reset) {
		select {
		case <-c.link.Context().Done():
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
		}
	}
	if c.link.Context().Err() != nil {
		return context.Cause(c.link.Context())
	}
	return err
}

// greet says Hello and waits for the Welcome.
func (c *conversation) greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	node, err := c.config.Node().Marshal()
	if err != nil {
		return fmt.Errorf("encode the node: %w", err)
	}
	if c.control, err = c.link.Open(ctx); err != nil {
		return fmt.Errorf("open the control stream: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { c.control.Reset(link.CodeCanceled) })
	defer stop()
	hello := &nodelink.Hello{
		Version: nodelink.Version, MinVersion: nodelink.MinVersion, AgentVersion: c.config.Version,
		NodeName: c.config.NodeName, ClusterId: c.ClusterID(), Node: node,
	}
	if err := nodelink.WriteMessage(c.control, &nodelink.AgentMessage{Body: &nodelink.AgentMessage_Hello{Hello: hello}}); err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	c.in = bufio.NewReaderSize(c.control, 16<<10)
	m := &nodelink.ServerMessage{}
	if err := nodelink.ReadMessage(c.in, m, nodelink.MaxMessage); err != nil {
		return fmt.Errorf("wait for the welcome: %w", err)
	}
	return c.welcome(m)
}

func (c *conversation) welcome(m *nodelink.ServerMessage) error {
	if no := m.GetRefusal(); no != nil {
		return &refusedError{no, false}
	}
	w := m.GetWelcome()
	switch {
	case w == nil:
		return errors.New("the control plane's first message is no Welcome")
	case w.ClusterId != c.ClusterID():
		return fmt.Errorf("the control plane is of cluster %q, this node belongs to %q", w.ClusterId, c.ClusterID())
	case w.Version < nodelink.MinVersion || w.Version > nodelink.Version:
		return fmt.Errorf("the control plane chose version %d of the protocol, this agent speaks %d to %d", w.Version, nodelink.MinVersion, nodelink.Version)
	}
	c.heartbeat = time.Duration(min(max(w.HeartbeatSeconds, 1), 3600)) * time.Second
	if c.config.Welcomed != nil {
		c.config.Welcomed(w)
	}
	return nil
}

// run returns when all that it started has returned.
func (c *conversation) run(ctx context.Context) error {
	have, err := c.config.Journal.Have()
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() { c.control.Reset(link.CodeCanceled) })
	defer stop()
	group.Go(func() error { return c.read(ctx) })
	group.Go(func() error { return c.write(ctx, have) })
	group.Go(func() error { return c.acceptStreams(ctx) })
	return group.Wait()
}

// read takes what the control plane says.
func (c *conversation) read(ctx context.Context) error {
	for {
		m := &nodelink.ServerMessage{}
		if err := nodelink.ReadMessage(c.in, m, nodelink.MaxMessage); err != nil {
			return fmt.Errorf("read from the control stream: %w", err)
		}
		switch body := m.Body.(type) {
		case *nodelink.ServerMessage_Feed:
			if err := c.config.Journal.Apply(ctx, body.Feed); err != nil {
				return fmt.Errorf("keep what the control plane said: %w", err)
			}
		case *nodelink.ServerMessage_Tokens:
			if c.config.Tokens != nil {
				c.config.Tokens(body.Tokens.GetToken())
			}
		case *nodelink.ServerMessage_Ack:
			if why := body.Ack.Refused; why != "" {
				c.log.Warn("the control plane ignores a report", "cause", why)
			}
			c.reports.settle(body.Ack.Seq)
		case *nodelink.ServerMessage_Renewed:
			select {
			case c.renewed <- body.Renewed:
			default: // nobody asked
			}
		case *nodelink.ServerMessage_Refusal:
			return &refusedError{body.Refusal, false}
		}
	}
}

// maxHave is how many objects one Inventory names.
const maxHave = 2000

// write says what the node has, then reports, heartbeats and renewals as they fall due.
func (c *conversation) write(ctx context.Context, have []*nodelink.Have) error {
	w := bufio.NewWriterSize(c.control, 16<<10)
	if err := inventory(w, have); err != nil {
		return err
	}
	c.reports.restart()
	beat := time.NewTicker(c.heartbeat)
	defer beat.Stop()
	renew := time.NewTimer(c.identity.renewIn())
	defer renew.Stop()
	for seq := uint64(1); ; {
		if err := c.writeReports(w); err != nil {
			return err
		}
		var m *nodelink.AgentMessage
		select {
		case <-c.reports.wake:
			continue
		case <-beat.C:
			m = &nodelink.AgentMessage{Body: &nodelink.AgentMessage_Heartbeat{Heartbeat: &nodelink.Heartbeat{Seq: seq}}}
			seq++
		case <-renew.C:
			csr, err := c.identity.request()
			if err != nil {
				return err
			}
			renew.Reset(time.Hour) // if no answer comes
			m = &nodelink.AgentMessage{Body: &nodelink.AgentMessage_Renew{Renew: &nodelink.Renew{Csr: csr}}}
		case r := <-c.renewed:
			renew.Reset(c.renew(r))
			continue
		case <-ctx.Done():
			return nil
		}
		if err := nodelink.WriteMessage(w, m); err != nil {
			return fmt.Errorf("write to the control stream: %w", err)
		}
	}
}

func (c *conversation) writeReports(w *bufio.Writer) error {
	for r := c.reports.next(); r != nil; r = c.reports.next() {
		if err := nodelink.WriteMessage(w, &nodelink.AgentMessage{Body: &nodelink.AgentMessage_Report{Report: r}}); err != nil {
			return fmt.Errorf("write to the control stream: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write to the control stream: %w", err)
	}
	return nil
}

func inventory(w io.Writer, have []*nodelink.Have) error {
	for {
		n := min(len(have), maxHave)
		part := &nodelink.Inventory{Have: have[:n], Last: n == len(have)}
		if err := nodelink.WriteMessage(w, &nodelink.AgentMessage{Body: &nodelink.AgentMessage_Inventory{Inventory: part}}); err != nil {
			return fmt.Errorf("say what the node has: %w", err)
		}
		if part.Last {
			return nil
		}
		have = have[n:]
	}
}

// renew keeps a new certificate and says when to ask for the next one. The session goes on; the next
// one shows it.
func (c *conversation) renew(r *nodelink.Renewed) time.Duration {
	err := errors.New("the answer holds no certificate")
	if no := r.Refusal; no != nil {
		err = &refusedError{no, false}
	} else if len(r.Certificate) > 0 {
		err = c.identity.renewed(r.Certificate[0])
	}
	if err != nil {
		c.log.Warn("the node's certificate is not renewed", "cause", err)
		return time.Hour
	}
	c.log.Info("the node's certificate is renewed")
	return max(c.identity.renewIn(), c.identity.expiresIn()/2)
}
