// Package deployment rolls a Deployment's pod template out through ReplicaSets, as
// Kubernetes does. world.go reads what there is; plan.go and rolling.go are pure and
// decide; status.go words the outcome; this file carries it out.
package deployment

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

// New returns the controller.
func New(s *state.State, events controller.Events) controller.Controller {
	c := &deployments{s, events}
	return controller.Controller{
		Name: "deployment",
		Sources: []controller.Source{
			controller.On(controller.Self[*appsv1.Deployment]),
			controller.On(c.keysOfReplicaSet),
			controller.On(c.keysOfPod),
		},
		Reconcile: c.reconcile,
	}
}

type deployments struct {
	state  *state.State
	events controller.Events
}

func (c *deployments) keysOfReplicaSet(rs *appsv1.ReplicaSet) []controller.Key {
	if metav1.GetControllerOfNoCopy(rs) != nil {
		return controller.OwnerOf[*appsv1.ReplicaSet]("Deployment")(rs)
	}
	var keys []controller.Key
	for _, d := range state.List[*appsv1.Deployment](c.state, state.Selector{Namespace: rs.Namespace}) {
		selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(rs.Labels)) {
			keys = append(keys, controller.Self(d)...)
		}
	}
	return keys
}

// keysOfPod wakes Deployments that wait for the last old pod to go (strategy Recreate).
func (c *deployments) keysOfPod(p *corev1.Pod) []controller.Key {
	if ref := metav1.GetControllerOfNoCopy(p); ref != nil && ref.Kind == "ReplicaSet" && !controller.IsActive(p) {
		if rs, ok := state.Get[*appsv1.ReplicaSet](c.state, p.Namespace, ref.Name); ok {
			return controller.OwnerOf[*appsv1.ReplicaSet]("Deployment")(rs)
		}
	}
	return nil
}

func (c *deployments) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	d, ok := state.Get[*appsv1.Deployment](c.state, key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return 0, fmt.Errorf("spec.selector: %w", err)
	}
	if selector.Empty() {
		c.events.Eventf(d, corev1.EventTypeWarning, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
		return 0, nil
	}
	ref := *metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))
	sets, err := controller.Claim[*appsv1.ReplicaSet](ctx, c.state, d, ref, selector)
	if err != nil {
		return 0, err
	}
	w := observe(d, sets, c.podsOf(sets))
	var failed error
	if d.DeletionTimestamp == nil {
		failed = c.carryOut(ctx, w, decide(w))
	}
	again, err := c.updateStatus(ctx, d, selector, failed)
	return again, errors.Join(failed, err)
}

func (c *deployments) podsOf(sets []*appsv1.ReplicaSet) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, rs := range sets {
		pods = append(pods, state.List[*corev1.Pod](c.state, state.Selector{Namespace: rs.Namespace, Owner: rs.UID})...)
	}
	return pods
}

// carryOut does what was decided: first the Deployment's own annotation, then ReplicaSets.
func (c *deployments) carryOut(ctx context.Context, w *world, p plan) error {
	if p.revision != "" {
		if err := c.setRevision(ctx, w.deployment, p.revision); err != nil {
			return err
		}
	}
	if p.create != nil {
		if err := c.create(ctx, w.deployment, p.create); err != nil {
			return err
		}
	}
	for _, change := range p.changes {
		if err := c.change(ctx, w.deployment, change); err != nil {
			return err
		}
	}
	for _, rs := range p.remove {
		err := state.Delete[*appsv1.ReplicaSet](ctx, c.state, rs.Namespace, rs.Name, state.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &rs.UID}})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("removing old ReplicaSet %s: %w", rs.Name, err)
		}
	}
	return nil
}

func (c *deployments) setRevision(ctx context.Context, d *appsv1.Deployment, revision string) error {
	_, err := state.Update(ctx, c.state, d.Namespace, d.Name, func(live *appsv1.Deployment) error {
		if live.UID == d.UID {
			metav1.SetMetaDataAnnotation(&live.ObjectMeta, revisionAnnotation, revision)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("recording revision %s: %w", revision, err)
	}
	return nil
}

// create makes the new ReplicaSet. One that exists under its name with another template is
// a collision of hashes: the count is raised, and the next attempt takes another name.
func (c *deployments) create(ctx context.Context, d *appsv1.Deployment, rs *appsv1.ReplicaSet) error {
	_, err := state.Create(ctx, c.state, rs)
	switch {
	case err == nil:
		c.events.Eventf(d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled up replica set %s from 0 to %d", rs.Name, *rs.Spec.Replicas)
		return nil
	case !apierrors.IsAlreadyExists(err):
		c.events.Eventf(d, corev1.EventTypeWarning, "ReplicaSetCreateError", "Failed to create new replica set %q: %v", rs.Name, err)
		return fmt.Errorf("creating ReplicaSet %s: %w", rs.Name, err)
	}
	if live, ok := state.Get[*appsv1.ReplicaSet](c.state, rs.Namespace, rs.Name); ok && metav1.IsControlledBy(live, d) && sameTemplate(&live.Spec.Template, &d.Spec.Template) {
		return nil // made by an earlier attempt
	}
	_, updateErr := state.UpdateStatus(ctx, c.state, d.Namespace, d.Name, func(live *appsv1.Deployment) error {
		n := int32(1)
		if live.Status.CollisionCount != nil {
			n = *live.Status.CollisionCount + 1
		}
		live.Status.CollisionCount = &n
		return nil
	})
	return errors.Join(fmt.Errorf("creating ReplicaSet %s: %w", rs.Name, err), updateErr)
}

func (c *deployments) change(ctx context.Context, d *appsv1.Deployment, ch change) error {
	from := *ch.set.Spec.Replicas
	_, err := state.Update(ctx, c.state, ch.set.Namespace, ch.set.Name, func(live *appsv1.ReplicaSet) error {
		if live.UID != ch.set.UID {
			return apierrors.NewConflict(appsv1.Resource("replicasets"), live.Name, errors.New("it was made anew"))
		}
		live.Spec.Replicas = &ch.replicas
		live.Annotations = ch.annotations
		live.Spec.MinReadySeconds = ch.minReady
		return nil
	})
	if err != nil {
		return fmt.Errorf("scaling ReplicaSet %s: %w", ch.set.Name, err)
	}
	if from != ch.replicas {
		direction := "up"
		if ch.replicas < from {
			direction = "down"
		}
		c.events.Eventf(d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled %s replica set %s from %d to %d", direction, ch.set.Name, from, ch.replicas)
	}
	return nil
}

// updateStatus judges the world as it is after the work and writes the status if it has
// changed. It returns when progress is to be judged again.
func (c *deployments) updateStatus(ctx context.Context, d *appsv1.Deployment, selector labels.Selector, failed error) (time.Duration, error) {
	d, ok := state.Get[*appsv1.Deployment](c.state, d.Namespace, d.Name)
	if !ok {
		return 0, nil
	}
	sets := state.List[*appsv1.ReplicaSet](c.state, state.Selector{Namespace: d.Namespace, Owner: d.UID})
	w := observe(d, sets, c.podsOf(sets))
	status, again := judge(w, failed, time.Now())
	if equality.Semantic.DeepEqual(d.Status, status) {
		return again, nil
	}
	_, err := state.UpdateStatus(ctx, c.state, d.Namespace, d.Name, func(live *appsv1.Deployment) error {
		if live.UID != d.UID {
			return nil
		}
		status.CollisionCount = live.Status.CollisionCount
		live.Status = status
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("writing status: %w", err)
	}
	return again, nil
}
