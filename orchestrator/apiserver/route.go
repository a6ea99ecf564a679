package apiserver

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/apiserver/media"
	"wherry/orchestrator/resource"
)

// handler answers a call, or returns what the Status is made of.
type handler func(*call) error

// A resource's paths, and what each verb does there. list and watch also go over all namespaces.
var (
	collection = map[string]handler{
		"list": (*call).list, "watch": (*call).watch, "create": (*call).create, "deletecollection": (*call).deleteCollection,
	}
	single = map[string]handler{
		"get": (*call).get, "update": (*call).update, "patch": (*call).patch, "delete": (*call).delete, "watch": (*call).watch,
	}
	stored = map[string]handler{ // subresources that are another door to the object
		"get": (*call).get, "update": (*call).update, "patch": (*call).patch,
	}
)

// serveResource answers one request for a resource.
func (s *Server) serveResource(w http.ResponseWriter, r *http.Request, at target, user *auth.User) {
	c := &call{s: s, w: w, r: r, at: at, user: user}
	handle, long, err := c.find()
	if err == nil && r.Method == http.MethodHead && at.subresource != "proxy" {
		err = methodNotAllowed()
	}
	if err == nil {
		c.out, err = c.negotiate()
		if err != nil && !media.Known(c.r) {
			err = c.unacceptable()
		}
		if long && at.verb != "watch" {
			err = nil // streams speak their own language
		}
	}
	if err == nil {
		err = r.Context().Err() // it may have waited for its turn for too long
	}
	if err == nil {
		err = handle(c)
	}
	if err != nil {
		s.fail(w, r, err)
	}
}

// negotiate chooses the form of the answer. Custom objects have no protobuf; their metadata has.
func (c *call) negotiate() (media.Type, error) {
	if c.kind != nil && c.kind.Custom != nil {
		return media.NegotiateText(c.r)
	}
	return media.Negotiate(c.r, true)
}

// unacceptable is what Kubernetes says to a client that takes none of what the path offers.
func (c *call) unacceptable() error {
	offered := media.Offered
	if c.at.name == "" && c.r.Method == http.MethodGet {
		offered = append(slices.Clone(offered), "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
	}
	return apierrors.NewGenericServerResponse(http.StatusNotAcceptable, "", schema.GroupResource{}, "",
		"406: Not Acceptable\n\nAvailable representations: "+strings.Join(offered, ", "), 0, false)
}

// find chooses what answers the call, and says whether it may run for long.
func (c *call) find() (handle handler, long bool, err error) {
	gvr := schema.GroupVersionResource{Group: c.at.group, Version: c.at.version, Resource: c.at.plural}
	if v, ok := c.s.virtual[gvr.String()]; ok && c.at.subresource == "" {
		c.kind = v.shown
		return v.find(c.at)
	}
	kind, ok := c.s.kinds.Resource(gvr)
	if !ok {
		return nil, false, noResource()
	}
	c.kind = kind
	if kind.Deprecated != "" && offers(kind, c.at.verb) {
		c.warn(kind.Deprecated)
	}
	if why := path.IsValidPathSegmentName(c.at.name); c.at.name != "" && len(why) > 0 {
		return nil, false, apierrors.NewBadRequest(fmt.Sprintf("Name parameter invalid: %q: %s", c.at.name, strings.Join(why, ";")))
	}
	if !c.placed() {
		return nil, false, noResource()
	}
	if c.at.subresource != "" {
		return c.findSubresource()
	}
	if handle, ok = c.door()[c.at.verb]; ok && gvr == componentStatuses {
		handle = computed[c.at.verb]
	}
	if !ok || !offers(kind, c.at.verb) {
		return nil, false, methodNotAllowed()
	}
	return handle, c.at.verb == "watch" || c.at.verb == "deletecollection", nil
}

// placed says whether the path names a namespace exactly if the kind needs one.
func (c *call) placed() bool {
	if c.kind.Namespaced {
		return c.at.namespace != "" || c.at.name == ""
	}
	return c.at.namespace == "" || c.kind.Group == "" && c.kind.Plural == "namespaces" && c.at.name != ""
}

func (c *call) door() map[string]handler {
	switch {
	case c.at.name != "":
		return single
	case c.kind.Namespaced && c.at.namespace == "":
		return map[string]handler{"list": (*call).list, "watch": (*call).watch}
	}
	return collection
}

func offers(kind *resource.Kind, verb string) bool {
	return kind.Verbs == nil || slices.Contains(kind.Verbs, verb)
}

// routes are the paths that are not resources.
func (s *Server) routes() (http.Handler, error) {
	mux := http.NewServeMux()
	for _, name := range []string{"healthz", "livez", "readyz"} {
		mux.HandleFunc("GET /"+name, s.health(name))
		mux.HandleFunc("GET /"+name+"/{check...}", s.health(name))
	}
	mux.HandleFunc("GET /version", s.version)
	mux.HandleFunc("GET /version/{$}", s.version)
	mux.Handle("GET /metrics", s.metrics.handler())
	s.openID(mux)
	mux.HandleFunc("POST /wherry/keys/{what}/rotate", s.rotateKeys)
	if s.cfg.Profiling {
		s.profiling(mux)
	}
	if s.cfg.Registry != nil {
		mux.Handle("/v2/", s.cfg.Registry)
	}
	if s.cfg.Snapshots != nil {
		mux.Handle("/snapshots", s.cfg.Snapshots)
		mux.Handle("/snapshots/", s.cfg.Snapshots)
	}
	return mux, s.documents(mux)
}

// profiling serves what runtime/pprof knows.
func (s *Server) profiling(mux *http.ServeMux) {
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.Handle("/debug/pprof", http.RedirectHandler("/debug/pprof/", http.StatusMovedPermanently))
}

// notFound is what Kubernetes says to a path that it does not know.
func notFound(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write([]byte("404 page not found\n"))
}

// unknown answers what is at no path: a version that a group does not have is told in a Status.
func (s *Server) unknown(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if parts[0] == "api" || len(parts) > 1 && parts[0] == "apis" && s.hasGroup(parts[1]) {
		s.fail(w, r, noResource())
		return
	}
	notFound(w)
}

func (s *Server) hasGroup(group string) bool {
	for _, v := range s.virtual {
		if v.gvr.Group == group {
			return true
		}
	}
	return group != "" && slices.ContainsFunc(s.kinds.All(), func(k *resource.Kind) bool { return k.Group == group })
}

// GroupVersions are those of resources that are answered and not stored.
func (s *Server) GroupVersions() []schema.GroupVersion {
	var all []schema.GroupVersion
	for _, v := range s.virtual {
		if gv := v.gvr.GroupVersion(); !slices.Contains(all, gv) {
			all = append(all, gv)
		}
	}
	return all
}

// served says whether a group and version exist here at all.
func (s *Server) served(at target) bool {
	if strings.HasPrefix(at.path, "/apis/") && at.group == "" {
		return false
	}
	gv := schema.GroupVersion{Group: at.group, Version: at.version}
	for _, v := range s.virtual {
		if v.gvr.GroupVersion() == gv {
			return true
		}
	}
	return slices.ContainsFunc(s.kinds.All(), func(k *resource.Kind) bool { return k.GroupVersion() == gv })
}
