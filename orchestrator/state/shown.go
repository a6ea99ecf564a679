package state

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"wherry/orchestrator/resource"
)

// Tables, entries and commits are of the stored kinds. What follows brings objects of a View in and out.

// show returns entries as k shows them: itself where it is what is stored. Errors: k's conversion's.
func (s *State) show(ctx context.Context, k *resource.Kind, entries ...*Entry) ([]*Entry, error) {
	if k.View == nil || len(entries) == 0 {
		return entries, nil
	}
	objs := make([]Object, len(entries))
	for i, e := range entries {
		objs[i] = e.Object()
	}
	objs, err := k.Show(ctx, objs...)
	if err != nil {
		return nil, conversion(k, err)
	}
	t := newTable(k, &encodings{})
	t.prefix = s.table(k).prefix
	shown := make([]*Entry, len(entries))
	for i, e := range entries {
		if shown[i], err = t.shown(e, objs[i]); err != nil {
			return nil, conversion(k, err)
		}
	}
	return shown, nil
}

// shown is e with another object.
func (t *table) shown(e *Entry, obj Object) (*Entry, error) {
	obj = clone(obj) // it may share memory with e's
	data, err := t.as.Load().codec.encode(obj)
	if err != nil {
		return nil, err
	}
	obj.SetResourceVersion(formatRevision(e.revision))
	shown := e.at(e.revision)
	shown.table, shown.data, shown.object = t, data, weakly(obj)
	return shown, nil
}

// shows is show for one object that need not be an entry's.
func (s *State) shows(ctx context.Context, k *resource.Kind, obj Object) (Object, error) {
	if k.View == nil || obj == nil {
		return obj, nil
	}
	shown, err := k.Show(ctx, obj)
	if err != nil {
		return nil, conversion(k, err)
	}
	return shown[0], nil
}

// encoded prepares to write obj, which is of k, over live.
func (s *State) encoded(ctx context.Context, k *resource.Kind, live *Entry, obj Object) (write, error) {
	t, err := s.writable(k)
	if err != nil {
		return write{}, err
	}
	if k.View == nil {
		return t.encoded(live, obj)
	}
	stored, err := k.Store(ctx, obj)
	if err != nil {
		return write{}, conversion(k, err)
	}
	obj = clone(stored[0])
	s.kinds.Default(k.Stored(), obj)
	return t.encoded(live, obj)
}

// conversion words a failed conversion, unless it does so itself.
func conversion(k *resource.Kind, err error) error {
	if _, ok := err.(apierrors.APIStatus); ok {
		return err
	}
	return apierrors.NewInternalError(fmt.Errorf("converting %s to or from %s: %w", k.Kind, k.GroupVersion(), err))
}
