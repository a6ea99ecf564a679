package discovery

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubeversion "k8s.io/apimachinery/pkg/version"

	"wherry/orchestrator/resource"
)

// group is an API group with its versions, the preferred one first.
type group struct {
	name     string
	versions []*version
}

// version has its resources in order of their names, subresources behind their resource.
type version struct {
	schema.GroupVersion
	name      string
	resources []metav1.APIResource
	custom    bool // kinds in it are custom ones
}

var (
	kindVerbs        = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
	customVerbs      = []string{"delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"}
	subresourceVerbs = []string{"get", "patch", "update"}
)

// priorities say in which order groups stand, the highest first, as Kubernetes' own APIServices do. Groups of custom kinds
// come behind all of them.
var priorities = map[string]int{
	"": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700, "authorization.k8s.io": 17600,
	"autoscaling": 17500, "batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100,
	"rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800, "apiextensions.k8s.io": 16700,
	"admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600, "coordination.k8s.io": 16500, "node.k8s.io": 16300,
	"discovery.k8s.io": 16200, "flowcontrol.apiserver.k8s.io": 16100,
}

func (g *group) priority() int {
	if p, ok := priorities[g.name]; ok {
		return p
	}
	return 1000
}

func collect(kinds []*resource.Kind, extra []Resource) ([]*group, error) {
	var groups []*group
	at := func(gv schema.GroupVersion) *version {
		i := slices.IndexFunc(groups, func(g *group) bool { return g.name == gv.Group })
		if i < 0 {
			i = len(groups)
			groups = append(groups, &group{name: gv.Group})
		}
		return groups[i].version(gv)
	}
	for _, k := range kinds {
		v := at(k.GroupVersion())
		v.resources = append(v.resources, kindResource(k))
		v.custom = v.custom || k.Custom != nil
		for name, s := range k.Subresources {
			v.resources = append(v.resources, subresource(k, name, s))
		}
	}
	for _, e := range extra {
		v := at(e.GroupVersion())
		if e.Subresource != "" && !v.has(e.Resource) {
			return nil, fmt.Errorf("discovery: %s/%s: no such resource", e.Resource, e.Subresource)
		}
		v.resources = append(v.resources, extraResource(e))
	}
	slices.SortFunc(groups, func(a, b *group) int {
		return cmp.Or(cmp.Compare(b.priority(), a.priority()), cmp.Compare(a.name, b.name))
	})
	for _, g := range groups {
		slices.SortFunc(g.versions, func(a, b *version) int { return -kubeversion.CompareKubeAwareVersionStrings(a.name, b.name) })
		for _, v := range g.versions {
			slices.SortFunc(v.resources, func(a, b metav1.APIResource) int { return cmp.Compare(a.Name, b.Name) })
		}
	}
	return groups, nil
}

func (g *group) version(gv schema.GroupVersion) *version {
	for _, v := range g.versions {
		if v.GroupVersion == gv {
			return v
		}
	}
	v := &version{GroupVersion: gv, name: gv.Version}
	g.versions = append(g.versions, v)
	return v
}

func (v *version) has(name string) bool {
	return slices.ContainsFunc(v.resources, func(r metav1.APIResource) bool { return r.Name == name })
}

func kindResource(k *resource.Kind) metav1.APIResource {
	verbs := k.Verbs
	switch {
	case verbs == nil && k.Custom != nil:
		verbs = customVerbs
	case verbs == nil:
		verbs = kindVerbs
	}
	return metav1.APIResource{
		Name: k.Plural, SingularName: k.Singular, Namespaced: k.Namespaced, Kind: k.Kind,
		Verbs: verbs, ShortNames: k.ShortNames, Categories: k.Categories,
	}
}

func subresource(k *resource.Kind, name string, s *resource.Subresource) metav1.APIResource {
	r := metav1.APIResource{Name: k.Plural + "/" + name, Namespaced: k.Namespaced, Kind: k.Kind, Verbs: s.Verbs}
	if r.Verbs == nil {
		r.Verbs = subresourceVerbs
	}
	if s.Scale != nil {
		scale := autoscalingv1.SchemeGroupVersion.WithKind("Scale")
		r.Group, r.Version, r.Kind = scale.Group, scale.Version, scale.Kind
	}
	return r
}

func extraResource(e Resource) metav1.APIResource {
	r := metav1.APIResource{Name: e.Resource, SingularName: e.Singular, Namespaced: e.Namespaced, Kind: e.Kind.Kind, Verbs: e.Verbs}
	if e.Subresource != "" {
		r.Name, r.SingularName = r.Name+"/"+e.Subresource, ""
	}
	if e.Kind.GroupVersion() != e.GroupVersion() {
		r.Group, r.Version = e.Kind.Group, e.Kind.Version
	}
	return r
}

func (g *group) apiGroup() metav1.APIGroup {
	out := metav1.APIGroup{Name: g.name}
	for _, v := range g.versions {
		out.Versions = append(out.Versions, metav1.GroupVersionForDiscovery{GroupVersion: v.String(), Version: v.name})
	}
	out.PreferredVersion = out.Versions[0]
	return out
}

func (v *version) apiResourceList(group string) *metav1.APIResourceList {
	list := &metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
		GroupVersion: v.String(),
		APIResources: v.resources,
	}
	if group == "" {
		list.APIVersion = "" // as Kubernetes does for the core group
	}
	return list
}

// discoveryList is the one document, for the core group or for all others.
func discoveryList(groups []*group, core bool) *apidiscoveryv2.APIGroupDiscoveryList {
	list := &apidiscoveryv2.APIGroupDiscoveryList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: apidiscoveryv2.SchemeGroupVersion.String()},
		Items:    []apidiscoveryv2.APIGroupDiscovery{},
	}
	for _, g := range groups {
		if (g.name == "") != core {
			continue
		}
		item := apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: g.name}}
		for _, v := range g.versions {
			item.Versions = append(item.Versions, apidiscoveryv2.APIVersionDiscovery{
				Version: v.name, Resources: v.discovered(), Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent,
			})
		}
		list.Items = append(list.Items, item)
	}
	return list
}

// discovered hangs subresources below their resource, which stands before them.
func (v *version) discovered() []apidiscoveryv2.APIResourceDiscovery {
	var out []apidiscoveryv2.APIResourceDiscovery
	for _, r := range v.resources {
		// Empty group and version mean those of the resource, which only those of custom kinds say.
		kind := metav1.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
		if v.custom && kind.Version == "" {
			kind.Group, kind.Version = v.Group, v.Version
		}
		if _, name, ok := strings.Cut(r.Name, "/"); ok {
			owner := &out[len(out)-1]
			owner.Subresources = append(owner.Subresources, apidiscoveryv2.APISubresourceDiscovery{Subresource: name, ResponseKind: &kind, Verbs: r.Verbs})
			continue
		}
		scope := apidiscoveryv2.ScopeCluster
		if r.Namespaced {
			scope = apidiscoveryv2.ScopeNamespace
		}
		out = append(out, apidiscoveryv2.APIResourceDiscovery{
			Resource: r.Name, ResponseKind: &kind, Scope: scope, SingularResource: r.SingularName,
			Verbs: r.Verbs, ShortNames: r.ShortNames, Categories: r.Categories,
		})
	}
	return out
}
