// Package namespace empties namespaces that are being deleted and then lets them go.
package namespace

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// retry is how long to wait for what does not go at once: pods in their grace period,
// objects with finalizers.
const retry = time.Second

// parallel is how many objects are deleted at once: their commits share an fsync.
const parallel = 64

// New returns the controller.
func New(s *state.State) controller.Controller {
	c := &namespaces{s}
	return controller.Controller{
		Name:      "namespace",
		Sources:   []controller.Source{controller.On(controller.Self[*corev1.Namespace])},
		Reconcile: c.reconcile,
	}
}

type namespaces struct{ state *state.State }

// remainder is what of one kind is still there.
type remainder struct {
	kind       *resource.Kind
	count      int
	finalizers map[string]int
}

func (c *namespaces) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	ns, ok := state.Get[*corev1.Namespace](c.state, "", key.Name)
	if !ok || ns.DeletionTimestamp == nil || !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return 0, nil
	}
	left, err := c.empty(ctx, ns.Name)
	if err != nil {
		return 0, err
	}
	if err := c.tell(ctx, ns, left); err != nil {
		return 0, err
	}
	if len(left) > 0 {
		return retry, nil
	}
	return 0, c.finalize(ctx, ns)
}

// empty deletes everything in the namespace and returns what does not go at once.
func (c *namespaces) empty(ctx context.Context, namespace string) ([]remainder, error) {
	var left []remainder
	for _, kind := range c.state.Kinds().Stored() {
		if !kind.Namespaced {
			continue
		}
		if err := c.deleteAll(ctx, kind, namespace); err != nil {
			return nil, err
		}
		page, err := c.list(ctx, kind, namespace)
		if err != nil {
			return nil, err
		}
		if len(page) > 0 {
			left = append(left, remaining(kind, page))
		}
	}
	return left, nil
}

func (c *namespaces) list(ctx context.Context, kind *resource.Kind, namespace string) ([]*state.Entry, error) {
	page, err := c.state.List(ctx, kind, state.ListOptions{Selector: state.Selector{Namespace: namespace}})
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", kind.Plural, err)
	}
	return page.Entries, nil
}

func (c *namespaces) deleteAll(ctx context.Context, kind *resource.Kind, namespace string) error {
	entries, err := c.list(ctx, kind, namespace)
	if err != nil {
		return err
	}
	background := metav1.DeletePropagationBackground
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, e := range entries {
		group.Go(func() error {
			_, _, err := c.state.Delete(ctx, kind, namespace, e.Name(), state.DeleteOptions{Propagation: &background})
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("deleting %s %s: %w", kind.Plural, e.Name(), err)
			}
			return nil
		})
	}
	return group.Wait()
}

func remaining(kind *resource.Kind, entries []*state.Entry) remainder {
	r := remainder{kind: kind, count: len(entries), finalizers: map[string]int{}}
	for _, e := range entries {
		for _, f := range e.Object().GetFinalizers() {
			r.finalizers[f]++
		}
	}
	return r
}

// tell keeps the conditions that say what a namespace still waits for.
func (c *namespaces) tell(ctx context.Context, ns *corev1.Namespace, left []remainder) error {
	var content, finalizers []string
	for _, r := range left {
		content = append(content, fmt.Sprintf("%s has %d resource instances", r.kind.GroupResource(), r.count))
		for f, n := range r.finalizers {
			finalizers = append(finalizers, fmt.Sprintf("%s in %d resource instances", f, n))
		}
	}
	slices.Sort(finalizers)
	want := []corev1.NamespaceCondition{
		condition(corev1.NamespaceContentRemaining, "SomeResourcesRemain", "Some resources are remaining: ", content, "ContentRemoved", "All content successfully removed"),
		condition(corev1.NamespaceFinalizersRemaining, "SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: ", finalizers, "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
	}
	if len(left) == 0 && len(ns.Status.Conditions) == 0 {
		return nil // it was empty: it goes without a word
	}
	_, err := state.UpdateStatus(ctx, c.state, "", ns.Name, func(live *corev1.Namespace) error {
		if live.UID == ns.UID {
			live.Status.Conditions = merge(live.Status.Conditions, want)
		}
		return nil
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func condition(kind corev1.NamespaceConditionType, reason, prefix string, what []string, none, noneMessage string) corev1.NamespaceCondition {
	c := corev1.NamespaceCondition{Type: kind, Status: corev1.ConditionFalse, Reason: none, Message: noneMessage}
	if len(what) > 0 {
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, reason, prefix+strings.Join(what, ", ")
	}
	return c
}

// merge takes over what has changed; a condition that says the same keeps its time.
func merge(have, want []corev1.NamespaceCondition) []corev1.NamespaceCondition {
	for i := range want {
		want[i].LastTransitionTime = metav1.NewTime(time.Now().Truncate(time.Second))
		for _, h := range have {
			same := h
			same.LastTransitionTime = want[i].LastTransitionTime
			if equality.Semantic.DeepEqual(same, want[i]) {
				want[i] = h
			}
		}
	}
	return want
}

// finalize removes our finalizer: the namespace goes if it was the last one.
func (c *namespaces) finalize(ctx context.Context, ns *corev1.Namespace) error {
	kind, _ := c.state.Kinds().For(ns)
	_, _, err := c.state.Update(ctx, kind, "", ns.Name, func(obj state.Object) (state.Object, error) {
		live := obj.(*corev1.Namespace)
		live.Spec.Finalizers = slices.DeleteFunc(live.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
		return live, nil
	}, state.UpdateOptions{Subresource: "finalize", Preconditions: &metav1.Preconditions{UID: &ns.UID}})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
