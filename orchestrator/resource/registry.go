package resource

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

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
	// Convert asks webhooks to convert custom objects; nil: those that need it cannot be converted.
	Convert Conversion
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

// Registry is all kinds that the control plane serves: the built-in ones, which do not change
// after New, and those that objects define (Kind.Defines). Readers see one set of kinds as it was at one
// moment; all methods may be called concurrently.
type Registry struct {
	builtin []*Kind
	byType  map[reflect.Type]*Kind // of built-in kinds
	scheme  *runtime.Scheme

	current atomic.Pointer[kindSet]
	mu      sync.Mutex // held by Define
	defined map[string][]*Kind
}

// kindSet is the kinds of one generation. It does not change.
type kindSet struct {
	generation uint64
	all        []*Kind
	stored     []*Kind
	byResource map[schema.GroupVersionResource]*Kind
	byKind     map[schema.GroupVersionKind]*Kind
	next       chan struct{} // closed when another set takes its place
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
		componentStatuses(), podTemplates(), limitRanges(), resourceQuotas(), persistentVolumes(), persistentVolumeClaims(), replicationControllers(),
		deployments(), replicaSets(), statefulSets(), daemonSets(), controllerRevisions(), jobs(), cronJobs(),
		autoscalers, horizontalPodAutoscalersV1(autoscalers), podDisruptionBudgets(), priorityClasses(), runtimeClasses(),
		ingresses(), ingressClasses(), networkPolicies(), serviceCIDRs(), ipAddresses(),
		storageClasses(), volumeAttributesClasses(), volumeAttachments(), csiDrivers(), csiNodes(), csiStorageCapacities(),
		roles(), roleBindings(), clusterRoles(), clusterRoleBindings(), certificateSigningRequests(),
		flowSchemas(), priorityLevelConfigurations(),
		customResourceDefinitions(o.Convert), apiServices(),
		mutatingWebhookConfigurations(), validatingWebhookConfigurations(),
		mutatingAdmissionPolicies(), mutatingAdmissionPolicyBindings(), validatingAdmissionPolicies(), validatingAdmissionPolicyBindings(),
	)
}

func newRegistry(kinds ...*Kind) *Registry {
	r := &Registry{
		builtin: kinds,
		byType:  make(map[reflect.Type]*Kind),
		scheme:  newScheme(),
		defined: make(map[string][]*Kind),
	}
	for _, k := range kinds {
		complete(k)
		r.byType[reflect.TypeOf(k.New())] = k
	}
	r.current.Store(newKindSet(1, kinds))
	return r
}

// newKindSet makes a set. Of two kinds in one place the first counts.
func newKindSet(generation uint64, kinds []*Kind) *kindSet {
	s := &kindSet{
		generation: generation,
		byResource: make(map[schema.GroupVersionResource]*Kind, len(kinds)),
		byKind:     make(map[schema.GroupVersionKind]*Kind, len(kinds)),
		next:       make(chan struct{}),
	}
	for _, k := range kinds {
		if s.byResource[k.GroupVersionResource()] != nil || s.byKind[k.GroupVersionKind] != nil {
			continue
		}
		if k.View == nil {
			s.stored = append(s.stored, k)
		}
		if k.Unserved {
			continue
		}
		s.all = append(s.all, k)
		s.byResource[k.GroupVersionResource()] = k
		s.byKind[k.GroupVersionKind] = k
	}
	slices.SortFunc(s.all, byPlace)
	slices.SortFunc(s.stored, byPlace)
	return s
}

func byPlace(a, b *Kind) int {
	return cmp.Or(cmp.Compare(a.Group, b.Group), -version.CompareKubeAwareVersionStrings(a.Version, b.Version), cmp.Compare(a.Plural, b.Plural))
}

// Define makes the kinds those that definer defines, in place of what it defined before; without
// kinds it defines none. A kind in the place of a built-in one is ignored. State calls it when an object changes that
// defines kinds; the kinds must not have been given to Define before.
func (r *Registry) Define(definer string, kinds ...*Kind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(kinds) == 0 && len(r.defined[definer]) == 0 {
		return
	}
	for _, k := range kinds {
		complete(k)
	}
	r.defined[definer] = kinds
	if len(kinds) == 0 {
		delete(r.defined, definer)
	}
	all := slices.Clone(r.builtin)
	for _, name := range sortedKeys(r.defined) {
		all = append(all, r.defined[name]...)
	}
	before := r.current.Load()
	r.current.Store(newKindSet(before.generation+1, all))
	close(before.next)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// All returns every kind, ordered by group, version (the preferred one first) and plural.
func (r *Registry) All() []*Kind { return r.current.Load().all }

// Now returns every kind, as All does, and the number of this set of kinds, under which what is made of
// all kinds is kept.
func (r *Registry) Now() (all []*Kind, generation uint64) {
	s := r.current.Load()
	return s.all, s.generation
}

// Changed returns a channel that is closed when another set of kinds takes the place of the present one.
func (r *Registry) Changed() <-chan struct{} { return r.current.Load().next }

// Generation is the number of the present set of kinds.
func (r *Registry) Generation() uint64 { return r.current.Load().generation }

// Resource finds a kind by group, version and plural.
func (r *Registry) Resource(gvr schema.GroupVersionResource) (*Kind, bool) {
	k, ok := r.current.Load().byResource[gvr]
	return k, ok
}

// Kind finds a kind by group, version and kind.
func (r *Registry) Kind(gvk schema.GroupVersionKind) (*Kind, bool) {
	k, ok := r.current.Load().byKind[gvk]
	return k, ok
}

// For finds the built-in kind of a typed object by its Go type.
func (r *Registry) For(obj Object) (*Kind, bool) {
	k, ok := r.byType[reflect.TypeOf(obj)]
	return k, ok
}

// Scheme knows the types of all built-in kinds, of the options and of meta/v1, with defaults. It holds external
// types only.
func (r *Registry) Scheme() *runtime.Scheme { return r.scheme }

// Default fills in what the object does not say: as its kind does, or the scheme.
func (r *Registry) Default(k *Kind, obj Object) {
	if k.Default != nil {
		k.Default(obj)
		return
	}
	r.scheme.Default(obj)
	if k.Derive != nil {
		k.Derive(obj)
	}
}
