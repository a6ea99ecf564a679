// Package job runs the pods of Jobs until enough of them have succeeded, or too many have failed.
//
//	job.go       the loop: read, plan, write the status, carry out
//	plan.go      what is to be done next; pure
//	tally.go     what the pods amount to: which are counted, and which still are to be
//	verdict.go   whether the Job has succeeded or failed, and why
//	policy.go    podFailurePolicy and successPolicy
//	indexes.go   sets of completion indexes, as in "0-3,7"
//	pods.go      what a new pod is made of
//
// A pod is counted once, whatever happens: it carries a finalizer until its end stands in the status. First its uid
// is written to status.uncountedTerminatedPods, then its finalizer is removed, then it is added to the numbers.
package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

var kind = batchv1.SchemeGroupVersion.WithKind("Job")

// Bounds of one reconcile, as Kubernetes' MaxPodCreateDeletePerSync, and of what is done at once.
const (
	burst    = 500
	parallel = 64
)

// New returns the controller.
func New(s *state.State, events controller.Events) controller.Controller {
	c := &jobs{s, events, controller.PodControl{State: s, Events: events}}
	return controller.Controller{
		Name: "job",
		Sources: []controller.Source{
			controller.On(controller.Self[*batchv1.Job]),
			controller.On(controller.OwnerOf[*corev1.Pod](kind.Kind)),
		},
		Reconcile: c.reconcile,
	}
}

type jobs struct {
	state  *state.State
	events controller.Events
	pods   controller.PodControl
}

func (c *jobs) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	j, ok := state.Get[*batchv1.Job](c.state, key.Namespace, key.Name)
	switch {
	case !ok:
		return 0, c.letGo(ctx, key)
	case j.Spec.ManagedBy != nil && *j.Spec.ManagedBy != batchv1.JobControllerName:
		return 0, nil
	case finished(j) != nil:
		return c.afterwards(ctx, j)
	}
	pods, err := c.claim(ctx, j)
	if err != nil {
		return 0, err
	}
	p := plan(j, pods, time.Now())
	if err := c.writeStatus(ctx, j, p); err != nil {
		return 0, err
	}
	return p.again, c.carryOut(ctx, j, p)
}

func (c *jobs) claim(ctx context.Context, j *batchv1.Job) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("spec.selector: %w", err)
	}
	return controller.Claim[*corev1.Pod](ctx, c.state, j, *metav1.NewControllerRef(j, kind), selector)
}

// letGo takes the finalizer off pods whose Job is gone: nobody counts them any more.
func (c *jobs) letGo(ctx context.Context, key controller.Key) error {
	for _, p := range state.List[*corev1.Pod](c.state, state.Selector{Namespace: key.Namespace}) {
		ref := metav1.GetControllerOfNoCopy(p)
		if ref == nil || ref.Kind != kind.Kind || ref.Name != key.Name || !tracked(p) {
			continue
		}
		if err := c.untrack(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// afterwards takes the finalizers off what is left of a Job that has ended, and deletes it when its time is over.
func (c *jobs) afterwards(ctx context.Context, j *batchv1.Job) (time.Duration, error) {
	for _, p := range state.List[*corev1.Pod](c.state, state.Selector{Namespace: j.Namespace, Owner: j.UID}) {
		if tracked(p) {
			if err := c.untrack(ctx, p); err != nil {
				return 0, err
			}
		}
	}
	if j.Spec.TTLSecondsAfterFinished == nil || j.DeletionTimestamp != nil {
		return 0, nil
	}
	due := finished(j).LastTransitionTime.Add(time.Duration(*j.Spec.TTLSecondsAfterFinished) * time.Second)
	if left := time.Until(due); left > 0 {
		return left, nil
	}
	foreground := metav1.DeletePropagationForeground
	err := state.Delete[*batchv1.Job](ctx, c.state, j.Namespace, j.Name, state.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &j.UID, ResourceVersion: &j.ResourceVersion}, Propagation: &foreground,
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("deleting it %d s after its end: %w", *j.Spec.TTLSecondsAfterFinished, err)
	}
	return 0, nil
}

func (c *jobs) writeStatus(ctx context.Context, j *batchv1.Job, p jobPlan) error {
	if equality.Semantic.DeepEqual(j.Status, p.status) {
		return nil
	}
	_, err := state.UpdateStatus(ctx, c.state, j.Namespace, j.Name, func(live *batchv1.Job) error {
		if live.UID != j.UID || live.ResourceVersion != j.ResourceVersion {
			return errChanged
		}
		live.Status = p.status
		return nil
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing status: %w", err)
	}
	c.tell(j, p)
	return nil
}

// errChanged has a plan that was made of an older Job made again.
var errChanged = errors.New("the Job has changed meanwhile")

// tell makes events of the conditions that are new.
func (c *jobs) tell(j *batchv1.Job, p jobPlan) {
	for _, n := range p.status.Conditions {
		old := condition(&j.Status, n.Type)
		if old != nil && old.Status == n.Status || old == nil && n.Status != corev1.ConditionTrue {
			continue
		}
		switch n.Type {
		case batchv1.JobComplete:
			c.events.Eventf(j, corev1.EventTypeNormal, "Completed", "Job completed")
		case batchv1.JobFailed:
			c.events.Eventf(j, corev1.EventTypeWarning, n.Reason, "%s", n.Message)
		case batchv1.JobSuspended:
			if n.Status == corev1.ConditionTrue {
				c.events.Eventf(j, corev1.EventTypeNormal, "Suspended", "Job suspended")
			} else {
				c.events.Eventf(j, corev1.EventTypeNormal, "Resumed", "Job resumed")
			}
		}
	}
}

// carryOut does what the plan says once the status is written.
func (c *jobs) carryOut(ctx context.Context, j *batchv1.Job, p jobPlan) error {
	group, grouped := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, pod := range p.untrack {
		group.Go(func() error { return c.untrack(grouped, pod) })
	}
	for _, pod := range p.remove[:min(len(p.remove), burst)] {
		group.Go(func() error { return c.pods.Delete(grouped, j, pod) })
	}
	for _, pod := range p.dismiss[:min(len(p.dismiss), burst)] {
		group.Go(func() error {
			if err := c.untrack(grouped, pod); err != nil {
				return err
			}
			return c.pods.Delete(grouped, j, pod)
		})
	}
	if err := group.Wait(); err != nil || len(p.create) == 0 {
		return err
	}
	return c.create(ctx, j, p.create[:min(len(p.create), burst)])
}

// create makes one pod, so that what is refused is refused once, then the rest at once.
func (c *jobs) create(ctx context.Context, j *batchv1.Job, pods []*corev1.Pod) error {
	if _, err := c.pods.Create(ctx, j, pods[0]); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, pod := range pods[1:] {
		group.Go(func() error {
			_, err := c.pods.Create(ctx, j, pod)
			return err
		})
	}
	return group.Wait()
}

// tracked says that the pod's end is still to be counted.
func tracked(p *corev1.Pod) bool { return slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) }

func (c *jobs) untrack(ctx context.Context, p *corev1.Pod) error {
	_, err := state.Update(ctx, c.state, p.Namespace, p.Name, func(live *corev1.Pod) error {
		if live.UID == p.UID {
			live.Finalizers = slices.DeleteFunc(live.Finalizers, func(f string) bool { return f == batchv1.JobTrackingFinalizer })
		}
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("taking the finalizer off pod %s: %w", p.Name, err)
	}
	return nil
}
