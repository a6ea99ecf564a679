// Package aggregate passes requests on to aggregated servers: those that answer the group and version of an APIService
// with a Service (https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/).
//
//	client ── TLS ──► apiserver: authenticated, authorized
//	                     │  TLS, client certificate front-proxy-client, name SERVICE.NAMESPACE.svc in the server's
//	                     │  X-Remote-User: alice   X-Remote-Group: ...   X-Remote-Uid, X-Remote-Extra-*
//	                     ▼
//	                  a ready endpoint of the Service
package aggregate

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"wherry/orchestrator/apiserver/discovery"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store"
)

// Config is what an Aggregator needs.
type Config struct {
	State *state.State
	// Dial connects to a port of a Service.
	Dial func(ctx context.Context, namespace, name string, port int32) (net.Conn, error)
	// Certificate is the present one of the API server as a client.
	Certificate func() (*tls.Certificate, error)
	Logger      *slog.Logger // nil: slog.Default()
}

// Aggregator knows the aggregated servers. All methods may be called concurrently.
type Aggregator struct {
	Config
	kind *resource.Kind

	now atomic.Pointer[Servers]
	mu  sync.Mutex // held while Servers are made
	// learned is what servers told last, by name of the APIService; lessons counts its changes.
	learned map[string]*lesson
	lessons atomic.Uint64
}

// New prepares an Aggregator; it starts nothing.
func New(c Config) *Aggregator {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	kind, _ := c.State.Kinds().For(&apiregistrationv1.APIService{})
	return &Aggregator{Config: c, kind: kind, learned: map[string]*lesson{}}
}

// Servers are the aggregated servers of one moment. They do not change.
type Servers struct {
	All []*Server // the highest priority first
	// Generation is different for other Servers.
	Generation uint64

	by      map[schema.GroupVersion]*Server
	changed store.Revision
	lessons uint64
}

// Of is the server of a group and version; nil: there is none.
func (s *Servers) Of(gv schema.GroupVersion) *Server { return s.by[gv] }

// Server answers one group and version in our place.
type Server struct {
	schema.GroupVersion
	object *apiregistrationv1.APIService
	way    *way
	told   lesson
}

// Available says that its APIService is.
func (s *Server) Available() bool {
	return resource.AvailableCondition(s.object).Status == apiregistrationv1.ConditionTrue
}

// Discovered is what discovery shows of it. What it has told last is stale when it is not available.
func (s *Server) Discovered() discovery.Remote {
	return discovery.Remote{
		GroupVersion: s.GroupVersion, GroupPriority: s.object.Spec.GroupPriorityMinimum, VersionPriority: s.object.Spec.VersionPriority,
		Resources: s.told.resources, Stale: !s.Available() || s.told.way == nil,
	}
}

// Now are the servers as the APIServices name them.
func (a *Aggregator) Now() *Servers {
	changed, lessons := a.State.Changed(a.kind), a.lessons.Load()
	if s := a.now.Load(); s != nil && s.changed == changed && s.lessons == lessons {
		return s
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.now.Load()
	if before != nil && before.changed >= changed && before.lessons >= lessons {
		return before
	}
	s := &Servers{by: map[schema.GroupVersion]*Server{}, changed: changed, lessons: lessons, Generation: 1}
	if before != nil {
		s.Generation = before.Generation + 1
	}
	for _, object := range state.List[*apiregistrationv1.APIService](a.State, state.Selector{}) {
		gv := schema.GroupVersion{Group: object.Spec.Group, Version: object.Spec.Version}
		if object.Spec.Service == nil || gv.Group == apiregistrationv1.GroupName {
			continue // who gave away this group could not take it back
		}
		one := &Server{GroupVersion: gv, object: object, way: a.way(before, object)}
		if told := a.learned[object.Name]; told != nil && told.way == one.way {
			one.told = *told
		}
		s.All, s.by[gv] = append(s.All, one), one
	}
	slices.SortStableFunc(s.All, func(a, b *Server) int {
		return cmp.Compare(b.object.Spec.GroupPriorityMinimum, a.object.Spec.GroupPriorityMinimum)
	})
	a.leave(before, s)
	a.now.Store(s)
	return s
}

// way is how an APIService's server is reached: as before, unless that has changed.
func (a *Aggregator) way(before *Servers, object *apiregistrationv1.APIService) *way {
	to := destinationOf(object)
	if before != nil {
		if s := before.by[schema.GroupVersion{Group: object.Spec.Group, Version: object.Spec.Version}]; s != nil && s.way.to == to {
			return s.way
		}
	}
	return a.newWay(object, to)
}

// leave closes connections to servers that are no longer asked, and forgets what they told.
func (a *Aggregator) leave(before, now *Servers) {
	if before == nil {
		return
	}
	for gv, old := range before.by {
		if s := now.by[gv]; s == nil || s.way != old.way {
			delete(a.learned, old.object.Name)
			old.way.close()
		}
	}
}
