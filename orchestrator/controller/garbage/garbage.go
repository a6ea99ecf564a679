// Package garbage deletes objects whose owners are gone, and does for owners that are being
// deleted what their propagation policy asks: foreground waits for dependents, orphan lets
// them live on.
package garbage

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// New returns the controller. Its keys are owners; see owner.key.
func New(s *state.State) controller.Controller {
	c := &collector{state: s}
	return controller.Controller{Name: "garbage", Reconcile: c.reconcile, EveryKind: c.keys}
}

type collector struct{ state *state.State }

// kinds are those of which objects own and are owned. Events expire; they own nothing and nobody owns them.
func (c *collector) kinds() iter.Seq[*resource.Kind] {
	return func(yield func(*resource.Kind) bool) {
		for _, kind := range c.state.Kinds().Stored() {
			if !kind.Lazy && !yield(kind) {
				return
			}
		}
	}
}

// owner is an object that others may depend on, as they name it. It need not exist.
type owner struct {
	kind            *resource.Kind
	namespace, name string
	uid             types.UID
}

// key writes the owner as a key: group/plural/namespace, name/uid.
func (o owner) key() controller.Key {
	return controller.Key{
		Namespace: o.kind.Group + "/" + o.kind.Plural + "/" + o.namespace,
		Name:      o.name + "/" + string(o.uid),
	}
}

func (c *collector) parse(key controller.Key) (owner, bool) {
	place, name := strings.SplitN(key.Namespace, "/", 3), strings.SplitN(key.Name, "/", 2)
	for kind := range c.kinds() {
		if kind.Group == place[0] && kind.Plural == place[1] {
			return owner{kind, place[2], name[0], types.UID(name[1])}, true
		}
	}
	return owner{}, false
}

// keys are the owners that a change concerns: the object itself when it goes, its owners when it
// comes or goes, and those that it names anew, differently, or no more.
func (c *collector) keys(kind *resource.Kind, e state.Event) []controller.Key {
	obj := e.Entry.Object()
	self := owner{kind, obj.GetNamespace(), obj.GetName(), obj.GetUID()}
	var keys []controller.Key
	if e.Type == state.Deleted || obj.GetDeletionTimestamp() != nil && waits(obj) {
		keys = append(keys, self.key())
	}
	for _, ref := range changedOwners(e) {
		if o, ok := c.owner(obj, ref); ok {
			keys = append(keys, o.key())
		}
	}
	return keys
}

// changedOwners are the references that are not on both sides of a change.
func changedOwners(e state.Event) []metav1.OwnerReference {
	after := e.Entry.Object().GetOwnerReferences()
	if e.Type != state.Modified || e.Prev == nil {
		return after
	}
	before := e.Prev.Object().GetOwnerReferences()
	return append(without(after, before), without(before, after)...)
}

func without(refs, others []metav1.OwnerReference) []metav1.OwnerReference {
	return slices.DeleteFunc(slices.Clone(refs), func(a metav1.OwnerReference) bool {
		return slices.ContainsFunc(others, func(b metav1.OwnerReference) bool { return a.UID == b.UID && blocks(a) == blocks(b) })
	})
}

func blocks(ref metav1.OwnerReference) bool {
	return ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion
}

func waits(obj state.Object) bool {
	f := obj.GetFinalizers()
	return slices.Contains(f, metav1.FinalizerOrphanDependents) || slices.Contains(f, metav1.FinalizerDeleteDependents)
}

// owner finds what a reference names. A kind that is not served, or a namespaced owner of
// a cluster-scoped object, cannot be judged: the reference then counts as good.
func (c *collector) owner(obj state.Object, ref metav1.OwnerReference) (owner, bool) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return owner{}, false
	}
	for kind := range c.kinds() {
		if kind.Group != gv.Group || kind.Kind != ref.Kind {
			continue
		}
		o := owner{kind: kind, name: ref.Name, uid: ref.UID}
		if kind.Namespaced {
			o.namespace = obj.GetNamespace()
		}
		return o, !kind.Namespaced || o.namespace != ""
	}
	return owner{}, false
}

// live returns the owner if it exists.
func (c *collector) live(ctx context.Context, o owner) (state.Object, error) {
	entry, err := c.state.Get(ctx, o.kind, o.namespace, o.name)
	if apierrors.IsNotFound(err) || err == nil && entry.UID() != o.uid {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", o.kind.Plural, o.name, err)
	}
	return entry.Object(), nil
}

func (c *collector) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	o, ok := c.parse(key)
	if !ok {
		return 0, nil
	}
	obj, err := c.live(ctx, o)
	if err != nil {
		return 0, err
	}
	switch {
	case obj == nil:
		return 0, c.each(ctx, o, func(d dependent) error { return c.judge(ctx, d) })
	case obj.GetDeletionTimestamp() == nil:
		return 0, nil
	case slices.Contains(obj.GetFinalizers(), metav1.FinalizerOrphanDependents):
		return 0, c.orphan(ctx, o)
	case slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents):
		return 0, c.foreground(ctx, o)
	}
	return 0, nil
}

// dependent is an object that names an owner.
type dependent struct {
	kind *resource.Kind
	obj  state.Object
}

// each calls f for all dependents of the owner and joins the errors.
func (c *collector) each(ctx context.Context, o owner, f func(dependent) error) error {
	var errs []error
	for kind := range c.kinds() {
		page, err := c.state.List(ctx, kind, state.ListOptions{Selector: state.Selector{Owner: o.uid}})
		if err != nil {
			return fmt.Errorf("listing dependent %s: %w", kind.Plural, err)
		}
		for _, entry := range page.Entries {
			d := dependent{kind, entry.Object()}
			if err := f(d); err != nil && !apierrors.IsNotFound(err) {
				errs = append(errs, fmt.Errorf("%s %s: %w", kind.Plural, entry.Name(), err))
			}
		}
	}
	return errors.Join(errs...)
}

// orphan lets the dependents go their own way, and then the owner.
func (c *collector) orphan(ctx context.Context, o owner) error {
	err := c.each(ctx, o, func(d dependent) error {
		_, err := c.change(ctx, d, func(obj state.Object) {
			dropOwners(obj, func(ref metav1.OwnerReference) bool { return ref.UID == o.uid })
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("orphaning: %w", err)
	}
	return c.release(ctx, o, metav1.FinalizerOrphanDependents)
}

// foreground deletes the dependents, and lets the owner go when none is left that blocks it.
func (c *collector) foreground(ctx context.Context, o owner) error {
	blocked := false
	err := c.each(ctx, o, func(d dependent) error {
		for _, ref := range d.obj.GetOwnerReferences() {
			blocked = blocked || ref.UID == o.uid && blocks(ref)
		}
		return c.judge(ctx, d)
	})
	if err != nil || blocked {
		return err // the last one's end wakes us
	}
	return c.release(ctx, o, metav1.FinalizerDeleteDependents)
}

// judge decides about an object one of whose owners is gone or going, again if it changes meanwhile.
func (c *collector) judge(ctx context.Context, d dependent) error {
	for {
		err := c.judgeNow(ctx, d)
		if !apierrors.IsConflict(err) {
			return err
		}
		d.obj, err = c.live(ctx, owner{d.kind, d.obj.GetNamespace(), d.obj.GetName(), d.obj.GetUID()})
		if d.obj == nil {
			return err
		}
	}
}

// judgeNow: while another owner is there the object only forgets those that are not; else it is deleted.
func (c *collector) judgeNow(ctx context.Context, d dependent) error {
	gone, going := map[types.UID]bool{}, map[types.UID]bool{}
	held := false
	for _, ref := range d.obj.GetOwnerReferences() {
		o, ok := c.owner(d.obj, ref)
		if !ok {
			held = true
			continue
		}
		obj, err := c.live(ctx, o)
		switch {
		case err != nil:
			return err
		case obj == nil:
			gone[ref.UID] = true
		case isGoing(obj):
			going[ref.UID] = true
		default:
			held = true
		}
	}
	if held {
		_, err := c.change(ctx, d, func(obj state.Object) {
			dropOwners(obj, func(ref metav1.OwnerReference) bool { return gone[ref.UID] || going[ref.UID] })
		})
		return err
	}
	if d.obj.GetDeletionTimestamp() != nil || len(gone)+len(going) == 0 {
		return nil
	}
	return c.delete(ctx, d, len(going) > 0)
}

// delete deletes a dependent the way its own finalizers ask, else in the foreground if an owner waits
// for all that depends on it. Of a circle of such owners one must not wait: that whose own dependent is going already.
func (c *collector) delete(ctx context.Context, d dependent, waited bool) error {
	deep, circular, err := c.dependents(ctx, d)
	if err != nil {
		return err
	}
	if waited && circular {
		if d.obj, err = c.change(ctx, d, unblock); err != nil {
			return err
		}
	}
	policy := metav1.DeletePropagationBackground
	switch f := d.obj.GetFinalizers(); {
	case slices.Contains(f, metav1.FinalizerOrphanDependents):
		policy = metav1.DeletePropagationOrphan
	case slices.Contains(f, metav1.FinalizerDeleteDependents) || waited && deep:
		policy = metav1.DeletePropagationForeground
	}
	uid, version := d.obj.GetUID(), d.obj.GetResourceVersion()
	_, _, err = c.state.Delete(ctx, d.kind, d.obj.GetNamespace(), d.obj.GetName(), state.DeleteOptions{
		Propagation: &policy, Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version},
	})
	if err != nil {
		return fmt.Errorf("deleting: %w", err)
	}
	return nil
}

// dependents says whether the object has any, and whether one of them is going in the foreground.
func (c *collector) dependents(ctx context.Context, d dependent) (has, going bool, err error) {
	err = c.each(ctx, owner{uid: d.obj.GetUID()}, func(below dependent) error {
		has = true
		going = going || isGoing(below.obj)
		return nil
	})
	return has, going, err
}

// isGoing says that the object is deleted as soon as its dependents are.
func isGoing(obj state.Object) bool {
	return obj.GetDeletionTimestamp() != nil && slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents)
}

// change changes the owner references of a dependent.
func (c *collector) change(ctx context.Context, d dependent, change func(state.Object)) (state.Object, error) {
	uid := d.obj.GetUID()
	changed, _, err := c.state.Update(ctx, d.kind, d.obj.GetNamespace(), d.obj.GetName(), func(live state.Object) (state.Object, error) {
		change(live)
		return live, nil
	}, state.UpdateOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil {
		return nil, fmt.Errorf("changing owner references: %w", err)
	}
	return changed, nil
}

// unblock makes that no owner waits for the object.
func unblock(obj state.Object) {
	refs := slices.Clone(obj.GetOwnerReferences())
	for i := range refs {
		no := false
		refs[i].BlockOwnerDeletion = &no
	}
	obj.SetOwnerReferences(refs)
}

func dropOwners(obj state.Object, drop func(metav1.OwnerReference) bool) {
	obj.SetOwnerReferences(slices.DeleteFunc(slices.Clone(obj.GetOwnerReferences()), drop))
}

// release removes our finalizer from the owner: it goes if it was the last one.
func (c *collector) release(ctx context.Context, o owner, finalizer string) error {
	_, _, err := c.state.Update(ctx, o.kind, o.namespace, o.name, func(live state.Object) (state.Object, error) {
		live.SetFinalizers(slices.DeleteFunc(slices.Clone(live.GetFinalizers()), func(f string) bool { return f == finalizer }))
		return live, nil
	}, state.UpdateOptions{Preconditions: &metav1.Preconditions{UID: &o.uid}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("releasing %s %s: %w", o.kind.Plural, o.name, err)
	}
	return nil
}
