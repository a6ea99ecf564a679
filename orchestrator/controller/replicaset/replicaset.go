// Package replicaset keeps as many pods of a ReplicaSet as it asks for.
package replicaset

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

// parallel is how many pods are created or deleted at once: their commits share an fsync.
const parallel = 64

// burst bounds the pods created or deleted in one go, as Kubernetes' BurstReplicas.
const burst = 500

// New returns the controller.
func New(s *state.State, events controller.Events) controller.Controller {
	c := &replicaSets{s, events}
	return controller.Controller{
		Name: "replicaset",
		Sources: []controller.Source{
			controller.On(controller.Self[*appsv1.ReplicaSet]),
			controller.On(c.keysOfPod),
		},
		Reconcile: c.reconcile,
	}
}

type replicaSets struct {
	state  *state.State
	events controller.Events
}

// keysOfPod is the pod's ReplicaSet, or for an orphan all that could adopt it.
func (c *replicaSets) keysOfPod(p *corev1.Pod) []controller.Key {
	if metav1.GetControllerOfNoCopy(p) != nil {
		return controller.OwnerOf[*corev1.Pod]("ReplicaSet")(p)
	}
	if len(p.Labels) == 0 {
		return nil
	}
	var keys []controller.Key
	for _, rs := range state.List[*appsv1.ReplicaSet](c.state, state.Selector{Namespace: p.Namespace}) {
		selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(p.Labels)) {
			keys = append(keys, controller.Self(rs)...)
		}
	}
	return keys
}

func (c *replicaSets) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	rs, ok := state.Get[*appsv1.ReplicaSet](c.state, key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil {
		return 0, fmt.Errorf("spec.selector: %w", err)
	}
	ref := *metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
	pods, err := controller.Claim[*corev1.Pod](ctx, c.state, rs, ref, selector)
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
	pod, err := state.Create(ctx, c.state, podOf(rs))
	if err != nil {
		if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			c.events.Eventf(rs, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
		}
		return fmt.Errorf("creating a pod: %w", err)
	}
	c.events.Eventf(rs, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %s", pod.Name)
	return nil
}

func podOf(rs *appsv1.ReplicaSet) *corev1.Pod {
	template := rs.Spec.Template.DeepCopy()
	prefix := rs.Name + "-"
	if len(prefix) > 58 { // room for five random characters in a DNS label
		prefix = prefix[:58]
	}
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Name, pod.GenerateName, pod.Namespace = "", prefix, rs.Namespace
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))}
	return pod
}

func (c *replicaSets) delete(ctx context.Context, rs *appsv1.ReplicaSet, pods []*corev1.Pod) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, p := range pods {
		group.Go(func() error {
			err := state.Delete[*corev1.Pod](ctx, c.state, p.Namespace, p.Name, state.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}})
			switch {
			case apierrors.IsNotFound(err):
				return nil
			case err != nil:
				c.events.Eventf(rs, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
				return fmt.Errorf("deleting pod %s: %w", p.Name, err)
			}
			c.events.Eventf(rs, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %s", p.Name)
			return nil
		})
	}
	return group.Wait()
}
