// Package replicaset keeps as many pods of a ReplicaSet, or of a ReplicationController, as it asks for.
package replicaset

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

// parallel is how many pods are created or deleted at once: their commits share an fsync.
const parallel = 64

// burst bounds the pods created or deleted in one go, as Kubernetes' BurstReplicas.
const burst = 500

// New returns the controller of ReplicaSets.
func New(s *state.State, events controller.Events) controller.Controller {
	return newController(s, events, controller.On(controller.Self[*appsv1.ReplicaSet]), replicaSetsOf(s))
}

func newController(s *state.State, events controller.Events, own controller.Source, k kind) controller.Controller {
	c := &replicaSets{s, controller.PodControl{State: s, Events: events}, k}
	return controller.Controller{
		Name:      strings.ToLower(k.Kind),
		Sources:   []controller.Source{own, controller.On(c.keysOfPod)},
		Reconcile: c.reconcile,
	}
}

// kind is one of the two kinds that ask for a number of pods, read as ReplicaSets.
type kind struct {
	schema.GroupVersionKind
	terminating bool // pods that are on their way out are told in the status
	get         func(namespace, name string) (*appsv1.ReplicaSet, bool)
	list        func(namespace string) []*appsv1.ReplicaSet
	// write stores the status, unless the object is another one by now.
	write func(ctx context.Context, rs *appsv1.ReplicaSet, status appsv1.ReplicaSetStatus) error
}

func replicaSetsOf(s *state.State) kind {
	return kind{
		GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), terminating: true,
		get: func(namespace, name string) (*appsv1.ReplicaSet, bool) {
			return state.Get[*appsv1.ReplicaSet](s, namespace, name)
		},
		list: func(namespace string) []*appsv1.ReplicaSet {
			return state.List[*appsv1.ReplicaSet](s, state.Selector{Namespace: namespace})
		},
		write: func(ctx context.Context, rs *appsv1.ReplicaSet, status appsv1.ReplicaSetStatus) error {
			_, err := state.UpdateStatus(ctx, s, rs.Namespace, rs.Name, func(live *appsv1.ReplicaSet) error {
				if live.UID == rs.UID {
					live.Status = status
				}
				return nil
			})
			return err
		},
	}
}

type replicaSets struct {
	state *state.State
	pods  controller.PodControl
	kind  kind
}

func (c *replicaSets) ref(rs *appsv1.ReplicaSet) metav1.OwnerReference {
	return *metav1.NewControllerRef(rs, c.kind.GroupVersionKind)
}

// keysOfPod is the pod's ReplicaSet, or for an orphan all that could adopt it.
func (c *replicaSets) keysOfPod(p *corev1.Pod) []controller.Key {
	if metav1.GetControllerOfNoCopy(p) != nil {
		return controller.OwnerOf[*corev1.Pod](c.kind.Kind)(p)
	}
	if len(p.Labels) == 0 {
		return nil
	}
	var keys []controller.Key
	for _, rs := range c.kind.list(p.Namespace) {
		selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(p.Labels)) {
			keys = append(keys, controller.Self(rs)...)
		}
	}
	return keys
}

func (c *replicaSets) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	rs, ok := c.kind.get(key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil {
		return 0, fmt.Errorf("spec.selector: %w", err)
	}
	pods, err := controller.Claim[*corev1.Pod](ctx, c.state, rs, c.ref(rs), selector)
	if err != nil {
		return 0, err
	}
	var manageErr error
	if rs.DeletionTimestamp == nil {
		manageErr = c.manage(ctx, rs, active(pods))
	}
	again, err := c.updateStatus(ctx, rs, selector, manageErr)
	return again, errors.Join(manageErr, err)
}

func active(pods []*corev1.Pod) []*corev1.Pod {
	var found []*corev1.Pod
	for _, p := range pods {
		if controller.IsActive(p) {
			found = append(found, p)
		}
	}
	return found
}

// manage creates or deletes pods until there are as many as asked for.
func (c *replicaSets) manage(ctx context.Context, rs *appsv1.ReplicaSet, pods []*corev1.Pod) error {
	missing := int(*rs.Spec.Replicas) - len(pods)
	if missing > 0 {
		return c.create(ctx, rs, min(missing, burst))
	}
	controller.SortForDeletion(pods)
	return c.delete(ctx, rs, pods[:min(-missing, burst)])
}

// create makes n pods: first one, so that what is refused is refused once, then the rest at once.
func (c *replicaSets) create(ctx context.Context, rs *appsv1.ReplicaSet, n int) error {
	if err := c.createOne(ctx, rs); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for range n - 1 {
		group.Go(func() error { return c.createOne(ctx, rs) })
	}
	return group.Wait()
}

func (c *replicaSets) createOne(ctx context.Context, rs *appsv1.ReplicaSet) error {
	pod := controller.PodFrom(&rs.Spec.Template, rs.Namespace, c.ref(rs))
	pod.GenerateName = controller.GeneratePrefix(rs.Name)
	_, err := c.pods.Create(ctx, rs, pod)
	return err
}

func (c *replicaSets) delete(ctx context.Context, rs *appsv1.ReplicaSet, pods []*corev1.Pod) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, p := range pods {
		group.Go(func() error { return c.pods.Delete(ctx, rs, p) })
	}
	return group.Wait()
}
