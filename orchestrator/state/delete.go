package state

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/resource"
)

// DeleteOptions qualify a Delete.
type DeleteOptions struct {
	DryRun bool
	// User and Options are for Admission: see Attributes.
	User          *authenticationv1.UserInfo
	Options       *metav1.DeleteOptions
	Grace         *int64 // seconds
	Preconditions *metav1.Preconditions
	Propagation   *metav1.DeletionPropagation
	// Remarks takes what admission has to say; nil: nobody listens.
	Remarks *Remarks
	// Admitted says that admission was asked another question already (an eviction).
	Admitted bool
	// Join is asked last, before every attempt, whether obj may go. It may change obj, a copy
	// of the live object, and have others written in the same commit. nil: nothing to ask.
	Join func(ctx context.Context, obj Object, c *Commit) error
}

// Delete deletes, or marks as being deleted when finalizers, propagation or grace hold
// it back. It returns the last state and whether it is gone. Errors: NotFound, Conflict,
// admission's.
func (s *State) Delete(ctx context.Context, k *resource.Kind, namespace, name string, o DeleteOptions) (Object, bool, error) {
	if err := s.fresh(ctx); err != nil {
		return nil, false, err
	}
	for lost := 0; lost < maxClaimsLost; {
		obj, gone, v, err := s.delete(ctx, k, namespace, name, o)
		switch v {
		case written, failed:
			return obj, gone, err
		case claimLost:
			lost++
		}
	}
	return nil, false, conflict(k, name, "what is written beside its deletion is being changed by others; please try again")
}

func (s *State) delete(ctx context.Context, k *resource.Kind, namespace, name string, o DeleteOptions) (_ Object, gone bool, _ verdict, _ error) {
	e, ok := s.lookup(k, namespace, name)
	if !ok {
		return nil, false, failed, apierrors.NewNotFound(k.GroupResource(), name)
	}
	live, err := s.shows(ctx, k, e.Object())
	if err != nil {
		return nil, false, failed, err
	}
	if err := checkDeletion(k, live, o.Preconditions); err != nil {
		return nil, false, failed, err
	}
	commit, err := s.mayDelete(ctx, Attributes{
		Kind: k, Operation: OpDelete, Namespace: namespace, Name: name,
		Old: live, DryRun: o.DryRun, User: o.User, Options: options(o.Options), Remarks: o.Remarks,
	}, o)
	defer commit.end()
	if err != nil {
		return nil, false, failed, err
	}
	obj := clone(e.Object())
	if o.Join != nil {
		if err := o.Join(ctx, obj, commit); err != nil {
			return nil, false, failed, err
		}
	}
	gone = mark(k.Stored(), obj, o)
	w, err := s.table(k).encoded(e, obj)
	switch {
	case err != nil:
		return nil, false, failed, err
	case !gone && bytes.Equal(w.data, e.data):
		return live, false, written, nil
	case o.DryRun:
		obj.SetResourceVersion(live.GetResourceVersion())
		obj, err = s.shows(ctx, k, obj)
		return obj, gone, written, err
	case gone:
		w.obj, w.data = nil, nil
	}
	last, v, err := s.commit(ctx, k, w, commit)
	if gone && v == written && k.Grace != nil { // its end was asked for, for now
		obj.SetResourceVersion(last.GetResourceVersion())
		last, err = s.shows(ctx, k, obj)
	}
	return last, gone, v, err
}

// mayDelete asks admission. The Commit must be ended.
func (s *State) mayDelete(ctx context.Context, a Attributes, o DeleteOptions) (*Commit, error) {
	if o.Admitted {
		return s.newCommit(), nil
	}
	if err := s.admit(ctx, &a); err != nil {
		return s.newCommit(), err
	}
	return s.validate(ctx, &a)
}

// checkDeletion is checkPreconditions in the words of a deletion, which name the kind
// where others name the resource.
func checkDeletion(k *resource.Kind, live Object, p *metav1.Preconditions) error {
	var why error
	switch {
	case p == nil:
		return nil
	case p.UID != nil && *p.UID != live.GetUID():
		why = fmt.Errorf("the UID in the precondition (%s) does not match the UID in record (%s). "+
			"The object might have been deleted and then recreated", *p.UID, live.GetUID())
	case p.ResourceVersion != nil && *p.ResourceVersion != live.GetResourceVersion():
		why = fmt.Errorf("the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). "+
			"The object might have been modified", *p.ResourceVersion, live.GetResourceVersion())
	default:
		return nil
	}
	return apierrors.NewConflict(schema.GroupResource{Group: k.Group, Resource: k.Kind}, live.GetName(), why)
}

// mark does to obj what asking for its deletion does, and says whether nothing holds it
// back any more. If obj is left as it was, and not gone, its deletion is under way.
func mark(k *resource.Kind, obj Object, o DeleteOptions) (gone bool) {
	held := k.Holds != nil && k.Holds(obj)
	if held && obj.GetDeletionTimestamp() != nil {
		return false
	}
	wait, pending := grace(k, obj, o.Grace)
	if pending {
		return false
	}
	obj.SetFinalizers(propagate(k, obj.GetFinalizers(), o.Propagation))
	if wait > 0 {
		return false
	}
	if len(obj.GetFinalizers()) == 0 && !held {
		return true
	}
	markDeleting(k, obj, 0)
	if held {
		obj.SetDeletionGracePeriodSeconds(nil) // Namespaces have none
	}
	return false
}

// grace marks obj as being deleted if its kind knows of graceful ends, and says how long it has; pending
// means that an earlier deletion stands and nothing changes.
func grace(k *resource.Kind, obj Object, asked *int64) (wait int64, pending bool) {
	if k.Grace == nil {
		return 0, false
	}
	if asked != nil && *asked < 0 {
		second := int64(1)
		asked = &second
	}
	if at := obj.GetDeletionTimestamp(); at != nil {
		given := obj.GetDeletionGracePeriodSeconds()
		switch {
		case given == nil:
			return 0, false
		case asked == nil || *asked >= *given:
			return *given, true
		}
		wait = *asked
		earlier := metav1.NewTime(at.Add(time.Duration(wait-*given) * time.Second))
		if t := metav1.NewTime(now().Time); earlier.Before(&t) {
			earlier, wait = t, min(wait, 1)
		}
		obj.SetDeletionTimestamp(&earlier)
		obj.SetDeletionGracePeriodSeconds(&wait)
		return wait, false
	}
	wait = k.Grace(obj, asked)
	markDeleting(k, obj, wait)
	return wait, false
}

// markDeleting sets the deletion to seconds from now, unless it is due before.
func markDeleting(k *resource.Kind, obj Object, seconds int64) {
	at := metav1.NewTime(now().Add(time.Duration(seconds) * time.Second))
	before := obj.GetDeletionTimestamp()
	if before == nil && obj.GetGeneration() > 0 {
		obj.SetGeneration(obj.GetGeneration() + 1)
	}
	if before == nil || before.After(at.Time) {
		obj.SetDeletionTimestamp(&at)
	}
	obj.SetDeletionGracePeriodSeconds(&seconds)
	if k.Deleting != nil {
		k.Deleting(obj)
	}
}

// propagate adds or removes the finalizers by which the garbage collector knows what to
// do with dependents: what was asked for, else what the object says already, else the
// kind's default.
func propagate(k *resource.Kind, finalizers []string, asked *metav1.DeletionPropagation) []string {
	if k.Leaf {
		return finalizers
	}
	policy := k.DefaultPropagation
	switch {
	case asked != nil:
		policy = *asked
	case slices.Contains(finalizers, metav1.FinalizerOrphanDependents):
		policy = metav1.DeletePropagationOrphan
	case slices.Contains(finalizers, metav1.FinalizerDeleteDependents):
		policy = metav1.DeletePropagationForeground
	}
	wanted := map[metav1.DeletionPropagation]string{
		metav1.DeletePropagationOrphan:     metav1.FinalizerOrphanDependents,
		metav1.DeletePropagationForeground: metav1.FinalizerDeleteDependents,
	}[policy]
	kept := slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool {
		return f != wanted && (f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents)
	})
	if wanted != "" && !slices.Contains(kept, wanted) {
		kept = append(kept, wanted)
	}
	return kept
}

// released says that an update to obj took away the last that held back live's deletion.
func released(k *resource.Kind, obj, live Object) bool {
	if live.GetDeletionTimestamp() == nil || len(obj.GetFinalizers()) > 0 {
		return false
	}
	if k.Holds != nil && k.Holds(obj) {
		return false
	}
	g := live.GetDeletionGracePeriodSeconds()
	return g == nil || *g == 0
}
