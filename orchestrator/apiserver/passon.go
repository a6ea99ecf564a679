package apiserver

import (
	"context"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/apiserver/aggregate"
	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/apiserver/discovery"
)

// remote is who answers a path in our place: an APIService's server, everything of its group and version.
func (s *Server) remote(path string) *aggregate.Server {
	if s.cfg.Aggregator == nil {
		return nil
	}
	servers := s.cfg.Aggregator.Now()
	if len(servers.All) == 0 {
		return nil
	}
	parts := strings.SplitN(strings.TrimPrefix(path, "/"), "/", 4)
	switch {
	case parts[0] == "apis" && len(parts) > 2 && parts[1] != "":
		return servers.Of(schema.GroupVersion{Group: parts[1], Version: parts[2]})
	case parts[0] == "api" && len(parts) > 1:
		return servers.Of(schema.GroupVersion{Version: parts[1]})
	}
	return nil
}

// passOn has the request answered by who answers its group and version. A stream ends when this server stops.
func (s *Server) passOn(w http.ResponseWriter, r *http.Request, at target, user *auth.User) {
	c := &call{s: s, w: w, r: r, at: at, user: user}
	if at.verb == "watch" {
		c.standUp()
	}
	s.streams.Add(1)
	defer s.streams.Done()
	upgraded, ctx := r.Header.Get("Upgrade") != "", r.Context()
	if upgraded {
		ctx = context.WithoutCancel(ctx) // it lasts as long as its connections
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if upgraded || at.isLong() {
		defer context.AfterFunc(s.stopping, cancel)()
	}
	s.cfg.Aggregator.Pass(ctx, w, r, at.remote, user)
}

// remotes are what discovery shows of others.
func (s *Server) remotes() (all []discovery.Remote, generation uint64) {
	if s.cfg.Aggregator == nil {
		return nil, 0
	}
	servers := s.cfg.Aggregator.Now()
	for _, one := range servers.All {
		all = append(all, one.Discovered())
	}
	return all, servers.Generation
}
