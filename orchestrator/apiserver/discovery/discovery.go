// Package discovery tells clients what the API serves: in one document for all groups, as newer
// clients ask (apidiscovery.k8s.io/v2), and in one document per group and version.
//
// The documents are made from the registry and from what the apiserver serves beyond it, anew when
// kinds come and go, and are sent as JSON, YAML or Kubernetes protobuf.
package discovery

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/resource"
)

// Resource is something that is served and is no kind of the registry: an action on an object
// (pods/log), or something that is not stored (selfsubjectreviews).
type Resource struct {
	schema.GroupVersionResource
	// Subresource is "" for a resource of its own.
	Subresource string
	// Kind is what is sent and answered.
	Kind schema.GroupVersionKind
	// Singular and Namespaced matter for a resource of its own.
	Singular   string
	Namespaced bool
	Verbs      []string
}

// Remote is a group and version that another server answers, in the place of kinds of the registry if there are any.
type Remote struct {
	schema.GroupVersion
	GroupPriority, VersionPriority int32
	Resources                      []metav1.APIResource
	// Stale says that the server cannot be asked now.
	Stale bool
}

// Remotes are those of one moment, with a number that is another one when they are others.
type Remotes func() (all []Remote, generation uint64)

// Handler answers /api, /api/v1, /apis, /apis/GROUP and /apis/GROUP/VERSION, each with or without a slash
// at the end, and nothing else.
type Handler struct {
	kinds   *resource.Registry
	remotes Remotes
	extra   []Resource
	// Unknown answers paths below /api and /apis that nothing is at; nil: http.NotFound.
	Unknown http.HandlerFunc

	now atomic.Pointer[documents]
	mu  sync.Mutex // held while documents are made
}

// documents are those of one generation of kinds and remotes.
type documents struct {
	generation [2]uint64
	plain      map[string]*document // by path
	aggregated map[string]*document // /api and /apis
}

// New makes the documents. remotes may be nil: there are none. Errors: an extra subresource of a resource that is not
// served.
func New(kinds *resource.Registry, remotes Remotes, extra ...Resource) (*Handler, error) {
	if remotes == nil {
		remotes = func() ([]Remote, uint64) { return nil, 0 }
	}
	h := &Handler{kinds: kinds, remotes: remotes, extra: extra}
	_, err := h.documents()
	return h, err
}

// documents are those of the kinds as they are now.
func (h *Handler) documents() (*documents, error) {
	remotes, generation := h.remotes()
	if d := h.now.Load(); d != nil && d.generation == [2]uint64{h.kinds.Generation(), generation} {
		return d, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	kinds, ofKinds := h.kinds.Now()
	now := [2]uint64{ofKinds, generation}
	if d := h.now.Load(); d != nil && d.generation == now {
		return d, nil
	}
	d, err := describe(kinds, remotes, h.extra)
	if err != nil {
		return nil, err
	}
	d.generation = now
	h.now.Store(d)
	return d, nil
}

func describe(kinds []*resource.Kind, remotes []Remote, extra []Resource) (*documents, error) {
	groups, err := collect(kinds, remotes, extra)
	if err != nil {
		return nil, err
	}
	h := &documents{plain: map[string]*document{}, aggregated: map[string]*document{}}
	list := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{}}
	for _, g := range groups {
		base := "/apis/" + g.name
		if g.name == "" {
			base = "/api"
		} else {
			list.Groups = append(list.Groups, g.apiGroup())
			group := g.apiGroup()
			group.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
			h.plain[base] = newDocument(&group)
		}
		for _, v := range g.versions {
			h.plain[base+"/"+v.name] = newDocument(v.apiResourceList(g.name))
		}
	}
	h.plain["/apis"] = newDocument(list)
	h.aggregated["/api"] = newDocument(discoveryList(groups, true))
	h.aggregated["/apis"] = newDocument(discoveryList(groups, false))
	for path, d := range h.all() {
		if err := d.encode(); err != nil {
			return nil, fmt.Errorf("discovery: %s: %w", path, err)
		}
	}
	return h, nil
}

func (h *documents) all() map[string]*document {
	all := map[string]*document{}
	for path, d := range h.plain {
		all[path] = d
	}
	for path, d := range h.aggregated {
		all[path+" (aggregated)"] = d
	}
	return all
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d, err := h.documents()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	d.serve(w, r, h.Unknown)
}

// Paths are those of all documents.
func (h *Handler) Paths() ([]string, error) {
	d, err := h.documents()
	if err != nil {
		return nil, err
	}
	return append(slices.Collect(maps.Keys(d.plain)), "/api", "/apis/"), nil
}

func (h *documents) serve(w http.ResponseWriter, r *http.Request, unknown http.HandlerFunc) {
	path := strings.TrimSuffix(r.URL.Path, "/")
	choice, ok := negotiate(r.Header.Get("Accept"), h.aggregated[path] != nil)
	switch {
	case path == "/api" && !choice.aggregated:
		d := newDocument(legacyVersions(r.Host))
		if err := d.encode(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		d.write(w, choice, ok)
	case choice.aggregated:
		writeCached(w, r, h.aggregated[path], choice)
	case h.plain[path] != nil:
		h.plain[path].write(w, choice, ok)
	case unknown != nil:
		unknown(w, r)
	default:
		http.NotFound(w, r)
	}
}

// writeCached spares a client that has the document already.
func writeCached(w http.ResponseWriter, r *http.Request, d *document, c choice) {
	w.Header().Set("ETag", d.etag)
	w.Header().Set("Vary", "Accept")
	w.Header().Set("Cache-Control", "public")
	if r.Header.Get("If-None-Match") == d.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	d.write(w, c, true)
}

// legacyVersions is /api: the versions of the core group, and where the server is.
func legacyVersions(host string) *metav1.APIVersions {
	return &metav1.APIVersions{
		TypeMeta:                   metav1.TypeMeta{Kind: "APIVersions"},
		Versions:                   []string{"v1"},
		ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: host}},
	}
}
