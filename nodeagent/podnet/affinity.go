package podnet

import (
	"net/netip"
	"sync"
	"time"

	"wherry/nodeagent/services"
)

// maxClients bounds what affinity remembers; beyond it, new clients are free.
const maxClients = 1 << 16

// affinity keeps clients of Services with sessionAffinity: ClientIP on their endpoint.
type affinity struct {
	mu   sync.Mutex
	kept map[client]keptEndpoint
}

type client struct {
	namespace, service, port string
	ip                       netip.Addr
}

type keptEndpoint struct {
	addr  netip.AddrPort
	until time.Time
}

// pick returns the client's endpoint while it exists, has not failed now and has been used lately, else
// one at random.
func (a *affinity) pick(r *services.Route, ip netip.Addr, tried map[netip.AddrPort]bool) (services.Endpoint, bool) {
	if r.Affinity > 0 {
		a.mu.Lock()
		k := a.kept[client{r.Namespace, r.Service, r.Port, ip}]
		a.mu.Unlock()
		for _, e := range r.Endpoints {
			if e.Addr == k.addr && !tried[e.Addr] && time.Now().Before(k.until) {
				return e, true
			}
		}
	}
	return r.Pick(tried)
}

func (a *affinity) keep(r *services.Route, ip netip.Addr, e services.Endpoint) {
	if r.Affinity == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if len(a.kept) >= maxClients {
		a.forget(now)
	}
	if len(a.kept) < maxClients {
		a.kept[client{r.Namespace, r.Service, r.Port, ip}] = keptEndpoint{e.Addr, now.Add(r.Affinity)}
	}
}

// forget drops what has expired; mu is held.
func (a *affinity) forget(now time.Time) {
	for c, k := range a.kept {
		if now.After(k.until) {
			delete(a.kept, c)
		}
	}
}
