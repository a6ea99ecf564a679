package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/state"
	"wherry/orchestrator/state/quota"
)

// ResourceQuota lets nobody use more of a namespace than its quotas allow. What an object
// adds is noted on the quotas in the commit that writes the object, so that nothing can come between.
// What is given back controller/resourcequota notes.
type ResourceQuota struct{}

// Validate implements Validating.
func (ResourceQuota) Validate(ctx context.Context, a *state.Attributes) error {
	if !quota.Counted(a.Kind) || !counts(a) || !hasQuotas(a) {
		return nil
	}
	if !a.DryRun {
		if err := a.InTurn(ctx, "resourcequota/"+a.Namespace); err != nil {
			return err
		}
	}
	for _, q := range state.List[*corev1.ResourceQuota](a.Reader, state.Selector{Namespace: a.Namespace}) {
		used, err := charge(a, q)
		if err != nil {
			return err
		}
		if used == nil || a.DryRun {
			continue
		}
		noted := q.DeepCopy()
		noted.Status.Used = used
		if err := a.Beside(noted); err != nil {
			return err
		}
	}
	return nil
}

func hasQuotas(a *state.Attributes) bool {
	return len(state.List[*corev1.ResourceQuota](a.Reader, state.Selector{Namespace: a.Namespace})) > 0
}

// counts says whether the write can use more than before.
func counts(a *state.Attributes) bool {
	if a.Object == nil {
		return false
	}
	updates := a.Operation == state.OpUpdate
	switch obj := a.Object.(type) {
	case *corev1.Pod:
		switch {
		case updates && a.Subresource == "resize":
			return true
		case updates:
			return a.Subresource == "" && quota.Terminating(obj) != quota.Terminating(a.Old.(*corev1.Pod))
		}
	case *corev1.Service:
		updates = updates && a.Subresource == ""
	case *corev1.PersistentVolumeClaim:
		updates = updates && (a.Subresource == "" || a.Subresource == "status")
	default:
		updates = false
	}
	return updates || a.Operation == state.OpCreate && a.Subresource == ""
}

// charge is what would be used of the quota after the write, nil if that does not change. Errors: the quota does
// not allow it.
func charge(a *state.Attributes, q *corev1.ResourceQuota) (corev1.ResourceList, error) {
	if !quota.Matches(q, a.Kind, a.Object) {
		return nil, nil
	}
	limited := quota.Names(a.Kind, slices.Sorted(maps.Keys(q.Status.Hard)))
	if pod, ok := a.Object.(*corev1.Pod); ok {
		if missing := quota.Missing(pod, limited); len(missing) > 0 {
			return nil, forbidden(a, fmt.Errorf("failed quota: %s: must specify %s", q.Name, strings.Join(missing, "; ")))
		}
	}
	if unknown := slices.DeleteFunc(slices.Clone(limited), func(n corev1.ResourceName) bool { _, ok := q.Status.Used[n]; return ok }); len(unknown) > 0 {
		return nil, forbidden(a, fmt.Errorf("status unknown for quota: %s, resources: %s", q.Name, list(limited)))
	}
	now := time.Now()
	usage := quota.Usage(a.Kind, a.Object, now)
	if negative := slices.DeleteFunc(slices.Sorted(maps.Keys(usage)), func(n corev1.ResourceName) bool { v := usage[n]; return v.Sign() >= 0 }); len(negative) > 0 {
		return nil, forbidden(a, fmt.Errorf("quota usage is negative for resource(s): %s", list(negative)))
	}
	var before corev1.ResourceList
	if a.Operation == state.OpUpdate && quota.Matches(q, a.Kind, a.Old) {
		before = quota.Usage(a.Kind, a.Old, now)
	}
	more := quota.Mask(quota.More(usage, before), limited)
	if len(more) == 0 {
		return nil, nil
	}
	used := quota.Add(q.Status.Used, more)
	if a.Subresource == "status" {
		return used, nil
	}
	exceeded := slices.DeleteFunc(slices.Sorted(maps.Keys(more)), func(n corev1.ResourceName) bool {
		after, most := used[n], q.Status.Hard[n]
		return after.Cmp(most) <= 0
	})
	if len(exceeded) > 0 {
		return nil, forbidden(a, fmt.Errorf("exceeded quota: %s, requested: %s, used: %s, limited: %s",
			q.Name, amounts(more, exceeded), amounts(q.Status.Used, exceeded), amounts(q.Status.Hard, exceeded)))
	}
	return used, nil
}

// list and amounts are how refusals show names and quantities.
func list(names []corev1.ResourceName) string {
	var texts []string
	for _, n := range names {
		texts = append(texts, string(n))
	}
	slices.Sort(texts)
	return strings.Join(texts, ",")
}

func amounts(all corev1.ResourceList, names []corev1.ResourceName) string {
	var texts []string
	for _, n := range names {
		q := all[n]
		texts = append(texts, string(n)+"="+q.String())
	}
	return strings.Join(texts, ",")
}
