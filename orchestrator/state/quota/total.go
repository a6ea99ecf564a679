package quota

import (
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/state"
)

// Total is what all objects of the quota's namespace together use of the names that its spec
// limits, zeros too. It sees at least every object of the state when it is called.
func Total(ctx context.Context, s *state.State, q *corev1.ResourceQuota) (corev1.ResourceList, error) {
	limited := slices.Collect(maps.Keys(q.Spec.Hard))
	used := corev1.ResourceList{}
	for _, name := range limited {
		used[name] = number(0)
	}
	for _, k := range s.Kinds().Stored() {
		names := Names(k, limited)
		if !Counted(k) || len(names) == 0 {
			continue
		}
		page, err := s.List(ctx, k, state.ListOptions{Selector: state.Selector{Namespace: q.Namespace}})
		if err != nil {
			return nil, err
		}
		if len(names) == 1 && names[0] == CountName(k) && len(q.Spec.Scopes) == 0 && q.Spec.ScopeSelector == nil {
			used[names[0]] = number(len(page.Entries)) // no need to read them
			continue
		}
		now := time.Now()
		for _, e := range page.Entries {
			if obj := e.Object(); inScope(q, obj) {
				add(used, Mask(Usage(k, obj, now), names))
			}
		}
	}
	return used, nil
}

// Mask keeps what is named.
func Mask(list corev1.ResourceList, names []corev1.ResourceName) corev1.ResourceList {
	kept := corev1.ResourceList{}
	for _, name := range names {
		if q, ok := list[name]; ok {
			kept[name] = q
		}
	}
	return kept
}

// Add is the sum of two lists.
func Add(a, b corev1.ResourceList) corev1.ResourceList {
	sum := corev1.ResourceList{}
	add(sum, a)
	add(sum, b)
	return sum
}

// More is by how much now exceeds before, without what does not.
func More(now, before corev1.ResourceList) corev1.ResourceList {
	more := corev1.ResourceList{}
	for name, q := range now {
		q = q.DeepCopy()
		if was, ok := before[name]; ok {
			q.Sub(was)
		}
		if q.Sign() > 0 {
			more[name] = q
		}
	}
	return more
}
