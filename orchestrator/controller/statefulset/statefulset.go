// Package statefulset gives each ordinal of a StatefulSet its pod, with a name and claims that stay.
//
//	statefulset.go   the loop: read, plan, carry out, write the status
//	plan.go          what is to be done next, and why; pure
//	identity.go      what makes a pod the one of its ordinal
//	claims.go        the PersistentVolumeClaims of pods
//	status.go        what is counted
package statefulset

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

var kind = appsv1.SchemeGroupVersion.WithKind("StatefulSet")

// New returns the controller.
func New(s *state.State, events controller.Events) controller.Controller {
	c := &statefulSets{s, events}
	return controller.Controller{
		Name: "statefulset",
		Sources: []controller.Source{
			controller.On(controller.Self[*appsv1.StatefulSet]),
			controller.On(c.keysOfPod),
			controller.On(controller.OwnerOf[*appsv1.ControllerRevision](kind.Kind)),
		},
		Reconcile: c.reconcile,
	}
}

type statefulSets struct {
	state  *state.State
	events controller.Events
}

// keysOfPod is the pod's StatefulSet, or for an orphan all that could adopt it.
func (c *statefulSets) keysOfPod(p *corev1.Pod) []controller.Key {
	if metav1.GetControllerOfNoCopy(p) != nil {
		return controller.OwnerOf[*corev1.Pod](kind.Kind)(p)
	}
	var keys []controller.Key
	for _, set := range state.List[*appsv1.StatefulSet](c.state, state.Selector{Namespace: p.Namespace}) {
		selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
		if err == nil && len(p.Labels) > 0 && !selector.Empty() && selector.Matches(labels.Set(p.Labels)) {
			keys = append(keys, controller.Self(set)...)
		}
	}
	return keys
}

func (c *statefulSets) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	set, ok := state.Get[*appsv1.StatefulSet](c.state, key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	w, err := c.look(ctx, set)
	if err != nil {
		return 0, err
	}
	p := w.plan(time.Now())
	err = c.carryOut(ctx, w, p.actions)
	if statusErr := c.writeStatus(ctx, w, p); statusErr != nil || err != nil {
		return 0, errors.Join(err, statusErr)
	}
	return p.again, w.history.Trim(ctx, w.revisions, set.Spec.RevisionHistoryLimit, w.used())
}

// world is what a plan is made of.
type world struct {
	set             *appsv1.StatefulSet
	pods            []*corev1.Pod // that the set controls
	history         *controller.History
	revisions       []*appsv1.ControllerRevision
	collisions      int32
	current, update revision
}

// revision is a template and its name.
type revision struct {
	name     string
	template *corev1.PodTemplateSpec
}

func (c *statefulSets) look(ctx context.Context, set *appsv1.StatefulSet) (*world, error) {
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("spec.selector: %w", err)
	}
	w := &world{set: set}
	if set.Status.CollisionCount != nil {
		w.collisions = *set.Status.CollisionCount
	}
	w.history = &controller.History{
		State: c.state, Owner: set, Ref: *metav1.NewControllerRef(set, kind), Selector: selector,
		HashLabel: "controller.kubernetes.io/hash", Collisions: &w.collisions,
	}
	all, update, err := w.history.Of(ctx, &set.Spec.Template)
	if err != nil {
		return nil, err
	}
	w.revisions, w.update = all, revision{update.Name, &set.Spec.Template}
	if w.current, err = w.named(set.Status.CurrentRevision); err != nil {
		return nil, err
	}
	w.pods, err = controller.Claim(ctx, c.state, set, w.history.Ref, selector, func(p *corev1.Pod) bool {
		_, ok := ordinalOf(set, p)
		return ok
	})
	return w, err
}

// named finds a revision; one that is not there any more is the newest.
func (w *world) named(name string) (revision, error) {
	for _, r := range w.revisions {
		if r.Name == name {
			template, err := controller.TemplateOf(r)
			return revision{name, template}, err
		}
	}
	return w.update, nil
}

// used are the revisions that pods or the status name.
func (w *world) used() map[string]bool {
	used := map[string]bool{w.current.name: true, w.update.name: true}
	for _, p := range w.pods {
		used[p.Labels[appsv1.StatefulSetRevisionLabel]] = true
	}
	return used
}

// carryOut does the actions in order, up to the first that fails.
func (c *statefulSets) carryOut(ctx context.Context, w *world, actions []action) error {
	for _, a := range actions {
		var err error
		switch a.verb {
		case create:
			err = c.create(ctx, w.set, a.pod)
		case remove:
			err = c.remove(ctx, w.set, a.pod)
		case repair:
			err = c.repair(ctx, w.set, a.pod)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *statefulSets) create(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod) error {
	err := c.makeClaims(ctx, set, pod)
	if err == nil {
		_, err = state.Create(ctx, c.state, pod)
	}
	return c.tell(set, pod, "create", err)
}

func (c *statefulSets) remove(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod) error {
	err := state.Delete[*corev1.Pod](ctx, c.state, pod.Namespace, pod.Name, state.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return c.tell(set, pod, "delete", err)
}

// repair gives a pod the labels and the claims of its ordinal.
func (c *statefulSets) repair(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod) error {
	if err := c.makeClaims(ctx, set, pod); err != nil {
		return err
	}
	if err := c.ownClaims(ctx, set, pod); err != nil {
		return err
	}
	if hasIdentity(set, pod) {
		return nil
	}
	_, err := state.Update(ctx, c.state, pod.Namespace, pod.Name, func(live *corev1.Pod) error {
		if live.UID == pod.UID {
			identify(set, live)
		}
		return nil
	})
	return c.tell(set, pod, "update", err)
}

// tell makes an event of what was done to a pod.
func (c *statefulSets) tell(set *appsv1.StatefulSet, pod *corev1.Pod, verb string, err error) error {
	reason := strings.ToUpper(verb[:1]) + verb[1:]
	if err != nil {
		c.events.Eventf(set, corev1.EventTypeWarning, "Failed"+reason, "%s Pod %s in StatefulSet %s failed error: %v", verb, pod.Name, set.Name, err)
		return fmt.Errorf("%s pod %s: %w", verb, pod.Name, err)
	}
	c.events.Eventf(set, corev1.EventTypeNormal, "Successful"+reason, "%s Pod %s in StatefulSet %s successful", verb, pod.Name, set.Name)
	return nil
}

func (c *statefulSets) writeStatus(ctx context.Context, w *world, p plan) error {
	status := p.status
	if w.collisions != 0 || status.CollisionCount != nil {
		status.CollisionCount = &w.collisions
	}
	if equality.Semantic.DeepEqual(w.set.Status, status) {
		return nil
	}
	return controller.WriteStatus(ctx, c.state, w.set, func(live *appsv1.StatefulSet) { live.Status = status })
}
