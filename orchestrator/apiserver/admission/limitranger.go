package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	resourcehelper "k8s.io/component-helpers/resource"

	"wherry/orchestrator/state"
)

// LimitRanger gives containers what the namespace's LimitRanges have as defaults, and
// refuses pods and claims that are smaller or larger than they allow.
type LimitRanger struct{}

const limitRangerAnnotation = "kubernetes.io/limit-ranger"

// Admit implements Mutating.
func (LimitRanger) Admit(_ context.Context, a *state.Attributes) error {
	pod, ok := a.Object.(*corev1.Pod)
	if !ok || !limited(a) {
		return nil
	}
	for _, r := range state.List[*corev1.LimitRange](a.Reader, state.Selector{Namespace: a.Namespace}) {
		applyDefaults(pod, r)
	}
	return nil
}

// Validate implements Validating.
func (LimitRanger) Validate(_ context.Context, a *state.Attributes) error {
	if !limited(a) {
		return nil
	}
	for _, r := range state.List[*corev1.LimitRange](a.Reader, state.Selector{Namespace: a.Namespace}) {
		var errs []error
		for _, item := range r.Spec.Limits {
			errs = append(errs, checkLimits(&item, a.Object)...)
		}
		if err := utilerrors.NewAggregate(errs); err != nil {
			return forbidden(a, err)
		}
	}
	return nil
}

// limited says whether LimitRanges have a say. What a pod asks for changes by resize only.
func limited(a *state.Attributes) bool {
	if a.Old != nil && a.Old.GetDeletionTimestamp() != nil {
		return false
	}
	switch a.Object.(type) {
	case *corev1.Pod:
		return a.Operation == state.OpCreate && a.Subresource == "" || a.Operation == state.OpUpdate && a.Subresource == "resize"
	case *corev1.PersistentVolumeClaim:
		return a.Subresource == ""
	}
	return false
}

// applyDefaults completes the containers, and notes on the pod what it did.
func applyDefaults(pod *corev1.Pod, r *corev1.LimitRange) {
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	for _, item := range r.Spec.Limits {
		if item.Type == corev1.LimitTypeContainer {
			maps.Copy(requests, item.DefaultRequest)
			maps.Copy(limits, item.Default)
		}
	}
	var notes []string
	for i := range pod.Spec.Containers {
		notes = append(notes, complete(&pod.Spec.Containers[i], requests, limits, "container")...)
	}
	for i := range pod.Spec.InitContainers {
		notes = append(notes, complete(&pod.Spec.InitContainers[i], requests, limits, "init container")...)
	}
	if len(notes) == 0 {
		return
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[limitRangerAnnotation] = "LimitRanger plugin set: " + strings.Join(notes, "; ")
}

func complete(c *corev1.Container, requests, limits corev1.ResourceList, what string) []string {
	var notes []string
	if set := fillIn(&c.Resources.Requests, requests); len(set) > 0 {
		notes = append(notes, fmt.Sprintf("%s request for %s %s", strings.Join(set, ", "), what, c.Name))
	}
	if set := fillIn(&c.Resources.Limits, limits); len(set) > 0 {
		notes = append(notes, fmt.Sprintf("%s limit for %s %s", strings.Join(set, ", "), what, c.Name))
	}
	return notes
}

// fillIn adds what is missing, and returns its names in order.
func fillIn(into *corev1.ResourceList, defaults corev1.ResourceList) []string {
	var set []string
	for name, q := range defaults {
		if _, ok := (*into)[name]; ok {
			continue
		}
		if *into == nil {
			*into = corev1.ResourceList{}
		}
		(*into)[name] = q.DeepCopy()
		set = append(set, string(name))
	}
	slices.Sort(set)
	return set
}

// checkLimits says what of obj an item of a LimitRange does not allow.
func checkLimits(item *corev1.LimitRangeItem, obj state.Object) []error {
	if claim, ok := obj.(*corev1.PersistentVolumeClaim); ok {
		if item.Type != corev1.LimitTypePersistentVolumeClaim {
			return nil
		}
		return checkClaim(item, claim.Spec.Resources.Requests)
	}
	pod := obj.(*corev1.Pod)
	var errs []error
	switch item.Type {
	case corev1.LimitTypeContainer:
		for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
			errs = append(errs, checkRange(item, c.Resources.Requests, c.Resources.Limits)...)
		}
	case corev1.LimitTypePod:
		o := resourcehelper.PodResourcesOptions{ExcludeOverhead: true}
		errs = checkRange(item, resourcehelper.PodRequests(pod, o), resourcehelper.PodLimits(pod, o))
	}
	return errs
}

func checkRange(item *corev1.LimitRangeItem, requests, limits corev1.ResourceList) []error {
	var errs []error
	for name, q := range ordered(item.Min) {
		errs = append(errs, checkMin(item.Type, name, q, requests, limits))
	}
	for name, q := range ordered(item.Max) {
		errs = append(errs, checkMax(item.Type, name, q, requests, limits))
	}
	for name, q := range ordered(item.MaxLimitRequestRatio) {
		errs = append(errs, checkRatio(item.Type, name, q, requests, limits))
	}
	return errs
}

func checkClaim(item *corev1.LimitRangeItem, requests corev1.ResourceList) []error {
	var errs []error
	for name, q := range ordered(item.Min) {
		errs = append(errs, checkMin(item.Type, name, q, requests, nil))
	}
	for name, q := range ordered(item.Max) {
		switch r, ok := requests[name]; {
		case !ok:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s.  No request is specified", name, item.Type, q.String()))
		case r.Cmp(q) > 0:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, item.Type, q.String(), r.String()))
		}
	}
	return errs
}

func checkMin(kind corev1.LimitType, name corev1.ResourceName, least quantity.Quantity, requests, limits corev1.ResourceList) error {
	request, requested := requests[name]
	limit, limited := limits[name]
	switch {
	case !requested:
		return fmt.Errorf("minimum %s usage per %s is %s.  No request is specified", name, kind, least.String())
	case request.Cmp(least) < 0:
		return fmt.Errorf("minimum %s usage per %s is %s, but request is %s", name, kind, least.String(), request.String())
	case limited && limit.Cmp(least) < 0:
		return fmt.Errorf("minimum %s usage per %s is %s, but limit is %s", name, kind, least.String(), limit.String())
	}
	return nil
}

func checkMax(kind corev1.LimitType, name corev1.ResourceName, most quantity.Quantity, requests, limits corev1.ResourceList) error {
	request, requested := requests[name]
	limit, limited := limits[name]
	switch {
	case !limited:
		return fmt.Errorf("maximum %s usage per %s is %s.  No limit is specified", name, kind, most.String())
	case limit.Cmp(most) > 0:
		return fmt.Errorf("maximum %s usage per %s is %s, but limit is %s", name, kind, most.String(), limit.String())
	case requested && request.Cmp(most) > 0:
		return fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, kind, most.String(), request.String())
	}
	return nil
}

func checkRatio(kind corev1.LimitType, name corev1.ResourceName, most quantity.Quantity, requests, limits corev1.ResourceList) error {
	request, limit := requests[name], limits[name]
	switch {
	case request.IsZero():
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no request is specified or request is 0", name, kind, most.String())
	case limit.IsZero():
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no limit is specified or limit is 0", name, kind, most.String())
	}
	if ratio := limit.AsApproximateFloat64() / request.AsApproximateFloat64(); ratio > most.AsApproximateFloat64() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but provided ratio is %f", name, kind, most.String(), ratio)
	}
	return nil
}

// ordered goes over a list by name.
func ordered(list corev1.ResourceList) func(yield func(corev1.ResourceName, quantity.Quantity) bool) {
	return func(yield func(corev1.ResourceName, quantity.Quantity) bool) {
		for _, name := range slices.Sorted(maps.Keys(list)) {
			if !yield(name, list[name]) {
				return
			}
		}
	}
}
