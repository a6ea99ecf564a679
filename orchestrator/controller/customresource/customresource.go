// Package customresource accepts the names of CustomResourceDefinitions, says what there is to say of them in their
// conditions, and deletes the objects of those that are being deleted.
package customresource

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

type crd = apiextensionsv1.CustomResourceDefinition

const (
	// retry is how long to wait for objects that do not go at once: those with finalizers.
	retry = time.Second
	// parallel is how many objects are deleted at once: their commits share an fsync.
	parallel = 64
)

// New returns the controller. Its keys are groups: who may have a name is decided among all definitions of one.
func New(s *state.State) controller.Controller {
	c := &definitions{s}
	return controller.Controller{
		Name:      "customresource",
		Sources:   []controller.Source{controller.On(func(d *crd) []controller.Key { return []controller.Key{{Name: d.Spec.Group}} })},
		Reconcile: c.reconcile,
	}
}

type definitions struct{ state *state.State }

func (c *definitions) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	all := slices.DeleteFunc(state.List[*crd](c.state, state.Selector{}), func(d *crd) bool { return d.Spec.Group != key.Name })
	// Who came first keeps a name.
	slices.SortStableFunc(all, func(a, b *crd) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	var again time.Duration
	for i, d := range all {
		updated, err := c.update(ctx, d, all)
		if err != nil {
			return 0, err
		}
		all[i] = updated
		if updated.DeletionTimestamp == nil {
			continue
		}
		left, err := c.empty(ctx, updated)
		if err != nil {
			return 0, err
		}
		if left {
			again = retry
		}
	}
	return again, nil
}

// update brings the status of a definition to where it should be, and returns it as it then is.
func (c *definitions) update(ctx context.Context, d *crd, group []*crd) (*crd, error) {
	want := d.DeepCopy()
	decide(want, group)
	if equality.Semantic.DeepEqual(want.Status, d.Status) {
		return d, nil
	}
	updated, err := state.UpdateStatus(ctx, c.state, "", d.Name, func(live *crd) error {
		if live.UID != d.UID || live.ResourceVersion != d.ResourceVersion {
			return apierrors.NewConflict(schema.GroupResource{Group: apiextensionsv1.GroupName, Resource: "customresourcedefinitions"}, d.Name, fmt.Errorf("it has changed"))
		}
		live.Status = want.Status
		return nil
	})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return d, nil // the change wakes us
	case err != nil:
		return nil, fmt.Errorf("updating the status of %s: %w", d.Name, err)
	}
	return updated, nil
}

// empty deletes the objects of a definition that is being deleted, and lets it go when there are none. It says whether
// some are left.
func (c *definitions) empty(ctx context.Context, d *crd) (left bool, err error) {
	if !slices.Contains(d.Finalizers, resource.CRDCleanup) {
		return false, nil
	}
	if kind, ok := c.kind(d); ok {
		if left, err = c.deleteAll(ctx, kind); err != nil {
			tell(ctx, c.state, d, terminating(apiextensionsv1.ConditionTrue, "InstanceDeletionFailed", fmt.Sprintf("could not list instances: %v", err)))
			return false, err
		}
	}
	if left {
		tell(ctx, c.state, d, terminating(apiextensionsv1.ConditionTrue, "InstanceDeletionInProgress", "CustomResource deletion is in progress"))
		return true, nil
	}
	tell(ctx, c.state, d, terminating(apiextensionsv1.ConditionFalse, "InstanceDeletionCompleted", "removed all instances"))
	_, err = state.Update(ctx, c.state, "", d.Name, func(live *crd) error {
		if live.UID == d.UID {
			live.Finalizers = slices.DeleteFunc(slices.Clone(live.Finalizers), func(f string) bool { return f == resource.CRDCleanup })
		}
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("releasing %s: %w", d.Name, err)
	}
	return false, nil
}

// kind is what the definition defines, as it is stored.
func (c *definitions) kind(d *crd) (*resource.Kind, bool) {
	for _, k := range c.state.Kinds().Stored() {
		if k.Custom != nil && k.Group == d.Spec.Group && k.Plural == d.Spec.Names.Plural {
			return k, true
		}
	}
	return nil, false
}

func (c *definitions) deleteAll(ctx context.Context, kind *resource.Kind) (left bool, err error) {
	page, err := c.state.List(ctx, kind, state.ListOptions{})
	if err != nil {
		return false, err
	}
	group, below := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	background := metav1.DeletePropagationBackground
	for _, e := range page.Entries {
		group.Go(func() error {
			_, _, err := c.state.Delete(below, kind, e.Namespace(), e.Name(), state.DeleteOptions{Propagation: &background})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return false, fmt.Errorf("deleting %s: %w", kind.Plural, err)
	}
	page, err = c.state.List(ctx, kind, state.ListOptions{Limit: 1})
	return err == nil && len(page.Entries) > 0, err
}

// tell writes a condition; that the definition has gone meanwhile does not matter.
func tell(ctx context.Context, s *state.State, d *crd, cond apiextensionsv1.CustomResourceDefinitionCondition) {
	_, _ = state.UpdateStatus(ctx, s, "", d.Name, func(live *crd) error {
		if live.UID == d.UID {
			resource.SetCRDCondition(live, cond)
		}
		return nil
	})
}

func terminating(status apiextensionsv1.ConditionStatus, reason, message string) apiextensionsv1.CustomResourceDefinitionCondition {
	return apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.Terminating, Status: status, Reason: reason, Message: strings.TrimSpace(message)}
}
