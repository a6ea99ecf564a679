package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/version"

	"wherry/orchestrator/apiserver/aggregate"
	"wherry/orchestrator/apiserver/audit"
	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/apiserver/openapi"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/token"
)

// Config is what a Server needs. State is required, opened with Managers of the same kinds.
type Config struct {
	State *state.State
	// Nodes opens streams to agents for logs, port-forward and proxy; nil: no node can be reached.
	Nodes Nodes
	// Registry is mounted at /v2/; nil: not found.
	Registry http.Handler
	// Snapshots is mounted at /snapshots; nil: not found.
	Snapshots http.Handler
	// Tokens makes service-account tokens; nil: none are made.
	Tokens *token.Tokens
	// Keys rotates keys; nil: not found.
	Keys Keys
	// Bearer are the kinds of bearer tokens that are believed, and that TokenReview tells about.
	Bearer auth.Bearer
	// Authenticator finds the user; nil: client certificates and Bearer. Authorizer judges; nil: auth.Builtin.
	Authenticator auth.Authenticator
	Authorizer    auth.Authorizer
	// Aggregator passes requests on to aggregated servers; nil: to none.
	Aggregator *aggregate.Aggregator
	// Version is shown at /version; the zero value shows the Kubernetes release whose API this is.
	Version version.Info
	// Live and Ready are checks beyond the server's own, shown by name: Live at /livez, both at /readyz and /healthz.
	Live, Ready []Check
	// Metrics are shown at /metrics beside the server's own.
	Metrics []prometheus.Collector
	// Audit notes requests; nil: nobody does.
	Audit *audit.Log
	// Seats are how many requests are served at once, long-running ones left out; 0: fair.Seats.
	Seats int
	// Profiling serves /debug/pprof to who may get it.
	Profiling bool
	// Logger gets a line for each request at debug level; nil: slog.Default().
	Logger *slog.Logger
}

// Server answers the Kubernetes API over HTTP.
type Server struct {
	cfg     Config
	state   *state.State
	kinds   *resource.Registry
	codec   *codec
	openapi *openapi.Documents
	managed *Managers
	metrics *metrics
	sharing *sharing
	log     *slog.Logger
	handler http.Handler
	virtual map[string]virtual
	usages  usages

	draining atomic.Bool     // readiness fails from here on
	stopping context.Context // watches and streams end with it
	stop     context.CancelFunc
	streams  sync.WaitGroup // connections taken over from the HTTP server
}

// New prepares a server; it starts nothing.
func New(cfg Config) (*Server, error) {
	if cfg.State == nil {
		return nil, errors.New("apiserver: no state given")
	}
	if cfg.Authenticator == nil {
		cfg.Authenticator = auth.AnyOf{auth.Certificates{}, cfg.Bearer}
	}
	if cfg.Authorizer == nil {
		cfg.Authorizer = auth.Builtin{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Version.GitVersion == "" {
		cfg.Version = defaultVersion()
	}
	kinds := cfg.State.Kinds()
	codec, err := newCodec(kinds)
	if err != nil {
		return nil, err
	}
	documents, err := openapi.New(kinds)
	if err != nil {
		return nil, err
	}
	managed, ok := cfg.State.Managers().(*Managers)
	if !ok {
		return nil, errors.New("apiserver: the state was not opened with Managers")
	}
	s := &Server{
		cfg: cfg, state: cfg.State, kinds: kinds, codec: codec, openapi: documents, managed: managed,
		virtual: virtuals(), log: cfg.Logger,
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.sharing = newSharing(cfg.State, cfg.Seats)
	if cfg.Audit != nil {
		cfg.Metrics = append(cfg.Metrics, cfg.Audit)
	}
	if s.metrics, err = newMetrics(append(cfg.Metrics, s.sharing)...); err != nil {
		return nil, fmt.Errorf("apiserver: metrics: %w", err)
	}
	routes, err := s.routes()
	if err != nil {
		return nil, err
	}
	s.handler = s.chain(routes)
	return s, nil
}

// Handler is the whole API: authenticated, authorized, with everything that Run serves.
func (s *Server) Handler() http.Handler { return s.handler }

// How long a stopping server waits: for load balancers to see that it is not ready is
// their business; for running requests this long.
const drainTimeout = 10 * time.Second

// Run serves HTTPS with HTTP/2 on ln until ctx ends, then fails readiness, ends watches
// and streams, lets running requests finish and returns nil. It closes ln. config must
// ask for client certificates (tls.VerifyClientCertIfGiven) if they are to count.
// A Server runs once.
func (s *Server) Run(ctx context.Context, ln net.Listener, config *tls.Config) error {
	config = config.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	server := &http.Server{
		Handler:           s.handler,
		TLSConfig:         config,
		ReadHeaderTimeout: 20 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 250},
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(ln, "", "") }()
	select {
	case err := <-served:
		s.stop()
		s.streams.Wait()
		return fmt.Errorf("apiserver: serving: %w", err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	s.stop()
	return s.drain(server, served)
}

// drain lets running requests finish.
func (s *Server) drain(server *http.Server, served <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		s.log.Warn("requests were cut off at shutdown", "error", err)
		if err := server.Close(); err != nil {
			s.log.Debug("closing the listener", "error", err)
		}
	}
	<-served
	s.streams.Wait()
	return nil
}
