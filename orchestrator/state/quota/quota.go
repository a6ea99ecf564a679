// Package quota measures what objects use of a ResourceQuota: pure but for Total, which reads the
// state. Names of resources and what they count are Kubernetes' (core/v1 ResourceQuota).
package quota

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"

	"wherry/orchestrator/resource"
)

// aliases are names that counted objects before count/ did.
var aliases = map[string]corev1.ResourceName{
	"configmaps": corev1.ResourceConfigMaps, "resourcequotas": corev1.ResourceQuotas,
	"replicationcontrollers": corev1.ResourceReplicationControllers, "secrets": corev1.ResourceSecrets,
}

// Counted says whether quotas count objects of the kind at all.
func Counted(k *resource.Kind) bool {
	return k.Namespaced && !(k.Plural == "events" && (k.Group == "" || k.Group == "events.k8s.io"))
}

// CountName is the name by which objects of the kind are counted: count/deployments.apps.
func CountName(k *resource.Kind) corev1.ResourceName {
	stored := k.Stored()
	if stored.Group == "" {
		return corev1.ResourceName("count/" + stored.Plural)
	}
	return corev1.ResourceName("count/" + stored.Plural + "." + stored.Group)
}

// Names are those of names that objects of the kind use.
func Names(k *resource.Kind, names []corev1.ResourceName) []corev1.ResourceName {
	uses := func(corev1.ResourceName) bool { return false }
	if k.Group == "" {
		switch k.Plural {
		case "pods":
			uses = usedByPods
		case "services":
			uses = func(n corev1.ResourceName) bool { return slices.Contains(serviceResources, n) }
		case "persistentvolumeclaims":
			uses = usedByClaims
		default:
			alias, ok := aliases[k.Plural]
			uses = func(n corev1.ResourceName) bool { return ok && n == alias }
		}
	}
	count := CountName(k)
	var used []corev1.ResourceName
	for _, n := range names {
		if n == count || uses(n) {
			used = append(used, n)
		}
	}
	return used
}

// Usage is what obj uses. An object that no quota's name stands for is counted all the same.
func Usage(k *resource.Kind, obj resource.Object, now time.Time) corev1.ResourceList {
	used := corev1.ResourceList{CountName(k): one()}
	switch o := obj.(type) {
	case *corev1.Pod:
		add(used, podUsage(o, now))
	case *corev1.Service:
		add(used, serviceUsage(o))
	case *corev1.PersistentVolumeClaim:
		add(used, claimUsage(o))
	default:
		if alias, ok := aliases[k.Plural]; ok && k.Group == "" {
			used[alias] = one()
		}
	}
	return used
}

// Matches says whether the quota is about obj: by its scopes, and by a name that is limited.
func Matches(q *corev1.ResourceQuota, k *resource.Kind, obj resource.Object) bool {
	if len(Names(k, slices.Collect(maps.Keys(q.Status.Hard)))) == 0 {
		return false
	}
	return inScope(q, obj)
}

func inScope(q *corev1.ResourceQuota, obj resource.Object) bool {
	for _, s := range q.Spec.Scopes {
		if !matchesScope(corev1.ScopedResourceSelectorRequirement{ScopeName: s, Operator: corev1.ScopeSelectorOpExists}, obj) {
			return false
		}
	}
	if q.Spec.ScopeSelector == nil {
		return true
	}
	for _, s := range q.Spec.ScopeSelector.MatchExpressions {
		if !matchesScope(s, obj) {
			return false
		}
	}
	return true
}

// matchesScope says whether obj is in a scope; scopes are about pods, one is about claims.
func matchesScope(s corev1.ScopedResourceSelectorRequirement, obj resource.Object) bool {
	switch o := obj.(type) {
	case *corev1.Pod:
		return podInScope(s, o)
	case *corev1.PersistentVolumeClaim:
		return s.ScopeName == corev1.ResourceQuotaScopeVolumeAttributesClass && selects(s, attributesClasses(o)...)
	}
	return false
}

// selects says whether one of the values fits; no value at all fits what asks for absence.
func selects(s corev1.ScopedResourceSelectorRequirement, values ...string) bool {
	switch s.Operator {
	case corev1.ScopeSelectorOpExists:
		return len(values) > 0
	case corev1.ScopeSelectorOpDoesNotExist:
		return len(values) == 0
	case corev1.ScopeSelectorOpIn:
		return slices.ContainsFunc(values, func(v string) bool { return slices.Contains(s.Values, v) })
	case corev1.ScopeSelectorOpNotIn:
		return len(values) == 0 || slices.ContainsFunc(values, func(v string) bool { return !slices.Contains(s.Values, v) })
	}
	return false
}

var serviceResources = []corev1.ResourceName{corev1.ResourceServices, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers}

func serviceUsage(s *corev1.Service) corev1.ResourceList {
	used := corev1.ResourceList{corev1.ResourceServices: one(), corev1.ResourceServicesNodePorts: number(0), corev1.ResourceServicesLoadBalancers: number(0)}
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		used[corev1.ResourceServicesNodePorts] = number(len(s.Spec.Ports))
	case corev1.ServiceTypeLoadBalancer:
		ports := len(s.Spec.Ports)
		if allocate := s.Spec.AllocateLoadBalancerNodePorts; allocate != nil && !*allocate {
			ports = len(slices.DeleteFunc(slices.Clone(s.Spec.Ports), func(p corev1.ServicePort) bool { return p.NodePort == 0 }))
		}
		used[corev1.ResourceServicesNodePorts], used[corev1.ResourceServicesLoadBalancers] = number(ports), one()
	}
	return used
}

// classSuffix ends the name of a storage class in the name of what claims of it use.
const classSuffix = ".storageclass.storage.k8s.io/"

func usedByClaims(name corev1.ResourceName) bool {
	if _, plain, ok := strings.Cut(string(name), classSuffix); ok {
		name = corev1.ResourceName(plain)
	}
	return name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage
}

func claimUsage(c *corev1.PersistentVolumeClaim) corev1.ResourceList {
	used := corev1.ResourceList{corev1.ResourcePersistentVolumeClaims: one()}
	if size, ok := claimSize(c); ok {
		used[corev1.ResourceRequestsStorage] = size
	}
	class := c.Annotations[corev1.BetaStorageClassAnnotation]
	if _, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; !ok && c.Spec.StorageClassName != nil {
		class = *c.Spec.StorageClassName
	}
	if class == "" {
		return used
	}
	for name, q := range maps.Clone(used) {
		used[corev1.ResourceName(class+classSuffix+string(name))] = q
	}
	return used
}

// claimSize is what a claim asks for, or has, in whole bytes.
func claimSize(c *corev1.PersistentVolumeClaim) (quantity.Quantity, bool) {
	size, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return size, false
	}
	if has, ok := c.Status.AllocatedResources[corev1.ResourceStorage]; ok && has.Cmp(size) > 0 {
		size = has
	}
	size = size.DeepCopy()
	size.RoundUp(0)
	return size, true
}

func attributesClasses(c *corev1.PersistentVolumeClaim) []string {
	var names []string
	for _, name := range []*string{c.Spec.VolumeAttributesClassName, c.Status.CurrentVolumeAttributesClassName} {
		if name != nil && *name != "" {
			names = append(names, *name)
		}
	}
	if m := c.Status.ModifyVolumeStatus; m != nil && m.TargetVolumeAttributesClassName != "" {
		names = append(names, m.TargetVolumeAttributesClassName)
	}
	return names
}

func number(n int) quantity.Quantity { return *quantity.NewQuantity(int64(n), quantity.DecimalSI) }
func one() quantity.Quantity         { return number(1) }

// add adds what is used to into.
func add(into, used corev1.ResourceList) {
	for name, q := range used {
		sum, ok := into[name]
		if !ok {
			into[name] = q.DeepCopy()
			continue
		}
		sum = sum.DeepCopy()
		sum.Add(q)
		into[name] = sum
	}
}
