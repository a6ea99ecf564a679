// Package apiservice keeps APIServices: those of the groups and versions that the control plane answers itself, and the
// condition Available of those that aggregated servers answer.
package apiservice

import (
	"context"
	"fmt"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

type apiService = apiregistrationv1.APIService

// Automanaged marks what is made and removed here. Values are Kubernetes': built-in groups and custom ones.
const (
	Automanaged = "kube-aggregator.kubernetes.io/automanaged"
	onStart     = "onstart"
	always      = "true"
)

// NewLocal returns the controller of local APIServices: one for each group and version of the registry's kinds and of
// others that the apiserver answers. Its keys are their names. Where a user has put a Service, his word counts, and his
// object is left alone; when he deletes it, the local one is there again.
func NewLocal(s *state.State, others ...schema.GroupVersion) controller.Controller {
	c := &local{state: s, others: others}
	var start []controller.Key
	for name := range c.served() {
		start = append(start, controller.Key{Name: name})
	}
	return controller.Controller{
		Name: "apiservice-registration",
		Sources: []controller.Source{
			controller.On(controller.Self[*apiService]),
			controller.On(func(d *apiextensionsv1.CustomResourceDefinition) (keys []controller.Key) {
				for _, v := range d.Spec.Versions {
					gv := schema.GroupVersion{Group: d.Spec.Group, Version: v.Name}
					keys = append(keys, controller.Key{Name: resource.APIServiceName(gv)})
				}
				return keys
			}),
		},
		Start:     start,
		Reconcile: c.reconcile,
	}
}

type local struct {
	state  *state.State
	others []schema.GroupVersion
}

// served is what should be there, by name.
func (c *local) served() map[string]*apiService {
	all := map[string]*apiService{}
	add := func(gv schema.GroupVersion, mark string) {
		if gv.Group == apiregistrationv1.GroupName {
			return // it is not registered with itself
		}
		group, version := resource.APIServicePriority(gv)
		name := resource.APIServiceName(gv)
		all[name] = &apiService{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{Automanaged: mark}},
			Spec:       apiregistrationv1.APIServiceSpec{Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: group, VersionPriority: version},
		}
	}
	for _, k := range c.state.Kinds().All() {
		mark := onStart
		if k.Custom != nil {
			mark = always
		}
		add(k.GroupVersion(), mark)
	}
	for _, gv := range c.others {
		add(gv, onStart)
	}
	return all
}

func (c *local) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	want := c.served()[key.Name]
	have, ok := state.Get[*apiService](c.state, "", key.Name)
	var err error
	switch {
	case !ok && want == nil:
	case !ok:
		_, err = state.Create(ctx, c.state, want)
	case have.Labels[Automanaged] == "":
		// a user's
	case have.Spec.Service != nil || want != nil:
		err = c.settle(ctx, have, want)
	default:
		err = state.Delete[*apiService](ctx, c.state, "", key.Name, state.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &have.UID}})
	}
	if apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return 0, nil // the change wakes us
	}
	if err != nil {
		return 0, fmt.Errorf("registering %s: %w", key.Name, err)
	}
	return 0, nil
}

// settle brings what is marked as ours to what it should be, or takes away the mark from what is a user's now.
func (c *local) settle(ctx context.Context, have, want *apiService) error {
	done := func(s *apiService) bool {
		return s.Spec.Service == nil && s.Labels[Automanaged] == want.Labels[Automanaged] && s.Spec.GroupPriorityMinimum == want.Spec.GroupPriorityMinimum &&
			s.Spec.VersionPriority == want.Spec.VersionPriority && s.Spec.Group == want.Spec.Group && s.Spec.Version == want.Spec.Version
	}
	if want != nil && done(have) {
		return nil
	}
	_, err := state.Update(ctx, c.state, "", have.Name, func(live *apiService) error {
		switch {
		case live.Spec.Service != nil:
			delete(live.Labels, Automanaged)
		case want != nil && live.Labels[Automanaged] != "":
			live.Spec, live.Labels[Automanaged] = want.Spec, want.Labels[Automanaged]
		}
		return nil
	})
	return err
}
