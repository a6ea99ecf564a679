package resource

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
)

// Options say what the kinds must know of the cluster.
type Options struct {
	// ServiceCIDR is where cluster IPs come from; zero means 10.43.0.0/16.
	ServiceCIDR netip.Prefix
	// PodCIDR is where nodes get their blocks of pod addresses; zero means 10.42.0.0/16.
	PodCIDR netip.Prefix
	// NodePorts are the first and last port for Services of type NodePort; zero means
	// 30000 to 32767.
	NodePorts [2]int32
}

func (o *Options) setDefaults() {
	if !o.ServiceCIDR.IsValid() {
		o.ServiceCIDR = netip.MustParsePrefix("10.43.0.0/16")
	}
	if !o.PodCIDR.IsValid() {
		o.PodCIDR = netip.MustParsePrefix("10.42.0.0/16")
	}
	if o.NodePorts == [2]int32{} {
		o.NodePorts = [2]int32{30000, 32767}
	}
}

// Registry is all kinds that the control plane serves. It does not change after New.
type Registry struct {
	all        []*Kind
	stored     []*Kind
	byResource map[schema.GroupVersionResource]*Kind
	byKind     map[schema.GroupVersionKind]*Kind
	byType     map[reflect.Type]*Kind
	scheme     *runtime.Scheme
}

// New returns the built-in kinds of a cluster with the default Options.
func New() *Registry { return NewWith(Options{}) }

// NewWith returns the built-in kinds.
func NewWith(o Options) *Registry {
	o.setDefaults()
	coreEvents, autoscalers := events(), horizontalPodAutoscalers()
	return newRegistry(
		namespaces(), nodes(o), pods(), services(o), endpoints(), endpointSlices(),
		configMaps(), secrets(), serviceAccounts(), coreEvents, eventsV1(coreEvents), leases(),
		deployments(), replicaSets(), controllerRevisions(),
		autoscalers, horizontalPodAutoscalersV1(autoscalers),
	)
}

func newRegistry(kinds ...*Kind) *Registry {
	r := &Registry{
		all:        kinds,
		byResource: make(map[schema.GroupVersionResource]*Kind),
		byKind:     make(map[schema.GroupVersionKind]*Kind),
		byType:     make(map[reflect.Type]*Kind),
		scheme:     newScheme(),
	}
	for _, k := range kinds {
		complete(k)
		r.byResource[k.GroupVersionResource()] = k
		r.byKind[k.GroupVersionKind] = k
		r.byType[reflect.TypeOf(k.New())] = k
	}
	slices.SortFunc(r.all, func(a, b *Kind) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), -version.CompareKubeAwareVersionStrings(a.Version, b.Version), cmp.Compare(a.Plural, b.Plural))
	})
	for _, k := range r.all {
		if k.View == nil {
			r.stored = append(r.stored, k)
		}
	}
	return r
}

// All returns every kind, ordered by group, version (the preferred one first) and plural.
func (r *Registry) All() []*Kind { return r.all }

// Resource finds a kind by group, version and plural.
func (r *Registry) Resource(gvr schema.GroupVersionResource) (*Kind, bool) {
	k, ok := r.byResource[gvr]
	return k, ok
}

// Kind finds a kind by group, version and kind.
func (r *Registry) Kind(gvk schema.GroupVersionKind) (*Kind, bool) {
	k, ok := r.byKind[gvk]
	return k, ok
}

// For finds the kind of a typed object by its Go type.
func (r *Registry) For(obj Object) (*Kind, bool) {
	k, ok := r.byType[reflect.TypeOf(obj)]
	return k, ok
}

// Scheme knows the types of all kinds, of the options and of meta/v1, with defaults. It holds external
// types only.
func (r *Registry) Scheme() *runtime.Scheme { return r.scheme }
