// Package downlink is the control plane's end of the link: one session per node.
//
// A session tells its node what the node needs and nothing else: its own Node, the pods bound
// to it, the ConfigMaps, Secrets and ServiceAccounts that those name, their Namespaces, and
// all Services and EndpointSlices. It takes from the node what is the node's to say: its
// Node's status, the status of its pods, events about them.
//
//	state --watch per kind--> followers --keys--> each session's feed --Feed--> agent
//	agent --Report--> session --by object--> writers --> state, then Ack
//
// The feed is level-triggered: a change only marks a key; what is sent is what state holds
// when the feed comes to it, if it differs from what the agent has. So a slow agent is sent
// the newest state and costs no more memory than its picture has keys.
package downlink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"wherry/orchestrator/pki"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// Config is what a Downlink needs. State and PKI must be set.
type Config struct {
	State *state.State
	PKI   *pki.PKI
	// Registry serves the cluster's OCI registry to agents, one connection per stream. nil: refused.
	Registry http.Handler
	// Tokens makes the tokens of pods; nil: pods get none.
	Tokens Tokens
	Logger *slog.Logger // nil: slog.Default()

	Version       string        // of this program, for agents' logs
	Heartbeat     time.Duration // how often agents are to be heard; 0 means 10 s
	LeaseEvery    time.Duration // how often a live node's Lease is written; 0 means 5 min
	ServiceCIDR   string        // "" means 10.43.0.0/16
	PodCIDR       string        // of all nodes; "" means 10.42.0.0/16
	DNSAddress    string        // "" means 10.43.0.10
	ClusterDomain string        // "" means cluster.local
	// Joins bounds the machines that may be joining at once; 0 means 32. Others are asked to come again.
	Joins int
}

func (c Config) complete() Config {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 10 * time.Second
	}
	if c.LeaseEvery == 0 {
		c.LeaseEvery = 5 * time.Minute
	}
	if c.ServiceCIDR == "" {
		c.ServiceCIDR = "10.43.0.0/16"
	}
	if c.PodCIDR == "" {
		c.PodCIDR = "10.42.0.0/16"
	}
	if c.DNSAddress == "" {
		c.DNSAddress = "10.43.0.10"
	}
	if c.ClusterDomain == "" {
		c.ClusterDomain = "cluster.local"
	}
	if c.Joins == 0 {
		c.Joins = 32
	}
	return c
}

// Downlink keeps the sessions. See New and Run.
type Downlink struct {
	Config
	kinds    map[nodelink.Kind]*resource.Kind
	joins    chan struct{} // a slot for each join under way
	registry *registry

	mu       sync.Mutex
	sessions map[string]*session  // by node
	heard    map[string]time.Time // by node; of nodes that have no session too
}

// New returns a downlink that Run will bring to life.
func New(c Config) *Downlink {
	c = c.complete()
	return &Downlink{
		Config:   c,
		kinds:    kindsOf(c.State.Kinds()),
		joins:    make(chan struct{}, c.Joins),
		registry: newRegistry(c.Registry),
		sessions: map[string]*session{},
		heard:    map[string]time.Time{},
	}
}

// Run serves sessions from l, which it closes, until ctx ends or the listener or the state
// fails. It returns when every session has ended.
func (d *Downlink) Run(ctx context.Context, l link.Listener) error {
	group, ctx := errgroup.WithContext(ctx)
	for kind := range d.kinds {
		group.Go(func() error { return d.follow(ctx, kind) })
	}
	group.Go(func() error { return d.registry.run(ctx) })
	group.Go(func() error { return d.accept(ctx, l) })
	group.Go(func() error {
		<-ctx.Done()
		return l.Close()
	})
	return group.Wait()
}

func (d *Downlink) accept(ctx context.Context, l link.Listener) error {
	var work sync.WaitGroup
	defer work.Wait()
	for {
		s, err := l.Accept(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("downlink: %w", err)
		}
		work.Go(func() { d.serve(ctx, s) })
	}
}

func (d *Downlink) serve(ctx context.Context, s link.Session) {
	stop := context.AfterFunc(ctx, func() { _ = s.Close(link.CodeShutdown, "the control plane is going away") }) // it ends either way
	defer stop()
	if s.Protocol() == link.ProtocolJoin {
		d.join(ctx, s)
		return
	}
	d.converse(ctx, s)
}

// LastHeard is when the node was last heard by this process; false if never.
func (d *Downlink) LastHeard(node string) (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, ok := d.heard[node]
	return t, ok
}

// Connected says whether the node has a session now.
func (d *Downlink) Connected(node string) bool {
	_, err := d.session(node)
	return err == nil
}

func (d *Downlink) hear(node string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard[node] = time.Now()
}

// ErrNoSession says that the node's agent is not connected.
var ErrNoSession = errors.New("the node's agent is not connected")

func (d *Downlink) session(node string) (*session, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok := d.sessions[node]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNoSession, node)
	}
	return s, nil
}

// enter makes s its node's session once the one before it has ended, so that no late
// report of that one overwrites a newer state.
func (d *Downlink) enter(ctx context.Context, s *session) error {
	for {
		d.mu.Lock()
		old := d.sessions[s.node]
		if old == nil {
			d.sessions[s.node] = s
			d.heard[s.node] = time.Now()
			d.mu.Unlock()
			return nil
		}
		d.mu.Unlock()
		s.log.Info("a newer session of the node supersedes the present one")
		_ = old.link.Close(link.CodeSuperseded, "the node opened a newer session") // it ends either way
		select {
		case <-old.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (d *Downlink) leave(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sessions[s.node] == s {
		delete(d.sessions, s.node)
	}
	close(s.done)
}

// live are the sessions of this moment.
func (d *Downlink) live() []*session {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]*session, 0, len(d.sessions))
	for _, s := range d.sessions {
		all = append(all, s)
	}
	return all
}
