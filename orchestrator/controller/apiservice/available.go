package apiservice

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// How often a server is asked that nothing has been heard of: always when it answers, and as long after the last time as it
// has failed already when it does not.
const (
	every      = 30 * time.Second
	firstAgain = time.Second
)

// NewAvailability returns the controller of the condition Available of APIServices with a Service. check asks the server.
// Its keys are their names.
func NewAvailability(s *state.State, check func(context.Context, *apiService) error) controller.Controller {
	c := &availability{state: s, check: check}
	kind, _ := s.Kinds().For(&apiService{})
	return controller.Controller{
		Name: "apiservice-status-available",
		Sources: []controller.Source{
			controller.OnEvents(kind, changed),
			controller.On(func(s *corev1.Service) []controller.Key { return c.by(s.Namespace, s.Name) }),
			controller.On(func(e *discoveryv1.EndpointSlice) []controller.Key {
				return c.by(e.Namespace, e.Labels[discoveryv1.LabelServiceName])
			}),
		},
		Reconcile: c.reconcile,
	}
}

// changed leaves out what is written here: a message that is never the same would have the server asked for ever.
func changed(e state.Event) []controller.Key {
	if e.Entry == nil {
		return nil
	}
	now := e.Entry.Object().(*apiService)
	if e.Prev != nil {
		before := e.Prev.Object().(*apiService)
		if before.UID == now.UID && equality.Semantic.DeepEqual(before.Spec, now.Spec) && len(now.Status.Conditions) > 0 {
			return nil
		}
	}
	return controller.Self(now)
}

type availability struct {
	state *state.State
	check func(context.Context, *apiService) error
}

// by are the APIServices that a Service answers for.
func (c *availability) by(namespace, name string) (keys []controller.Key) {
	for _, s := range state.List[*apiService](c.state, state.Selector{}) {
		if s.Spec.Service != nil && s.Spec.Service.Namespace == namespace && s.Spec.Service.Name == name {
			keys = append(keys, controller.Self(s)...)
		}
	}
	return keys
}

func (c *availability) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	s, ok := state.Get[*apiService](c.state, "", key.Name)
	if !ok {
		return 0, nil
	}
	want := s.DeepCopy()
	if s.Spec.Service == nil {
		resource.SetAPIServiceCondition(want, apiregistrationv1.ConditionTrue, "Local", "Local APIServices are always available")
		return 0, c.write(ctx, s, want)
	}
	again := every
	switch reason, message := c.obstacle(s); {
	case reason != "":
		resource.SetAPIServiceCondition(want, apiregistrationv1.ConditionFalse, reason, message)
		again = 0 // what it lacks wakes us when it comes
	default:
		if err := c.check(ctx, s); err != nil {
			if ctx.Err() != nil {
				return 0, nil
			}
			resource.SetAPIServiceCondition(want, apiregistrationv1.ConditionFalse, "FailedDiscoveryCheck", err.Error())
			failing := time.Since(resource.AvailableCondition(want).LastTransitionTime.Time)
			again = min(max(failing, firstAgain), every)
		} else {
			resource.SetAPIServiceCondition(want, apiregistrationv1.ConditionTrue, "Passed", "all checks passed")
		}
	}
	return again, c.write(ctx, s, want)
}

// obstacle is why nobody need be asked; "": nothing.
func (c *availability) obstacle(s *apiService) (reason, message string) {
	ref := s.Spec.Service
	service, ok := state.Get[*corev1.Service](c.state, ref.Namespace, ref.Name)
	if !ok {
		return "ServiceNotFound", fmt.Sprintf("service/%s in %q is not present", ref.Name, ref.Namespace)
	}
	if service.Spec.Type != corev1.ServiceTypeClusterIP {
		return "", ""
	}
	port := int32(443)
	if ref.Port != nil {
		port = *ref.Port
	}
	i := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == port })
	if i < 0 {
		return "ServicePortError", fmt.Sprintf("service/%s in %q is not listening on port %d", ref.Name, ref.Namespace, port)
	}
	of := labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: ref.Name})
	all := state.List[*discoveryv1.EndpointSlice](c.state, state.Selector{Namespace: ref.Namespace, Labels: of})
	portName := service.Spec.Ports[i].Name
	switch {
	case len(all) == 0:
		return "EndpointsNotFound", fmt.Sprintf("cannot find endpointslices for service/%s in %q", ref.Name, ref.Namespace)
	case !slices.ContainsFunc(all, func(e *discoveryv1.EndpointSlice) bool { return serves(e, portName) }):
		return "MissingEndpoints", fmt.Sprintf("endpointslices for service/%s in %q have no addresses with port name %q", ref.Name, ref.Namespace, portName)
	}
	return "", ""
}

// serves says that there is a ready endpoint with a port of that name.
func serves(slice *discoveryv1.EndpointSlice, port string) bool {
	return slices.ContainsFunc(slice.Endpoints, func(e discoveryv1.Endpoint) bool { return e.Conditions.Ready == nil || *e.Conditions.Ready }) &&
		slices.ContainsFunc(slice.Ports, func(p discoveryv1.EndpointPort) bool {
			return p.Port != nil && (p.Name == nil && port == "" || p.Name != nil && *p.Name == port)
		})
}

func (c *availability) write(ctx context.Context, have, want *apiService) error {
	if equality.Semantic.DeepEqual(have.Status, want.Status) {
		return nil
	}
	_, err := state.UpdateStatus(ctx, c.state, "", have.Name, func(live *apiService) error {
		if live.UID != have.UID || !equality.Semantic.DeepEqual(live.Spec, have.Spec) {
			return apierrors.NewConflict(schema.GroupResource{Group: apiregistrationv1.GroupName, Resource: "apiservices"}, have.Name, fmt.Errorf("it has changed"))
		}
		live.Status = want.Status
		return nil
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // the change wakes us
	}
	if err != nil {
		return fmt.Errorf("updating the status of %s: %w", have.Name, err)
	}
	return nil
}
