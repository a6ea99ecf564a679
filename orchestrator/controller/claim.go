package controller

import (
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"wherry/orchestrator/state"
)

// Claim returns the objects of the owner's namespace that it controls, after it has adopted
// those that match the selector and nobody controls, and released those that it
// controls and that no longer match. An owner that is being deleted adopts nothing. What one of the
// further conditions is not true of does not match.
func Claim[T state.Object](ctx context.Context, s *state.State, owner state.Object, ref metav1.OwnerReference, selector labels.Selector, further ...func(T) bool) ([]T, error) {
	var mine []T
	for _, obj := range candidates[T](s, owner, selector) {
		controller := metav1.GetControllerOfNoCopy(obj)
		matches := selector.Matches(labels.Set(obj.GetLabels())) && !slices.ContainsFunc(further, func(is func(T) bool) bool { return !is(obj) })
		var err error
		switch {
		case controller != nil && controller.UID != owner.GetUID():
			continue
		case controller != nil && matches:
		case controller != nil:
			if owner.GetDeletionTimestamp() == nil {
				err = release[T](ctx, s, obj, owner)
			}
			if err != nil {
				return nil, err
			}
			continue
		case !matches || obj.GetDeletionTimestamp() != nil || owner.GetDeletionTimestamp() != nil:
			continue
		default:
			if obj, err = adopt[T](ctx, s, obj, ref); err != nil {
				return nil, err
			}
		}
		mine = append(mine, obj)
	}
	return mine, nil
}

// candidates are what the owner controls and what its selector matches, each once.
func candidates[T state.Object](s *state.State, owner state.Object, selector labels.Selector) []T {
	all := state.List[T](s, state.Selector{Namespace: owner.GetNamespace(), Owner: owner.GetUID()})
	for _, obj := range state.List[T](s, state.Selector{Namespace: owner.GetNamespace(), Labels: selector}) {
		if !metav1.IsControlledBy(obj, owner) {
			all = append(all, obj)
		}
	}
	return all
}

func adopt[T state.Object](ctx context.Context, s *state.State, obj T, ref metav1.OwnerReference) (T, error) {
	adopted, err := state.Update(ctx, s, obj.GetNamespace(), obj.GetName(), func(o T) error {
		if metav1.GetControllerOfNoCopy(o) == nil && o.GetUID() == obj.GetUID() {
			o.SetOwnerReferences(append(o.GetOwnerReferences(), ref))
		}
		return nil
	})
	if err != nil {
		return obj, fmt.Errorf("adopting %s: %w", obj.GetName(), err)
	}
	return adopted, nil
}

func release[T state.Object](ctx context.Context, s *state.State, obj T, owner state.Object) error {
	_, err := state.Update(ctx, s, obj.GetNamespace(), obj.GetName(), func(o T) error {
		o.SetOwnerReferences(slices.DeleteFunc(slices.Clone(o.GetOwnerReferences()), func(r metav1.OwnerReference) bool {
			return r.UID == owner.GetUID()
		}))
		return nil
	})
	if err != nil {
		return fmt.Errorf("releasing %s: %w", obj.GetName(), err)
	}
	return nil
}
