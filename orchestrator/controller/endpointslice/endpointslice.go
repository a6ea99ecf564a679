// Package endpointslice keeps EndpointSlices, and the older Endpoints, of every Service with a
// selector: which addresses serve it, and whether they are ready.
//
// A Service has one slice per set of target ports and hundred endpoints. Named target
// ports may differ from pod to pod; pods with the same numbers share slices.
package endpointslice

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

// managedBy marks the slices that are ours (discovery.k8s.io/v1 LabelManagedBy).
const managedBy = "endpointslice-controller.k8s.io"

// New returns the controller.
func New(s *state.State) controller.Controller {
	c := &endpointSlices{s}
	return controller.Controller{
		Name: "endpointslice",
		Sources: []controller.Source{
			controller.On(controller.Self[*corev1.Service]),
			controller.On(c.keysOfPod),
			controller.On(keysOfSlice),
		},
		Reconcile: c.reconcile,
	}
}

type endpointSlices struct{ state *state.State }

func (c *endpointSlices) keysOfPod(p *corev1.Pod) []controller.Key {
	var keys []controller.Key
	for _, svc := range state.List[*corev1.Service](c.state, state.Selector{Namespace: p.Namespace}) {
		if len(svc.Spec.Selector) > 0 && labels.SelectorFromSet(svc.Spec.Selector).Matches(labels.Set(p.Labels)) {
			keys = append(keys, controller.Self(svc)...)
		}
	}
	return keys
}

func keysOfSlice(s *discoveryv1.EndpointSlice) []controller.Key {
	name := s.Labels[discoveryv1.LabelServiceName]
	if name == "" || s.Labels[discoveryv1.LabelManagedBy] != managedBy {
		return nil
	}
	return []controller.Key{{Namespace: s.Namespace, Name: name}}
}

func (c *endpointSlices) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	svc, ok := state.Get[*corev1.Service](c.state, key.Namespace, key.Name)
	if !ok || svc.DeletionTimestamp != nil {
		return 0, nil // the garbage collector removes what it owned
	}
	if svc.Spec.Selector == nil || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return 0, nil // its endpoints are somebody else's
	}
	pods := state.List[*corev1.Pod](c.state, state.Selector{Namespace: key.Namespace, Labels: labels.SelectorFromSet(svc.Spec.Selector)})
	return 0, errors.Join(c.putSlices(ctx, svc, desiredSlices(svc, pods)), c.putEndpoints(ctx, svc, desiredEndpoints(svc, pods)))
}

// putSlices makes the Service's slices those that are wanted: same ones are left, others
// changed, missing ones made, further ones removed.
func (c *endpointSlices) putSlices(ctx context.Context, svc *corev1.Service, want []*discoveryv1.EndpointSlice) error {
	have := state.List[*discoveryv1.EndpointSlice](c.state, state.Selector{Namespace: svc.Namespace, Labels: labels.SelectorFromSet(labels.Set{
		discoveryv1.LabelServiceName: svc.Name, discoveryv1.LabelManagedBy: managedBy})})
	pairs, spare := match(want, have)
	var errs []error
	for _, p := range pairs {
		errs = append(errs, c.putSlice(ctx, p.want, p.have))
	}
	for _, s := range spare {
		err := state.Delete[*discoveryv1.EndpointSlice](ctx, c.state, s.Namespace, s.Name, state.DeleteOptions{})
		if !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c *endpointSlices) putSlice(ctx context.Context, want, have *discoveryv1.EndpointSlice) error {
	if have == nil {
		_, err := state.Create(ctx, c.state, want)
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		return err
	}
	_, err := state.Update(ctx, c.state, have.Namespace, have.Name, func(live *discoveryv1.EndpointSlice) error {
		live.Endpoints, live.Ports, live.Labels = want.Endpoints, want.Ports, want.Labels
		live.OwnerReferences = want.OwnerReferences
		return nil
	})
	if apierrors.IsNotFound(err) {
		return nil // its deletion wakes us again
	}
	return err
}

func (c *endpointSlices) putEndpoints(ctx context.Context, svc *corev1.Service, want *corev1.Endpoints) error {
	if _, ok := state.Get[*corev1.Endpoints](c.state, svc.Namespace, svc.Name); !ok {
		_, err := state.Create(ctx, c.state, want)
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		return err
	}
	_, err := state.Update(ctx, c.state, want.Namespace, want.Name, func(live *corev1.Endpoints) error {
		live.Subsets, live.Labels = want.Subsets, want.Labels
		return nil
	})
	return err
}
