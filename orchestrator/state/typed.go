package state

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"wherry/orchestrator/resource"
)

// What follows is for controllers: typed, from memory, without errors that cannot happen.
// It sees every write that this process was answered. A type that is no kind of the
// registry is a mistake of the program.

func (s *State) kindOf(obj Object) *resource.Kind {
	k, ok := s.kinds.For(obj)
	if !ok {
		panic(fmt.Sprintf("state: type %T is not registered", obj))
	}
	return k
}

func kindFor[T Object](s *State) *resource.Kind {
	var zero T
	k := s.kindOf(zero)
	if k.View != nil {
		panic(fmt.Sprintf("state: %T is a view: the control plane reads what is stored", zero))
	}
	return k
}

// Get returns the object from the in-memory copy, or the zero T and false.
func Get[T Object](s *State, namespace, name string) (T, bool) {
	e, ok := s.lookup(kindFor[T](s), namespace, name)
	if !ok {
		var zero T
		return zero, false
	}
	return e.Object().(T), true
}

// List returns what is selected from the in-memory copy, ordered by namespace and name.
func List[T Object](s *State, sel Selector) []T {
	k := kindFor[T](s)
	m := newMatcher(k, sel)
	v, _ := s.view(s.table(k), m)
	var out []T
	v.scan(m, "", func(e *Entry) bool {
		out = append(out, e.Object().(T))
		return true
	})
	return out
}

// Create stores a new object as the control plane itself.
func Create[T Object](ctx context.Context, s *State, obj T) (T, error) {
	created, err := s.Create(ctx, kindFor[T](s), obj, CreateOptions{})
	return typed[T](created, err)
}

// Update changes an object through its main door, "status" through UpdateStatus. change edits
// a private copy in place; returning an error gives up. Conflicts are retried.
func Update[T Object](ctx context.Context, s *State, namespace, name string, change func(T) error) (T, error) {
	return update(ctx, s, namespace, name, change, UpdateOptions{})
}

// UpdateStatus is Update through the status subresource.
func UpdateStatus[T Object](ctx context.Context, s *State, namespace, name string, change func(T) error) (T, error) {
	return update(ctx, s, namespace, name, change, UpdateOptions{Subresource: "status"})
}

func update[T Object](ctx context.Context, s *State, namespace, name string, change func(T) error, o UpdateOptions) (T, error) {
	updated, _, err := s.Update(ctx, kindFor[T](s), namespace, name, func(live Object) (Object, error) {
		if live == nil {
			return nil, apierrors.NewNotFound(kindFor[T](s).GroupResource(), name)
		}
		return live, change(live.(T))
	}, o)
	return typed[T](updated, err)
}

// Delete deletes an object of type T.
func Delete[T Object](ctx context.Context, s *State, namespace, name string, o DeleteOptions) error {
	_, _, err := s.Delete(ctx, kindFor[T](s), namespace, name, o)
	return err
}

func typed[T Object](obj Object, err error) (T, error) {
	if err != nil {
		var zero T
		return zero, err
	}
	return obj.(T), nil
}
