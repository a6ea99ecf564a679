package state

import (
	"context"
	"errors"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"

	"wherry/orchestrator/resource"
)

// CreateOptions qualify a Create.
type CreateOptions struct {
	DryRun bool
	// User and Options are for Admission: see Attributes.
	User    *authenticationv1.UserInfo
	Options *metav1.CreateOptions
	// Manager owns the fields that are set; "": whom the context names (As), or nobody.
	Manager string
	// Remarks takes what admission has to say; nil: nobody listens.
	Remarks *Remarks
}

// Names are generated as Kubernetes does: the prefix cut so that five random letters fit
// into 63, tried anew eight times.
const (
	maxGeneratedPrefix = 58
	generatedLetters   = 5
	generateAttempts   = 8
)

// Create stores a new object: name generated, uid, defaults, mutating admission,
// allocation, validation, validating admission. obj is not modified; the stored object is returned (with DryRun, what would
// be stored). Errors: AlreadyExists, Invalid, BadRequest, admission's.
func (s *State) Create(ctx context.Context, k *resource.Kind, obj Object, o CreateOptions) (Object, error) {
	if obj.GetName() != "" || obj.GetGenerateName() == "" {
		return s.create(ctx, k, clone(obj), o)
	}
	prefix := obj.GetGenerateName()
	prefix = prefix[:min(len(prefix), maxGeneratedPrefix)]
	for attempt := 1; ; attempt++ {
		draft := clone(obj)
		draft.SetName(prefix + rand.String(generatedLetters))
		created, err := s.create(ctx, k, draft, o)
		switch {
		case !apierrors.IsAlreadyExists(err):
			return created, err
		case attempt == generateAttempts:
			return nil, apierrors.NewGenerateNameConflict(k.GroupResource(), draft.GetName(), 1)
		}
	}
}

// create takes draft over.
func (s *State) create(ctx context.Context, k *resource.Kind, draft Object, o CreateOptions) (Object, error) {
	if err := beginNew(k, draft); err != nil {
		return nil, err
	}
	s.kinds.Default(k, draft)
	draft = s.owned(ctx, k, "", nil, draft, o.Manager)
	a := Attributes{
		Kind: k, Operation: OpCreate, Namespace: draft.GetNamespace(), Name: draft.GetName(),
		Object: draft, DryRun: o.DryRun, User: o.User, Options: options(o.Options), Remarks: o.Remarks,
	}
	if err := s.admit(ctx, &a); err != nil {
		return nil, err
	}
	if k.PrepareForCreate != nil {
		k.PrepareForCreate(draft)
	}
	if k.CreatedBy != nil && o.User != nil {
		k.CreatedBy(draft, *o.User)
	}
	for lost := 0; lost < maxClaimsLost; lost++ {
		created, v, err := s.insert(ctx, a, clone(draft))
		if v != claimLost {
			return created, err
		}
	}
	return nil, conflict(k, draft.GetName(), "what it needs is being taken by others; please try again")
}

// beginNew fills in what the server alone decides of a new object's metadata.
func beginNew(k *resource.Kind, draft Object) error {
	if draft.GetResourceVersion() != "" {
		return apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	if !k.Namespaced {
		draft.SetNamespace("")
	}
	draft.SetUID(uuid.NewUUID())
	draft.SetCreationTimestamp(now())
	draft.SetDeletionTimestamp(nil)
	draft.SetDeletionGracePeriodSeconds(nil)
	draft.SetSelfLink("")
	return nil
}

// insert allocates, validates and writes obj once.
func (s *State) insert(ctx context.Context, a Attributes, obj Object) (Object, verdict, error) {
	k := a.Kind
	if err := s.creatable(k, obj); err != nil {
		return nil, failed, err
	}
	if err := s.allocate(k, obj, nil); err != nil {
		return nil, failed, err
	}
	if k.Validate != nil {
		if err := invalid(k, obj.GetName(), k.Validate(obj)); err != nil {
			return nil, failed, err
		}
	}
	a.Object = obj
	commit, err := s.validate(ctx, &a)
	defer commit.end()
	if err != nil {
		return nil, failed, err
	}
	w, err := s.encoded(ctx, k, nil, obj)
	if err != nil {
		return nil, failed, err
	}
	if a.DryRun {
		if err := s.fresh(ctx); err != nil {
			return nil, failed, err
		}
		if e, ok := s.lookup(k, obj.GetNamespace(), obj.GetName()); ok {
			return nil, failed, alreadyExists(k, obj.GetName(), e)
		}
		obj, err := s.shows(ctx, k, w.obj)
		return obj, written, err
	}
	created, v, err := s.commit(ctx, k, w, commit)
	if v == raced {
		e, _ := s.lookup(k, obj.GetNamespace(), obj.GetName())
		return nil, failed, alreadyExists(k, obj.GetName(), e)
	}
	return created, v, err
}

// creatable refuses new objects of a kind whose definition is being deleted.
func (s *State) creatable(k *resource.Kind, obj Object) error {
	if now := s.table(k).kind(); now.Custom != nil && now.Custom.Terminating {
		return apierrors.NewForbidden(k.GroupResource(), obj.GetName(), errors.New("create not allowed while custom resource definition is terminating"))
	}
	return nil
}

// alreadyExists says that e is in the way; e is nil if it has gone since.
func alreadyExists(k *resource.Kind, name string, e *Entry) error {
	err := apierrors.NewAlreadyExists(k.GroupResource(), name)
	if e != nil && e.Object().GetDeletionTimestamp() != nil {
		err.ErrStatus.Message = fmt.Sprintf("object is being deleted: %s", err.ErrStatus.Message)
	}
	return err
}
