package state

import (
	"bytes"
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"wherry/orchestrator/resource"
)

// UpdateOptions qualify an Update.
type UpdateOptions struct {
	DryRun bool
	// User and Options are for Admission: see Attributes.
	User    *authenticationv1.UserInfo
	Options *metav1.UpdateOptions
	// Manager owns the fields that change; "": whom the context names (As), or nobody.
	Manager string
	// Remarks takes what admission has to say; nil: nobody listens.
	Remarks *Remarks
	// Subresource is "" or a name of Kind.Subresources.
	Subresource string
	// Preconditions may be nil.
	Preconditions *metav1.Preconditions
	// Create lets change make an object that does not exist, whatever the kind says
	// (server-side apply).
	Create bool
}

// creating are the options as they qualify a Create.
func (o *UpdateOptions) creating() CreateOptions {
	created := CreateOptions{DryRun: o.DryRun, User: o.User, Manager: o.Manager, Remarks: o.Remarks}
	if u := o.Options; u != nil {
		created.Options = &metav1.CreateOptions{DryRun: u.DryRun, FieldManager: u.FieldManager, FieldValidation: u.FieldValidation}
	}
	return created
}

// updater is one call of Update.
type updater struct {
	*State
	kind            *resource.Kind
	sub             *resource.Subresource // nil: the main door
	namespace, name string
	change          func(live Object) (Object, error)
	o               UpdateOptions
}

// Update reads the object, lets change make the new one from a deep copy, and writes it if
// the live one is still the same; otherwise it starts again. If the new object carries
// a resourceVersion other than the live one's: Conflict. An update without effect
// writes nothing and returns the live object. When change is given a nil live object (the
// kind has CreateOnUpdate or the options say so) it creates. The bool says that it was
// created. An object whose last finalizer is removed while it is being deleted is
// deleted. Errors: NotFound, Conflict, Invalid, BadRequest, change's, admission's.
func (s *State) Update(ctx context.Context, k *resource.Kind, namespace, name string, change func(live Object) (Object, error), o UpdateOptions) (Object, bool, error) {
	u := &updater{State: s, kind: k, namespace: namespace, name: name, change: change, o: o}
	if o.Subresource != "" {
		sub, ok := k.Subresources[o.Subresource]
		if !ok {
			return nil, false, apierrors.NewBadRequest(fmt.Sprintf("%s has no subresource %q", k.GroupResource(), o.Subresource))
		}
		u.sub = sub
	}
	if err := s.fresh(ctx); err != nil {
		return nil, false, err
	}
	for lost := 0; lost < maxClaimsLost; {
		obj, created, v, err := u.once(ctx)
		switch v {
		case written, failed:
			return obj, created, err
		case claimLost:
			lost++
		}
	}
	return nil, false, conflict(k, name, "what it needs is being taken by others; please try again")
}

// once creates or updates; raced means to start again.
func (u *updater) once(ctx context.Context) (obj Object, created bool, v verdict, err error) {
	e, ok := u.lookup(u.kind, u.namespace, u.name)
	if ok {
		obj, v, err = u.update(ctx, e)
		return obj, false, v, err
	}
	if !u.kind.CreateOnUpdate && !u.o.Create || u.sub != nil {
		return nil, false, failed, apierrors.NewNotFound(u.kind.GroupResource(), u.name)
	}
	obj, err = u.change(nil)
	if err != nil {
		return nil, false, failed, err
	}
	if err := u.checkName(obj); err != nil {
		return nil, false, failed, err
	}
	obj = clone(obj)
	obj.SetResourceVersion("") // whatever it was made of is gone
	obj, err = u.create(ctx, u.kind, obj, u.o.creating())
	if apierrors.IsAlreadyExists(err) {
		return nil, false, raced, ctx.Err()
	}
	if err != nil {
		return nil, false, failed, err
	}
	return obj, true, written, nil
}

// update writes over e.
func (u *updater) update(ctx context.Context, e *Entry) (Object, verdict, error) {
	live, err := u.shows(ctx, u.kind, e.Object())
	if err != nil {
		return nil, failed, err
	}
	obj, err := u.changed(ctx, live)
	if err != nil {
		return nil, failed, err
	}
	a := u.attributes(obj, live)
	commit, err := u.validate(ctx, &a)
	defer commit.end()
	if err != nil {
		return nil, failed, err
	}
	w, err := u.encoded(ctx, u.kind, e, obj)
	if err != nil {
		return nil, failed, err
	}
	if bytes.Equal(w.data, e.data) {
		return live, written, nil
	}
	gone := released(u.kind, obj, live)
	if u.o.DryRun {
		w.obj.SetResourceVersion(live.GetResourceVersion())
		obj, err = u.shows(ctx, u.kind, w.obj)
		return obj, written, err
	}
	if !gone {
		return u.commit(ctx, u.kind, w, commit)
	}
	last := w.obj
	last.SetResourceVersion(live.GetResourceVersion())
	w.obj, w.data = nil, nil
	_, v, err := u.commit(ctx, u.kind, w, commit)
	if err == nil {
		last, err = u.shows(ctx, u.kind, last)
	}
	return last, v, err
}

// attributes are what admission is told of the update.
func (u *updater) attributes(obj, live Object) Attributes {
	return Attributes{
		Kind: u.kind, Subresource: u.o.Subresource, Operation: OpUpdate, Namespace: u.namespace, Name: u.name,
		Object: obj, Old: live, DryRun: u.o.DryRun, User: u.o.User, Options: options(u.o.Options), Remarks: u.o.Remarks,
	}
}

// changed is the new object, valid, as the kind would have it written.
func (u *updater) changed(ctx context.Context, live Object) (Object, error) {
	if err := checkPreconditions(u.kind, live, u.o.Preconditions); err != nil {
		return nil, err
	}
	obj, err := u.change(clone(live))
	if err != nil {
		return nil, err
	}
	if err := u.checkName(obj); err != nil {
		return nil, err
	}
	if err := u.checkIdentity(obj, live); err != nil {
		return nil, err
	}
	u.kinds.Default(u.kind, obj)
	obj = u.owned(ctx, u.kind, u.o.Subresource, live, obj, u.o.Manager)
	a := u.attributes(obj, live)
	if err := u.admit(ctx, &a); err != nil {
		return nil, err
	}
	u.prepare(obj, live)
	if u.sub == nil {
		if err := u.allocate(u.kind, obj, live); err != nil {
			return nil, err
		}
	}
	return obj, invalid(u.kind, u.name, u.check(obj, live))
}

// prepare and check ask the subresource, or the kind where it has nothing to say.
func (u *updater) prepare(obj, live Object) {
	switch {
	case u.sub != nil && u.sub.PrepareForUpdate != nil:
		u.sub.PrepareForUpdate(obj, live)
	case u.kind.PrepareForUpdate != nil:
		u.kind.PrepareForUpdate(obj, live)
	}
}

func (u *updater) check(obj, live Object) field.ErrorList {
	switch {
	case u.sub != nil && u.sub.ValidateUpdate != nil:
		return u.sub.ValidateUpdate(obj, live)
	case u.kind.ValidateUpdate != nil:
		return u.kind.ValidateUpdate(obj, live)
	}
	return nil
}

// checkName refuses an object that is another one than was asked for.
func (u *updater) checkName(obj Object) error {
	if !u.kind.Namespaced {
		obj.SetNamespace("")
	} else if obj.GetNamespace() == "" {
		obj.SetNamespace(u.namespace)
	}
	if obj.GetNamespace() != u.namespace {
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	if obj.GetName() != u.name {
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", obj.GetName(), u.name))
	}
	return nil
}

// checkIdentity compares what obj says it was made from with the live object.
func (u *updater) checkIdentity(obj, live Object) error {
	if uid := obj.GetUID(); uid != "" {
		if err := checkPreconditions(u.kind, live, &metav1.Preconditions{UID: &uid}); err != nil {
			return err
		}
	}
	switch rv := obj.GetResourceVersion(); rv {
	case live.GetResourceVersion():
		return nil
	case "", "0":
		if u.kind.UnconditionalUpdate {
			obj.SetResourceVersion(live.GetResourceVersion())
			return nil
		}
		resource := schema.GroupKind{Group: u.kind.Group, Kind: u.kind.Plural} // Kubernetes names it so here
		return apierrors.NewInvalid(resource, u.name, field.ErrorList{field.Invalid(
			field.NewPath("metadata", "resourceVersion"), 0, "must be specified for an update")})
	}
	return conflict(u.kind, u.name, objectModified)
}
