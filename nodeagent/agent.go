package nodeagent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"wherry/nodeagent/dns"
	"wherry/nodeagent/image"
	"wherry/nodeagent/journal"
	"wherry/nodeagent/kubelet"
	"wherry/nodeagent/pod"
	"wherry/nodeagent/podnet"
	"wherry/nodeagent/proxy"
	"wherry/nodeagent/runtime"
	wasmdriver "wherry/nodeagent/runtime/wasm"
	"wherry/nodeagent/runtime/wasmprocess"
	"wherry/nodeagent/stream"
	"wherry/nodeagent/uplink"
	"wherry/nodeagent/usage"
	"wherry/nodeagent/volume"
	"wherry/proto/link"
	"wherry/proto/nodelink"
	"wherry/wasm"
)

// Config is what an Agent needs. NodeName, DataDir and Dial must be set.
type Config struct {
	NodeName string // a DNS name, the node's own
	DataDir  string // everything is kept below it; one agent at a time
	Version  string // of this program
	// Dial opens a session to the control plane. It sets nothing in the TLS configuration.
	Dial func(ctx context.Context, tc *tls.Config) (link.Session, error)
	// Welcomed is called at the beginning of each session with the control plane; nil: nobody.
	Welcomed func()
	// Token is needed until the node has joined; see uplink.Config.
	Token string

	// Address is the node's, for pods of the host network and status.hostIP; invalid: the one that the machine uses
	// towards others.
	Address netip.Addr
	// Bind is the address that node ports are opened on; invalid: all.
	Bind netip.Addr
	// Host is the machine's network, Upstream its resolver, Registries the way to registries other than the cluster's own;
	// nil: the operating system's.
	Host       podnet.Host
	Upstream   dns.Upstream
	Registries http.RoundTripper

	// Labels and Taints that the node registers with, beside its own labels.
	Labels map[string]string
	Taints []corev1.Taint
	// Capacity replaces what the machine has. MaxPods: 0 means 110.
	Capacity corev1.ResourceList
	MaxPods  int
	// LowDisk is the share of the data directory's file system below which the node says that it is short of disk: as
	// a kubelet's nodefs.available. 0 means 0.1; less: never.
	LowDisk float64
	Logs    pod.LogLimits

	// Runtimes are the drivers; nil: Wasm guests in this process. The agent closes them. Images makes the images of
	// pods; nil: pulled from registries.
	Runtimes []runtime.Runtime
	Images   pod.Images
	// Processes offers the class wasm-process. The program must begin with wasmprocess.Main.
	Processes bool
	Log       *slog.Logger // nil: slog.Default()
}

func (c Config) complete() (Config, error) {
	if problems := validation.IsDNS1123Subdomain(c.NodeName); problems != nil {
		return c, fmt.Errorf("node name %q: %s", c.NodeName, problems[0])
	}
	if c.DataDir == "" || c.Dial == nil {
		return c, errors.New("a data directory and a way to the control plane are needed")
	}
	if !c.Address.IsValid() {
		c.Address = outbound()
	}
	if c.Host == nil {
		c.Host = machineNetwork{}
	}
	if c.Upstream == nil {
		c.Upstream = net.DefaultResolver
	}
	if c.LowDisk == 0 {
		c.LowDisk = 0.1
	}
	if c.MaxPods == 0 {
		c.MaxPods = 110
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c, nil
}

// Agent runs the pods of one machine.
type Agent struct {
	c         Config
	log       *slog.Logger
	world     *world
	journal   *journal.Journal
	uplink    *uplink.Uplink
	net       *podnet.Net
	names     *dns.Resolver
	proxy     *proxy.Proxy
	workers   *pod.Workers
	runtimes  []runtime.Runtime
	node      *nodeStatus
	rerouting chan struct{}   // holds a token when routes are to be computed anew
	dnsKnown  chan netip.Addr // holds the address of DNS once it is known
	dnsOnce   sync.Once
	closers   []func() error // in the order in which things were opened
}

// New opens everything and starts nothing. What it has opened is closed by Run, which must be called, or by itself if
// it fails. Errors: journal.ErrLocked (another agent uses the data directory), those of uplink.New.
func New(c Config) (*Agent, error) {
	c, err := c.complete()
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	a := &Agent{
		c: c, log: c.Log, world: newWorld(),
		rerouting: make(chan struct{}, 1), dnsKnown: make(chan netip.Addr, 1),
	}
	if err := a.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("agent: %w", err), a.close())
	}
	a.setRange()
	a.restore()
	a.startDNS()
	a.reroute()
	return a, nil
}

func (a *Agent) open() (err error) {
	c := &a.c
	if a.journal, err = journal.Open(filepath.Join(c.DataDir, "journal.db"), a.log); err != nil {
		return err
	}
	a.closers = append(a.closers, a.journal.Close)
	a.names = dns.New(c.Upstream)
	a.net = podnet.New(podnet.Config{Host: c.Host, Tunnel: a.tunnel, Resolve: a.names.Resolve, Logger: a.log})
	a.closers = append(a.closers, func() error { a.net.Close(); return nil })
	a.proxy = proxy.New(proxy.Config{Net: a.net, Host: c.Host, Bind: c.Bind, Logger: a.log, Failed: a.portFailed})
	engine, err := a.openRuntimes()
	if err != nil {
		return err
	}
	a.node = &nodeStatus{c: c, engine: engine, measure: func() measure { return measureMachine(c.DataDir) }}
	return a.openPods()
}

// openPods opens the uplink, and the workers that report over it.
func (a *Agent) openPods() (err error) {
	c := &a.c
	network := network{Net: a.net, host: c.Host, node: c.Address}
	a.uplink, err = uplink.New(uplink.Config{
		Dial: c.Dial, Token: c.Token, NodeName: c.NodeName, Dir: filepath.Join(c.DataDir, "node"), Version: c.Version,
		Journal: feed{a}, Tokens: a.tokens, Node: a.node.node, Welcomed: a.welcomed, Open: a.serve(network), Logger: a.log,
	})
	if err != nil {
		return err
	}
	if c.Images == nil {
		dir := filepath.Join(c.DataDir, "images")
		c.Images, err = image.New(image.Config{Dir: dir, ClusterRegistry: a.uplink.Registry(), Transport: c.Registries, Logger: a.log})
		if err != nil {
			return err
		}
	}
	pods, capacity := filepath.Join(c.DataDir, "pods"), a.node.capacity(a.node.measure())
	a.workers = pod.New(pod.Config{
		Node: c.NodeName, Address: c.Address.String(), Capacity: capacity, Domain: a.domain(),
		Folders: pod.Folders(pods), Limits: c.Logs, Log: a.log,
		Images: c.Images, Objects: a.world, Volumes: volumes{volume.New(pods, capacity)}, Network: network,
		Reports: reports{a}, Runtimes: a.runtimes,
	})
	return nil
}

// openRuntimes opens the drivers and returns the name of the Wasm engine.
func (a *Agent) openRuntimes() (engine string, err error) {
	if a.runtimes = a.c.Runtimes; a.runtimes != nil {
		a.closers = append(a.closers, a.closeRuntimes)
		return "none", nil
	}
	cache := filepath.Join(a.c.DataDir, "wasm")
	host, err := a.openWasm("wasm", wasm.Config{CacheDir: cache})
	if err != nil {
		return "", err
	}
	a.runtimes = append(a.runtimes, wasmdriver.New(wasmdriver.Config{
		ClassName: wasmdriver.HTTPName, HTTP: true, Host: host, Network: a.guestNetwork().guest, Logger: a.log,
	}))
	// For those who refuse machine code that is made at run time.
	if _, err := a.openWasm("wasm-interpreter", wasm.Config{Interpreter: true}); err != nil {
		return "", err
	}
	if a.c.Processes {
		processes, err := wasmprocess.New(wasmprocess.Config{
			Dir: filepath.Join(a.c.DataDir, wasmprocess.Name), Host: host, CacheDir: cache, Network: a.guestNetwork().guest, Logger: a.log,
		})
		if err != nil {
			return "", err
		}
		a.runtimes = append(a.runtimes, processes)
	}
	a.closers = append(a.closers, a.closeRuntimes)
	return host.Engine(), nil
}

// openWasm adds a driver for guests in this process, and returns their host.
func (a *Agent) openWasm(class string, c wasm.Config) (*wasm.Host, error) {
	c.Logger = a.log
	host, err := wasm.New(c)
	if err != nil {
		return nil, fmt.Errorf("open the Wasm runtime: %w", err)
	}
	a.closers = append(a.closers, host.Close)
	a.runtimes = append(a.runtimes, wasmdriver.New(wasmdriver.Config{
		ClassName: class, Host: host, Network: a.guestNetwork().guest, Logger: a.log,
	}))
	return host, nil
}

func (a *Agent) guestNetwork() network {
	return network{Net: a.net, host: a.c.Host, node: a.c.Address}
}

func (a *Agent) closeRuntimes() error {
	var errs []error
	for _, d := range a.runtimes {
		errs = append(errs, d.Close())
	}
	return errors.Join(errs...)
}

// close closes what was opened, last one first.
func (a *Agent) close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i]())
	}
	return errors.Join(errs...)
}

// Run runs the agent until the context ends, or it cannot go on. Guests in this process end with it; containers of other
// drivers go on and are found again.
func (a *Agent) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.journal.Run(ctx) })
	group.Go(func() error { return a.routes(ctx) })
	group.Go(func() error { return a.proxy.Run(ctx) })
	group.Go(func() error { return a.workers.Run(ctx) })
	group.Go(func() error { return a.uplink.Run(ctx) })
	group.Go(func() error { return a.serveDNS(ctx) })
	group.Go(func() error { return a.watchMachine(ctx) })
	return errors.Join(group.Wait(), a.close())
}

// look is how often the agent looks at the machine.
const look = 10 * time.Second

// watchMachine says what this machine is whenever that changes.
func (a *Agent) watchMachine(ctx context.Context) error {
	for {
		timer := time.NewTimer(look)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		if n := a.node.changed(); n != nil {
			a.uplink.NodeStatus(n)
		}
	}
}

// startDNS notes the address of DNS, the first time that it is known.
func (a *Agent) startDNS() {
	ip, err := netip.ParseAddr(a.journal.Welcome().GetDnsAddress())
	if err != nil {
		return // the control plane was never reached
	}
	a.dnsOnce.Do(func() { a.dnsKnown <- ip })
}

// serveDNS answers guests that bring a resolver of their own.
func (a *Agent) serveDNS(ctx context.Context) error {
	var ip netip.Addr
	select {
	case <-ctx.Done():
		return nil
	case ip = <-a.dnsKnown:
	}
	place, err := a.net.AttachAt("dns", ip)
	if err != nil {
		return fmt.Errorf("agent: DNS: %w", err)
	}
	at := netip.AddrPortFrom(ip, 53)
	packets, err := place.ListenPacket(ctx, "udp", at)
	if err != nil {
		return fmt.Errorf("agent: DNS: %w", err)
	}
	streams, err := place.Listen(ctx, "tcp", at)
	if err != nil {
		return errors.Join(fmt.Errorf("agent: DNS: %w", err), packets.Close())
	}
	return a.names.Serve(ctx, packets, streams)
}

// tunnel reaches a pod of another node.
func (a *Agent) tunnel(ctx context.Context, network string, source, target netip.AddrPort) (net.Conn, error) {
	t := &nodelink.Tunnel{Network: network, Address: target.Addr().String(), Port: uint32(target.Port())}
	if source.Addr().IsValid() && a.isPod(source.Addr()) {
		t.Source = source.Addr().String()
	}
	s, err := a.uplink.Tunnel(ctx, t)
	if err != nil {
		return nil, err
	}
	return podnet.StreamConn(s, network, source, target), nil
}

// serve answers what the control plane opens.
func (a *Agent) serve(n network) func(context.Context, *nodelink.Open) (uplink.Serve, error) {
	meter := &usage.Meter{Runtimes: a.runtimes, Machine: machineUsage, Log: a.log}
	k := kubelet.New(kubelet.Config{Node: a.c.NodeName, Usage: meter.Now, Pods: func() []*corev1.Pod { return a.workers.Pods() }, Requests: a.requests})
	s := stream.New(stream.Config{
		Pod:        func(uid string) (*corev1.Pod, *corev1.PodStatus) { return a.workers.Pod(uid) },
		LogPath:    func(id runtime.ID) string { return a.workers.Log(id) },
		Ended:      func(ctx context.Context, id runtime.ID) { a.workers.Await(ctx, id) },
		Execer:     a.execer,
		DialPod:    n.dialPod,
		DialTunnel: a.net.DialFrom,
		Kubelet:    k,
		Usage:      k.NodeUsage,
		Log:        a.log,
	})
	return func(ctx context.Context, o *nodelink.Open) (uplink.Serve, error) {
		serve, err := s.Open(ctx, o)
		return uplink.Serve(serve), err
	}
}

// requests are those that containers have answered.
func (a *Agent) requests() []runtime.Requests {
	var all []runtime.Requests
	for _, d := range a.runtimes {
		if c, ok := d.(runtime.RequestCounter); ok {
			all = append(all, c.Requests()...)
		}
	}
	return all
}

// execer finds the driver that runs a container.
func (a *Agent) execer(ctx context.Context, id runtime.ID) (runtime.Execer, error) {
	for _, d := range a.runtimes {
		all, err := d.Observe(ctx)
		if err != nil {
			return nil, fmt.Errorf("ask the %s runtime: %w", d.Name(), err)
		}
		if !slices.ContainsFunc(all, func(s runtime.Status) bool { return s.ID == id && s.State == runtime.Running }) {
			continue
		}
		if execer, ok := d.(runtime.Execer); ok {
			return execer, nil
		}
		return nil, fmt.Errorf("the %s runtime takes no exec and attach", d.Name())
	}
	return nil, fmt.Errorf("container %q does not run", id.Container)
}
