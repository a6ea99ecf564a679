// Package proxy carries traffic from the machine's own ports to pods: node ports of
// Services and host ports of pods, TCP and UDP, in user space. Cluster IPs need no
// listener: guests reach them through podnet.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"wherry/nodeagent/podnet"
	"wherry/nodeagent/services"
)

// retry is how long a port that could not be opened waits for the next attempt.
const retry = 10 * time.Second

// Config is what a Proxy needs.
type Config struct {
	Net  *podnet.Net
	Host podnet.Host
	// Bind is the address that node ports are opened on; invalid means all.
	Bind   netip.Addr
	Logger *slog.Logger
	// Failed is told of a port that cannot be opened, once per reason; nil: nobody.
	Failed func(f services.HostFrontend, r *services.Route, err error)
}

// Proxy opens and closes ports so that they match the newest Table.
type Proxy struct {
	config Config
	table  chan *services.Table // one slot: the newest
	open   map[services.HostFrontend]*front
	failed map[services.HostFrontend]string
	fronts sync.WaitGroup
}

// New returns a proxy that opens nothing before Run.
func New(c Config) *Proxy {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &Proxy{config: c, table: make(chan *services.Table, 1),
		open: map[services.HostFrontend]*front{}, failed: map[services.HostFrontend]string{}}
}

// Set gives the whole new table. It never waits; one caller at a time.
func (p *Proxy) Set(t *services.Table) {
	select {
	case <-p.table:
	default:
	}
	p.table <- t
}

// Run follows the tables until ctx ends, then closes every port and connection and
// waits for them.
func (p *Proxy) Run(ctx context.Context) error {
	defer p.fronts.Wait()
	defer p.closeAll()
	var table *services.Table
	again := time.NewTimer(retry)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case table = <-p.table:
		case <-again.C:
		}
		if table != nil {
			p.reconcile(ctx, table.Host())
		}
		again.Stop()
		if len(p.failed) > 0 {
			again.Reset(retry)
		}
	}
}

func (p *Proxy) reconcile(ctx context.Context, want map[services.HostFrontend]*services.Route) {
	for f, front := range p.open {
		if want[f] == nil {
			front.close()
			delete(p.open, f)
		}
	}
	for f := range p.failed {
		if want[f] == nil {
			delete(p.failed, f)
		}
	}
	for f, route := range want {
		if have := p.open[f]; have != nil {
			have.route.Store(route)
		} else {
			p.openFront(ctx, f, route)
		}
	}
}

func (p *Proxy) openFront(ctx context.Context, f services.HostFrontend, route *services.Route) {
	front, err := p.listen(ctx, f, route)
	if err != nil {
		p.report(f, route, err)
		return
	}
	delete(p.failed, f)
	p.open[f] = front
	p.fronts.Go(front.serve)
}

func (p *Proxy) report(f services.HostFrontend, route *services.Route, err error) {
	if p.failed[f] == err.Error() {
		return
	}
	p.failed[f] = err.Error()
	p.config.Logger.Warn("port cannot be opened, trying again", "network", f.Network, "port", f.Port,
		"service", route.Namespace+"/"+route.Service, "err", err)
	if p.config.Failed != nil {
		p.config.Failed(f, route, err)
	}
}

func (p *Proxy) closeAll() {
	for _, f := range p.open {
		f.close()
	}
}

// front is one open port. Its connections end with it.
type front struct {
	proxy  *Proxy
	route  atomic.Pointer[services.Route]
	ctx    context.Context
	cancel context.CancelFunc
	close  func()
	serve  func()
	conns  sync.WaitGroup
}

func (p *Proxy) listen(ctx context.Context, f services.HostFrontend, route *services.Route) (*front, error) {
	bind := f.Addr
	if !bind.IsValid() {
		bind = p.config.Bind
	}
	host := ""
	if bind.IsValid() {
		host = bind.String()
	}
	address := net.JoinHostPort(host, fmt.Sprint(f.Port))
	front := &front{proxy: p}
	front.ctx, front.cancel = context.WithCancel(ctx)
	front.route.Store(route)
	var err error
	if f.Network == "udp" {
		err = front.listenPackets(ctx, address)
	} else {
		err = front.listenStreams(ctx, address)
	}
	if err != nil {
		front.cancel()
		return nil, fmt.Errorf("opening %s port %d: %w", f.Network, f.Port, err)
	}
	return front, nil
}

func (f *front) listenStreams(ctx context.Context, address string) error {
	l, err := f.proxy.config.Host.Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	f.close = func() { f.cancel(); f.log("closing a port", l.Close()) }
	f.serve = func() { f.serveStreams(l) }
	return nil
}

func (f *front) serveStreams(l net.Listener) {
	defer f.conns.Wait()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) || f.ctx.Err() != nil {
			return
		}
		if err != nil { // out of descriptors, or the client has gone: the port stays open
			f.log("accepting a connection", err)
			f.pause()
			continue
		}
		f.conns.Go(func() { f.log("carrying a connection", f.carry(c)) })
	}
}

// pause gives a machine out of descriptors the time to get some back.
func (f *front) pause() {
	select {
	case <-f.ctx.Done():
	case <-time.After(10 * time.Millisecond):
	}
}

func (f *front) carry(c net.Conn) error {
	backend, err := f.dial("tcp", c.RemoteAddr())
	if err != nil {
		if tcp, ok := c.(*net.TCPConn); ok {
			err = errors.Join(err, tcp.SetLinger(0)) // the client sees a reset, not an empty answer
		}
		return errors.Join(err, c.Close())
	}
	return podnet.Splice(f.ctx, c, backend)
}

func (f *front) dial(network string, client net.Addr) (net.Conn, error) {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(f.ctx, patience)
	defer cancel()
	source, err := netip.ParseAddrPort(client.String())
	if err != nil {
		source = netip.AddrPort{} // an in-memory client has no address
	}
	return f.proxy.config.Net.DialRoute(ctx, source, network, f.route.Load())
}

func (f *front) log(doing string, err error) {
	if err == nil || f.ctx.Err() != nil {
		return
	}
	r := f.route.Load()
	f.proxy.config.Logger.Debug(doing, "service", r.Namespace+"/"+r.Service, "err", err)
}
