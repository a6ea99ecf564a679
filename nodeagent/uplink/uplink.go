// Package uplink is the agent's end of the link: it joins the cluster, keeps one session to the
// control plane for ever, hands what the control plane sends to the journal, and brings back
// what the node has to say.
//
//	control plane --Feed--> Journal.Apply           in order, durable before the next
//	Status, Event, Node --> reports --Report-->     the newest state of each, until acknowledged
//	control plane --Open--> Config.Open             logs, port-forward, tunnels that end here
//	Registry, Tunnel    --> streams to the control plane
//
// Without a session everything goes on: reports wait, streams fail with ErrOffline.
package uplink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// Journal keeps what the control plane has said.
type Journal interface {
	// Have lists the objects that are kept, so that only differences are sent.
	Have() ([]*nodelink.Have, error)
	// Apply makes one step of the feed durable. Calls are in order, one at a time. An error
	// ends the session; the next one begins with Have.
	Apply(ctx context.Context, f *nodelink.Feed) error
}

// Serve carries a stream that was accepted. It closes the stream.
type Serve func(ctx context.Context, s link.Stream)

// Config is what an Uplink needs. All of Dial, NodeName, Dir, Journal and Node must be set.
type Config struct {
	// Dial opens a session to the control plane. It sets nothing in the TLS configuration.
	Dial func(ctx context.Context, tc *tls.Config) (link.Session, error)
	// Token is needed until the node has joined, and when it comes back after its certificate
	// has expired; "" otherwise.
	Token    string
	NodeName string
	// Dir keeps the node's key and certificates.
	Dir     string
	Version string
	Journal Journal
	// Tokens takes service-account tokens of the node's pods over; it does not wait. nil: nobody does.
	Tokens func(all []*nodelink.AccountToken)
	// Node says what this machine is: labels, taints at its first registration, status. It is
	// called at the beginning of each session.
	Node func() *corev1.Node
	// Welcomed is told the cluster's networks at the beginning of each session. nil: nobody.
	Welcomed func(w *nodelink.Welcome)
	// Open decides about a stream that the control plane opens (log, port-forward, tunnel): it
	// returns what serves it, or an error whose text is shown to who asked. nil: all are refused.
	Open   func(ctx context.Context, o *nodelink.Open) (Serve, error)
	Logger *slog.Logger // nil: slog.Default()
}

// Uplink is the agent's end. See New and Run.
type Uplink struct {
	config   Config
	log      *slog.Logger
	identity *identity
	reports  *reports
	registry *http.Transport

	mu      sync.Mutex
	session link.Session // nil: none that has been welcomed
}

// New returns an uplink that Run will bring to life. Reports are taken from now on. Errors: the
// directory belongs to another node or cluster, the token is malformed.
func New(c Config) (*Uplink, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	id, err := openIdentity(c.Dir, c.NodeName, c.Token)
	if err != nil {
		return nil, fmt.Errorf("uplink: %w", err)
	}
	u := &Uplink{config: c, log: c.Logger, identity: id, reports: newReports()}
	u.registry = u.newRegistry()
	return u, nil
}

// ClusterID is the cluster that the node has joined; "" before that.
func (u *Uplink) ClusterID() string { return u.identity.clusterID() }

// Run joins if need be and keeps a session until ctx ends. Errors: the control plane refused
// to let the machine join in a way that trying again cannot change; the text says what
// to do. Every other refusal or failure is logged and tried again.
func (u *Uplink) Run(ctx context.Context) error {
	defer u.registry.CloseIdleConnections()
	var b backoff
	for {
		began := time.Now()
		err := u.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var no *refusedError
		if errors.As(err, &no) && no.joining && no.Permanent {
			return fmt.Errorf("uplink: %w", err)
		}
		if time.Since(began) > time.Minute {
			b = backoff{}
		}
		wait := b.next(errors.As(err, &no) && no.Permanent)
		u.log.Warn("no session with the control plane", "cause", err, "again_in", wait.Round(time.Millisecond))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// once joins if need be and serves one session.
func (u *Uplink) once(ctx context.Context) error {
	if u.identity.mustJoin() {
		if err := u.join(ctx); err != nil {
			return fmt.Errorf("join: %w", err)
		}
		u.log.Info("joined", "node", u.config.NodeName, "cluster", u.identity.clusterID())
	}
	tc, err := u.identity.sessionTLS()
	if err != nil {
		return err
	}
	s, err := u.dial(ctx, tc)
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fmt.Errorf("the server is not of cluster %s, which this node has joined: %w", u.ClusterID(), err)
	}
	if err != nil {
		return err
	}
	return u.converse(ctx, s)
}

func (u *Uplink) dial(ctx context.Context, tc *tls.Config) (link.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return u.config.Dial(ctx, tc)
}

// backoff grows from half a second to half a minute, with jitter, so that a fleet does not
// return in step.
type backoff struct{ tries int }

// next is how long to wait now; patient waits for somebody to change something.
func (b *backoff) next(patient bool) time.Duration {
	const first, most = 500 * time.Millisecond, 30 * time.Second
	d := min(most, first<<min(b.tries, 10))
	b.tries++
	if patient {
		d = most
	}
	return d/2 + rand.N(d)
}

// refusedError is the control plane's clear no.
type refusedError struct {
	*nodelink.Refusal
	joining bool
}

func (r *refusedError) Error() string { return "the control plane refuses: " + r.Message }

// ErrOffline says that there is no session with the control plane now.
var ErrOffline = errors.New("the control plane is not reachable now")

func (u *Uplink) current() (link.Session, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.session == nil {
		return nil, ErrOffline
	}
	return u.session, nil
}

func (u *Uplink) setCurrent(s link.Session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.session = s
}

// Connected says whether there is a session now.
func (u *Uplink) Connected() bool {
	_, err := u.current()
	return err == nil
}
