package discovery

import (
	"cmp"
	"fmt"
	"maps"
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
	priority int32 // among groups: the highest of its versions
	versions []*version
}

// version has its resources in order of their names, subresources behind their resource.
type version struct {
	schema.GroupVersion
	name      string
	priority  int32 // within the group
	remote    bool  // another server answers it
	stale     bool
	resources []metav1.APIResource
	custom    bool // kinds in it are custom ones
}

var (
	kindVerbs        = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
	customVerbs      = []string{"delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"}
	subresourceVerbs = []string{"get", "patch", "update"}
)

func collect(kinds []*resource.Kind, remotes []Remote, extra []Resource) ([]*group, error) {
	all := groups{}
	for _, r := range remotes {
		v := all.at(r.GroupVersion, r.GroupPriority, r.VersionPriority)
		v.remote, v.stale, v.resources = true, r.Stale, slices.Clone(r.Resources)
	}
	for _, k := range kinds {
		v := all.local(k.GroupVersion())
		if v.remote {
			continue
		}
		v.resources = append(v.resources, kindResource(k))
		v.custom = v.custom || k.Custom != nil
		for name, s := range k.Subresources {
			v.resources = append(v.resources, subresource(k, name, s))
		}
	}
	for _, e := range extra {
		v := all.local(e.GroupVersion())
		if v.remote {
			continue
		}
		if e.Subresource != "" && !v.has(e.Resource) {
			return nil, fmt.Errorf("discovery: %s/%s: no such resource", e.Resource, e.Subresource)
		}
		v.resources = append(v.resources, extraResource(e))
	}
	return all.sorted(), nil
}

// groups by name.
type groups map[string]*group

func (all groups) local(gv schema.GroupVersion) *version {
	group, version := resource.APIServicePriority(gv)
	return all.at(gv, group, version)
}

// at is the version, made if there is none yet: then the priorities count.
func (all groups) at(gv schema.GroupVersion, priority, versionPriority int32) *version {
	g := all[gv.Group]
	if g == nil {
		g = &group{name: gv.Group}
		all[gv.Group] = g
	}
	for _, v := range g.versions {
		if v.GroupVersion == gv {
			return v
		}
	}
	v := &version{GroupVersion: gv, name: gv.Version, priority: versionPriority}
	g.priority, g.versions = max(g.priority, priority), append(g.versions, v)
	return v
}

func (all groups) sorted() []*group {
	groups := slices.Collect(maps.Values(all))
	slices.SortFunc(groups, func(a, b *group) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.name, b.name))
	})
	for _, g := range groups {
		slices.SortFunc(g.versions, func(a, b *version) int {
			return cmp.Or(cmp.Compare(b.priority, a.priority), -kubeversion.CompareKubeAwareVersionStrings(a.name, b.name))
		})
		for _, v := range g.versions {
			slices.SortFunc(v.resources, func(a, b metav1.APIResource) int { return cmp.Compare(a.Name, b.Name) })
		}
	}
	return groups
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
			freshness := apidiscoveryv2.DiscoveryFreshnessCurrent
			if v.stale {
				freshness = apidiscoveryv2.DiscoveryFreshnessStale
			}
			item.Versions = append(item.Versions, apidiscoveryv2.APIVersionDiscovery{Version: v.name, Resources: v.discovered(), Freshness: freshness})
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
		if of, name, ok := strings.Cut(r.Name, "/"); ok {
			i := slices.IndexFunc(out, func(r apidiscoveryv2.APIResourceDiscovery) bool { return r.Resource == of })
			if i < 0 {
				continue // another server tells of none
			}
			owner := &out[i]
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
