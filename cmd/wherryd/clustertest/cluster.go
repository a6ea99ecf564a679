// Package clustertest runs a whole cluster in a testing/synctest bubble: a control plane on a real store, and agents, over
// real QUIC on a simulated network and HTTPS in memory. Time is virtual: "pull the cable, wait ten minutes" takes less
// than a second.
//
//	cluster.go  Cluster: the control plane, and a client of it
//	node.go     Node: a machine with an agent
//	network.go  TCP between the machines
//	images.go   images that need no registry
//
// A goroutine that is left over when a story ends panics: every story looks for leaks.
package clustertest

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"wherry/nodeagent/podnet"
	"wherry/orchestrator"
	"wherry/proto/link/linktest"
)

// Machines of every cluster; nodes have the addresses behind them.
const (
	serverIP = "10.0.0.1"
	clientIP = "10.0.0.2"
	nodesIP  = "10.0.0.%d"

	firstNode = 11
	port      = "6443"
)

// Cluster is a control plane with nodes. Its methods are for the goroutine of the test; they end it with Fatal.
type Cluster struct {
	// Client is an administrator's, unmodified client-go. It lives over restarts of the server.
	Client kubernetes.Interface
	// Net carries QUIC. Cables are pulled with Cut.
	Net *linktest.Network
	// APIOnly is for servers that are started from now on.
	APIOnly bool

	t         testing.TB
	dir       string
	tcp       *podnet.Net
	transport *http.Transport
	images    *images
	log       *slog.Logger
	plane     *orchestrator.Orchestrator
	server    *process // nil while it is down
	nodes     []*Node
}

// Run runs a story in a bubble, with a control plane that is ready. Everything is stopped when the story returns.
func Run(t *testing.T, story func(t *testing.T, c *Cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &Cluster{
			t: t, dir: t.TempDir(), log: logger(t), tcp: newTCP(),
			Net:    &linktest.Network{Latency: 5 * time.Millisecond},
			images: &images{dir: t.TempDir(), modules: map[string]string{}},
		}
		defer c.stop()
		c.StartServer()
		c.connect()
		story(t, c)
	})
}

func logger(t testing.TB) *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

// stop ends everything, whatever the story has left running.
func (c *Cluster) stop() {
	for _, n := range c.nodes {
		n.Stop()
		n.Machine.Halt()
	}
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
	c.StopServer()
	c.tcp.Close()
}

// StartServer starts the control plane on its data directory, and returns when it is ready.
func (c *Cluster) StartServer() {
	c.t.Helper()
	host := c.machine(serverIP)
	address := net.JoinHostPort(serverIP, port)
	listener, err := host.Listen(context.Background(), "tcp", address)
	c.check(err)
	c.plane, err = orchestrator.New(context.Background(), orchestrator.Config{
		DataDir: c.dir, Listener: listener, PacketConn: c.Net.ConnAt(address), Version: "test", Logger: c.log, APIOnly: c.APIOnly,
	})
	c.check(err)
	ready := make(chan struct{})
	c.server = start(func(ctx context.Context) error { return c.plane.Run(ctx, func() { close(ready) }) })
	select {
	case <-ready:
	case err := <-c.server.ended:
		c.server = nil
		c.t.Fatalf("the control plane has ended: %v", err)
	}
}

// StopServer stops the control plane, if it runs.
func (c *Cluster) StopServer() {
	c.t.Helper()
	if c.server == nil {
		return
	}
	if err := c.server.stop(); err != nil {
		c.t.Errorf("the control plane: %v", err)
	}
	c.server = nil
}

// CrashServer stops the control plane without that any node hears of it.
func (c *Cluster) CrashServer() {
	c.t.Helper()
	c.Net.Cut(serverIP, true)
	c.StopServer()
	c.Net.Cut(serverIP, false)
}

// connect makes the client.
func (c *Cluster) connect() {
	c.t.Helper()
	c.transport, c.Client = c.client(c.adminConfig())
}

func (c *Cluster) adminConfig() *rest.Config {
	c.t.Helper()
	kubeconfig, err := c.plane.AdminKubeconfig("https://" + net.JoinHostPort(serverIP, port))
	c.check(err)
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	c.check(err)
	config.QPS = -1 // no limit
	return config
}

func (c *Cluster) client(config *rest.Config) (*http.Transport, kubernetes.Interface) {
	c.t.Helper()
	tc, err := rest.TLSConfigFor(config)
	c.check(err)
	transport := &http.Transport{DialContext: c.machine(clientIP).Dial, TLSClientConfig: tc, ForceAttemptHTTP2: true}
	client, err := kubernetes.NewForConfigAndClient(config, &http.Client{Transport: transport})
	c.check(err)
	return transport, client
}

// As lets a bearer token ask, over a connection of its own.
func (c *Cluster) As(token string, ask func(client kubernetes.Interface)) {
	c.t.Helper()
	config := c.adminConfig()
	config.CertData, config.KeyData = nil, nil
	transport, _ := c.client(config)
	defer transport.CloseIdleConnections()
	client, err := kubernetes.NewForConfigAndClient(config, &http.Client{Transport: bearer{transport, token}})
	c.check(err)
	ask(client)
}

// bearer adds a token to requests.
type bearer struct {
	http.RoundTripper
	token string
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.RoundTripper.RoundTrip(r)
}

// Push makes a Wasm module known to all nodes under the name of an image. Every other image is one of the fake runtime.
func (c *Cluster) Push(ref string, module []byte) {
	c.t.Helper()
	c.check(c.images.push(ref, module))
}

// Dial connects to a machine of the cluster from outside: to a node port.
func (c *Cluster) Dial(address string) (net.Conn, error) {
	return c.machine(clientIP).Dial(context.Background(), "tcp", address)
}

// Await returns when the condition holds. It fails the test when that takes longer than patience, in virtual time.
func (c *Cluster) Await(what string, patience time.Duration, condition func() bool) {
	c.t.Helper()
	const pause = 50 * time.Millisecond
	for begun := time.Now(); !condition(); time.Sleep(pause) {
		if time.Since(begun) > patience {
			c.t.Fatalf("after %v: not yet: %s", patience, what)
		}
	}
}

func (c *Cluster) check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// process is a Run in a goroutine of its own.
type process struct {
	cancel context.CancelFunc
	ended  chan error
}

func start(run func(context.Context) error) *process {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{cancel: cancel, ended: make(chan error, 1)}
	go func() { p.ended <- run(ctx) }()
	return p
}

// stop returns when Run has returned.
func (p *process) stop() error {
	p.cancel()
	return <-p.ended
}
