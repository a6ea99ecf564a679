// Package resourcequota keeps the status of ResourceQuotas: what they limit, and what is used of it.
// Admission notes what is taken, in the commit that takes it; here is found what was given back.
package resourcequota

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/state/quota"
)

// resync is how often a quota is counted though nothing seems to have happened: a pod may be overdue to go.
const resync = 5 * time.Minute

// New returns the controller.
func New(s *state.State) controller.Controller {
	c := &quotas{s}
	return controller.Controller{
		Name: "resourcequota", Reconcile: c.reconcile,
		Sources: []controller.Source{controller.On(controller.Self[*corev1.ResourceQuota])}, EveryKind: c.givenBack,
	}
}

type quotas struct{ state *state.State }

// givenBack names the quotas that a change of an object may have freed something of.
func (c *quotas) givenBack(k *resource.Kind, e state.Event) []controller.Key {
	if !quota.Counted(k) || e.Entry == nil || e.Type != state.Deleted && !c.shrunk(k, e) {
		return nil
	}
	var keys []controller.Key
	for _, q := range state.List[*corev1.ResourceQuota](c.state, state.Selector{Namespace: e.Entry.Namespace()}) {
		keys = append(keys, controller.Self(q)...)
	}
	return keys
}

// shrunk says whether an update made an object use less. Only of three kinds the objects differ in what they use.
func (c *quotas) shrunk(k *resource.Kind, e state.Event) bool {
	if e.Prev == nil || k.Group != "" || k.Plural != "pods" && k.Plural != "services" && k.Plural != "persistentvolumeclaims" {
		return false
	}
	if len(state.List[*corev1.ResourceQuota](c.state, state.Selector{Namespace: e.Entry.Namespace()})) == 0 {
		return false
	}
	now := time.Now()
	return len(quota.More(quota.Usage(k, e.Prev.Object(), now), quota.Usage(k, e.Entry.Object(), now))) > 0
}

func (c *quotas) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	if q, ok := state.Get[*corev1.ResourceQuota](c.state, key.Namespace, key.Name); !ok || q.DeletionTimestamp != nil {
		return 0, nil
	}
	_, err := state.UpdateStatus(ctx, c.state, key.Namespace, key.Name, func(live *corev1.ResourceQuota) error {
		// Whoever uses more writes the quota, too: what is counted here cannot be too little when this is committed.
		used, err := quota.Total(ctx, c.state, live)
		if err != nil {
			return err
		}
		status := corev1.ResourceQuotaStatus{Hard: live.Spec.Hard.DeepCopy(), Used: used}
		if !equality.Semantic.DeepEqual(status, live.Status) {
			live.Status = status
		}
		return nil
	})
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	return resync, err
}
