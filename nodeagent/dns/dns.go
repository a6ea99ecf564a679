// Package dns answers names for pods: those of the cluster from the routes, all others as
// the machine does. Resolver serves guests that ask through a host call; Server speaks
// DNS over UDP and TCP to those that bring a resolver of their own.
package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"

	"wherry/nodeagent/services"
)

// Upstream looks up what is not of the cluster. *net.Resolver is one.
type Upstream interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// Resolver answers names. Its zero Table knows no cluster.
type Resolver struct {
	upstream Upstream
	table    atomic.Pointer[services.Table]
}

// New returns a resolver that asks upstream for what is not of the cluster.
func New(upstream Upstream) *Resolver {
	r := &Resolver{upstream: upstream}
	r.table.Store(services.Build(services.Input{}))
	return r
}

// SetTable gives the whole new table of names.
func (r *Resolver) SetTable(t *services.Table) { r.table.Store(t) }

// ndots is how many dots make a name be tried as it is first, as in a pod's resolv.conf.
const ndots = 5

// maxChase bounds how many aliases in a row are followed.
const maxChase = 8

// Resolve looks host up for a pod of the namespace, with the search list that Kubernetes
// gives to a pod with dnsPolicy ClusterFirst. Errors are *net.DNSError.
func (r *Resolver) Resolve(ctx context.Context, namespace, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	if len(host) > 255 {
		return nil, notFound(host)
	}
	for _, name := range r.candidates(namespace, host) {
		if addrs, ok, err := r.cluster(ctx, name, 0); ok {
			return addrs, err
		}
	}
	if r.isCluster(strings.TrimSuffix(host, ".")) {
		return nil, notFound(host)
	}
	return r.outside(ctx, host)
}

// candidates are the names that the search list makes of host, in order.
func (r *Resolver) candidates(namespace, host string) []string {
	bare := strings.TrimSuffix(host, ".")
	if bare != host {
		return []string{bare}
	}
	domain := r.table.Load().Domain()
	list := []string{bare + "." + namespace + ".svc." + domain, bare + ".svc." + domain, bare + "." + domain}
	if strings.Count(bare, ".") >= ndots {
		return append([]string{bare}, list...)
	}
	return append(list, bare)
}

// cluster answers a fully qualified name from the table; false if it is not there.
func (r *Resolver) cluster(ctx context.Context, name string, depth int) ([]netip.Addr, bool, error) {
	n, ok := r.table.Load().Lookup(name)
	if !ok || len(n.Addrs) == 0 && n.CNAME == "" {
		return nil, false, nil
	}
	if n.CNAME == "" {
		return n.Addrs, true, nil
	}
	if depth == maxChase {
		return nil, true, notFound(name)
	}
	if addrs, ok, err := r.cluster(ctx, n.CNAME, depth+1); ok {
		return addrs, true, err
	}
	addrs, err := r.outside(ctx, n.CNAME)
	return addrs, true, err
}

func (r *Resolver) outside(ctx context.Context, host string) ([]netip.Addr, error) {
	addrs, err := r.upstream.LookupNetIP(ctx, "ip", host)
	var dns *net.DNSError
	if err != nil && !errors.As(err, &dns) {
		err = &net.DNSError{Err: err.Error(), Name: host, IsTemporary: true}
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, err
}

// isCluster says whether name lies in the cluster domain, where nobody else is asked.
func (r *Resolver) isCluster(name string) bool {
	domain := r.table.Load().Domain()
	name = strings.ToLower(name)
	return domain != "" && (name == domain || strings.HasSuffix(name, "."+domain))
}

func notFound(host string) error {
	return &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}
