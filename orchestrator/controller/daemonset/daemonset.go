// Package daemonset runs a pod of a DaemonSet on each node that it may run on.
//
//	daemonset.go   the loop: read, plan, carry out, write the status
//	nodes.go       which nodes may have a pod
//	plan.go        which pods are made and which go; pure
package daemonset

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

var kind = appsv1.SchemeGroupVersion.WithKind("DaemonSet")

// Bounds of one reconcile, as Kubernetes' BurstReplicas, and of what is done at once.
const (
	burst    = 250
	parallel = 64
)

// New returns the controller.
func New(s *state.State, events controller.Events) controller.Controller {
	c := &daemonSets{s, events, controller.PodControl{State: s, Events: events}}
	return controller.Controller{
		Name: "daemonset",
		Sources: []controller.Source{
			controller.On(controller.Self[*appsv1.DaemonSet]),
			controller.On(c.keysOfPod),
			controller.OnEvents(kindOf(s), c.keysOfNode),
			controller.On(controller.OwnerOf[*appsv1.ControllerRevision](kind.Kind)),
		},
		Reconcile: c.reconcile,
	}
}

type daemonSets struct {
	state  *state.State
	events controller.Events
	pods   controller.PodControl
}

// keysOfPod is the pod's DaemonSet, or for an orphan all that could adopt it.
func (c *daemonSets) keysOfPod(p *corev1.Pod) []controller.Key {
	if metav1.GetControllerOfNoCopy(p) != nil {
		return controller.OwnerOf[*corev1.Pod](kind.Kind)(p)
	}
	return c.keys(p.Namespace, func(ds *appsv1.DaemonSet) bool {
		selector, err := metav1.LabelSelectorAsSelector(ds.Spec.Selector)
		return err == nil && len(p.Labels) > 0 && !selector.Empty() && selector.Matches(labels.Set(p.Labels))
	})
}

func (c *daemonSets) keys(namespace string, is func(*appsv1.DaemonSet) bool) []controller.Key {
	var keys []controller.Key
	for _, ds := range state.List[*appsv1.DaemonSet](c.state, state.Selector{Namespace: namespace}) {
		if is(ds) {
			keys = append(keys, controller.Self(ds)...)
		}
	}
	return keys
}

func (c *daemonSets) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	ds, ok := state.Get[*appsv1.DaemonSet](c.state, key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	if everything(ds.Spec.Selector) {
		c.events.Eventf(ds, corev1.EventTypeWarning, "SelectingAll", "This daemon set is selecting all pods. A non-empty selector is required.")
		return 0, nil
	}
	w, err := c.look(ctx, ds)
	if err != nil {
		return 0, err
	}
	p := w.plan(time.Now())
	if ds.DeletionTimestamp == nil {
		err = c.carryOut(ctx, ds, p)
	}
	if statusErr := c.writeStatus(ctx, w); err != nil || statusErr != nil {
		return 0, errors.Join(err, statusErr)
	}
	return p.again, w.history.Trim(ctx, w.revisions, ds.Spec.RevisionHistoryLimit, w.used())
}

func everything(s *metav1.LabelSelector) bool {
	return s != nil && len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0
}

// world is what a plan is made of.
type world struct {
	ds         *appsv1.DaemonSet
	nodes      []*corev1.Node
	pods       map[string][]*corev1.Pod // by the node that they are for
	history    *controller.History
	revisions  []*appsv1.ControllerRevision
	hash       string // of the newest revision
	collisions int32
}

func (c *daemonSets) look(ctx context.Context, ds *appsv1.DaemonSet) (*world, error) {
	selector, err := metav1.LabelSelectorAsSelector(ds.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("spec.selector: %w", err)
	}
	w := &world{ds: ds, nodes: state.List[*corev1.Node](c.state, state.Selector{})}
	if ds.Status.CollisionCount != nil {
		w.collisions = *ds.Status.CollisionCount
	}
	w.history = &controller.History{
		State: c.state, Owner: ds, Ref: *metav1.NewControllerRef(ds, kind), Selector: selector,
		HashLabel: appsv1.DefaultDaemonSetUniqueLabelKey, Collisions: &w.collisions,
	}
	all, newest, err := w.history.Of(ctx, &ds.Spec.Template)
	if err != nil {
		return nil, err
	}
	w.revisions, w.hash = all, newest.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]
	pods, err := controller.Claim[*corev1.Pod](ctx, c.state, ds, w.history.Ref, selector)
	w.pods = byNode(pods)
	return w, err
}

// used are the revisions that pods are of, and the newest.
func (w *world) used() map[string]bool {
	hashes := map[string]bool{w.hash: true}
	for _, pods := range w.pods {
		for _, p := range pods {
			hashes[p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]] = true
		}
	}
	used := map[string]bool{}
	for _, r := range w.revisions {
		used[r.Name] = hashes[r.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]]
	}
	return used
}

// carryOut makes the pods that are missing and deletes those that are too many.
func (c *daemonSets) carryOut(ctx context.Context, ds *appsv1.DaemonSet, p plan) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, pod := range p.ended {
		c.events.Eventf(ds, corev1.EventTypeWarning, "FailedDaemonPod", "Found failed daemon pod %s/%s on node %s, will try to kill it",
			pod.Namespace, pod.Name, pod.Spec.NodeName)
	}
	for _, pod := range p.create[:min(len(p.create), burst)] {
		group.Go(func() error {
			_, err := c.pods.Create(ctx, ds, pod)
			return err
		})
	}
	for _, pod := range p.remove[:min(len(p.remove), burst)] {
		group.Go(func() error { return c.pods.Delete(ctx, ds, pod) })
	}
	return group.Wait()
}

func (c *daemonSets) writeStatus(ctx context.Context, w *world) error {
	status := w.count(time.Now())
	if equality.Semantic.DeepEqual(w.ds.Status, status) {
		return nil
	}
	return controller.WriteStatus(ctx, c.state, w.ds, func(live *appsv1.DaemonSet) { live.Status = status })
}
