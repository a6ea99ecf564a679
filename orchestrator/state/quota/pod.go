package quota

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Prefixes of names.
const (
	requests  = corev1.DefaultResourceRequestsPrefix // requests.
	hugePages = corev1.ResourceHugePagesPrefix       // hugepages-
)

var podResources = []corev1.ResourceName{
	corev1.ResourcePods,
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
	corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
}

func usedByPods(name corev1.ResourceName) bool {
	text := string(name)
	return slices.Contains(podResources, name) || strings.HasPrefix(text, hugePages) ||
		strings.HasPrefix(text, requests) && (strings.HasPrefix(text[len(requests):], hugePages) || extended(text))
}

// extended says whether the name is that of a device or the like, which no Kubernetes knows.
func extended(name string) bool {
	return strings.Contains(name, "/") && (!strings.Contains(name, "kubernetes.io/") || strings.Contains(name, "deviceclass.resource.kubernetes.io/"))
}

// charged says whether the pod uses anything but its place in the store: it has not ended, and is not
// overdue to go.
func charged(p *corev1.Pod, now time.Time) bool {
	if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return false
	}
	if p.DeletionTimestamp == nil || p.DeletionGracePeriodSeconds == nil {
		return true
	}
	return !now.After(p.DeletionTimestamp.Add(time.Duration(*p.DeletionGracePeriodSeconds) * time.Second))
}

func podUsage(p *corev1.Pod, now time.Time) corev1.ResourceList {
	if !charged(p, now) {
		return nil
	}
	o := resourcehelper.PodResourcesOptions{UseStatusResources: true}
	return computeUsage(resourcehelper.PodRequests(p, o), resourcehelper.PodLimits(p, o))
}

// computeUsage is a pod of these requests and limits by the names that quotas give them.
func computeUsage(asked, limits corev1.ResourceList) corev1.ResourceList {
	used := corev1.ResourceList{corev1.ResourcePods: one()}
	for name, q := range asked {
		switch {
		case name == corev1.ResourceCPU, name == corev1.ResourceMemory, name == corev1.ResourceEphemeralStorage, strings.HasPrefix(string(name), hugePages):
			used[name], used[requests+name] = q, q
		case extended(string(name)):
			used[requests+name] = q
		}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if q, ok := limits[name]; ok {
			used["limits."+name] = q
		}
	}
	return used
}

// mandatory are resources that every container must say something about if a quota limits them.
var mandatory = []corev1.ResourceName{
	corev1.ResourceCPU, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceMemory,
	corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
}

// Missing is, in order, what the quota's names make mandatory and which containers of the pod
// say nothing about it: "limits.cpu for: c1,c2".
func Missing(p *corev1.Pod, limited []corev1.ResourceName) []string {
	if resourcehelper.IsPodLevelResourcesSet(p) {
		return nil
	}
	var texts []string
	for _, name := range mandatory {
		if !slices.Contains(limited, name) {
			continue
		}
		var silent []string
		for _, c := range slices.Concat(p.Spec.Containers, p.Spec.InitContainers) {
			if _, ok := computeUsage(c.Resources.Requests, c.Resources.Limits)[name]; !ok {
				silent = append(silent, c.Name)
			}
		}
		if len(silent) > 0 {
			slices.Sort(silent)
			texts = append(texts, string(name)+" for: "+strings.Join(silent, ","))
		}
	}
	return texts
}

func podInScope(s corev1.ScopedResourceSelectorRequirement, p *corev1.Pod) bool {
	switch s.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return Terminating(p)
	case corev1.ResourceQuotaScopeNotTerminating:
		return !Terminating(p)
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort(p)
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort(p)
	case corev1.ResourceQuotaScopePriorityClass:
		if p.Spec.PriorityClassName == "" {
			return selects(s)
		}
		return selects(s, p.Spec.PriorityClassName)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return crossesNamespaces(p.Spec.Affinity)
	}
	return false
}

// Terminating says, as a quota's scope does, that the pod has a deadline.
func Terminating(p *corev1.Pod) bool {
	return p.Spec.ActiveDeadlineSeconds != nil && *p.Spec.ActiveDeadlineSeconds >= 0
}

func bestEffort(p *corev1.Pod) bool {
	if p.Status.QOSClass != "" {
		return p.Status.QOSClass == corev1.PodQOSBestEffort
	}
	silent := func(r corev1.ResourceRequirements) bool {
		for _, list := range []corev1.ResourceList{r.Requests, r.Limits} {
			if !list.Cpu().IsZero() || !list.Memory().IsZero() {
				return false
			}
		}
		return true
	}
	if p.Spec.Resources != nil && !silent(*p.Spec.Resources) {
		return false
	}
	return !slices.ContainsFunc(slices.Concat(p.Spec.Containers, p.Spec.InitContainers), func(c corev1.Container) bool { return !silent(c.Resources) })
}

// crossesNamespaces says whether where a pod may be depends on pods of other namespaces.
func crossesNamespaces(a *corev1.Affinity) bool {
	if a == nil {
		return false
	}
	var terms []corev1.PodAffinityTerm
	weighted := func(all []corev1.WeightedPodAffinityTerm) {
		for _, w := range all {
			terms = append(terms, w.PodAffinityTerm)
		}
	}
	if p := a.PodAffinity; p != nil {
		terms = append(terms, p.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted(p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		terms = append(terms, p.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted(p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool { return len(t.Namespaces) > 0 || t.NamespaceSelector != nil })
}
