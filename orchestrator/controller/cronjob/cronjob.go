// Package cronjob makes a Job whenever the schedule of a CronJob says so.
//
//	cronjob.go   the loop: read, plan, carry out, write the status
//	plan.go      what is due, what goes, and when to look again; pure
//	schedule.go  schedules and their time zones
package cronjob

import (
	"context"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

var kind = batchv1.SchemeGroupVersion.WithKind("CronJob")

// New returns the controller.
func New(s *state.State, events controller.Events) controller.Controller {
	c := &cronJobs{s, events}
	return controller.Controller{
		Name: "cronjob",
		Sources: []controller.Source{
			controller.On(controller.Self[*batchv1.CronJob]),
			controller.On(controller.OwnerOf[*batchv1.Job](kind.Kind)),
		},
		Reconcile: c.reconcile,
	}
}

type cronJobs struct {
	state  *state.State
	events controller.Events
}

func (c *cronJobs) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	cj, ok := state.Get[*batchv1.CronJob](c.state, key.Namespace, key.Name)
	if !ok || cj.DeletionTimestamp != nil {
		return 0, nil
	}
	jobs := state.List[*batchv1.Job](c.state, state.Selector{Namespace: cj.Namespace, Owner: cj.UID})
	p := plan(cj, jobs, time.Now())
	for _, e := range p.tell {
		c.events.Eventf(cj, e.eventtype, e.reason, "%s", e.text)
	}
	err := c.carryOut(ctx, cj, &p)
	return p.again, errors.Join(err, c.writeStatus(ctx, cj, p.status))
}

// carryOut deletes what is not wanted any more and makes what is due.
func (c *cronJobs) carryOut(ctx context.Context, cj *batchv1.CronJob, p *cronPlan) error {
	var errs []error
	for _, j := range p.remove {
		errs = append(errs, c.delete(ctx, cj, j))
	}
	if err := errors.Join(errs...); err != nil || p.create == nil {
		return err
	}
	made, err := state.Create(ctx, c.state, p.create)
	switch {
	case apierrors.IsAlreadyExists(err):
		return c.takeOver(cj, p)
	case err != nil:
		if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			c.events.Eventf(cj, corev1.EventTypeWarning, "FailedCreate", "Error creating job: %v", err)
		}
		return fmt.Errorf("creating a job: %w", err)
	}
	c.events.Eventf(cj, corev1.EventTypeNormal, "SuccessfulCreate", "Created job %v", made.Name)
	p.started(made)
	return nil
}

// takeOver is about a Job that is there already: ours, of an attempt whose answer was lost, or somebody else's.
func (c *cronJobs) takeOver(cj *batchv1.CronJob, p *cronPlan) error {
	j, ok := state.Get[*batchv1.Job](c.state, cj.Namespace, p.create.Name)
	if !ok || !metav1.IsControlledBy(j, cj) {
		return fmt.Errorf("job %s exists and belongs to somebody else", p.create.Name)
	}
	p.started(j)
	return nil
}

func (c *cronJobs) delete(ctx context.Context, cj *batchv1.CronJob, j *batchv1.Job) error {
	background := metav1.DeletePropagationBackground
	err := state.Delete[*batchv1.Job](ctx, c.state, j.Namespace, j.Name, state.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &j.UID}, Propagation: &background,
	})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		c.events.Eventf(cj, corev1.EventTypeWarning, "FailedDelete", "Deleted job: %v", err)
		return fmt.Errorf("deleting job %s: %w", j.Name, err)
	}
	c.events.Eventf(cj, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted job %v", j.Name)
	return nil
}

func (c *cronJobs) writeStatus(ctx context.Context, cj *batchv1.CronJob, status batchv1.CronJobStatus) error {
	if equality.Semantic.DeepEqual(cj.Status, status) {
		return nil
	}
	return controller.WriteStatus(ctx, c.state, cj, func(live *batchv1.CronJob) { live.Status = status })
}
