package resource

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// View makes a Kind another version, perhaps in another group, of one that is stored: both show the same
// objects. Requests are read, defaulted, admitted and validated in the version that they speak; what is stored, and
// what the control plane reads, is of the stored kind.
type View struct {
	// Of is the stored kind. It has no View, and nothing to Allocate.
	Of *Kind
	// Show makes objects of this kind of stored ones, Store stored ones of this kind's, one for one and in order.
	// They change no argument; results may share memory with them. Their errors reach the client.
	Show, Store func(ctx context.Context, objs []Object) ([]Object, error)
}

// Stored is the kind in whose version objects of k are stored: k itself unless it is a View.
func (k *Kind) Stored() *Kind {
	if k.View != nil {
		return k.View.Of
	}
	return k
}

// Show makes objects of k of stored ones; see View.
func (k *Kind) Show(ctx context.Context, objs ...Object) ([]Object, error) {
	if k.View == nil {
		return objs, nil
	}
	return k.View.Show(ctx, objs)
}

// Store makes stored objects of those of k; see View.
func (k *Kind) Store(ctx context.Context, objs ...Object) ([]Object, error) {
	if k.View == nil {
		return objs, nil
	}
	return k.View.Store(ctx, objs)
}

// Convert makes an object of one kind one of another that is stored together with it.
func Convert(ctx context.Context, obj Object, from, to *Kind) (Object, error) {
	if from == to {
		return obj, nil
	}
	stored, err := from.Store(ctx, obj)
	if err != nil {
		return nil, err
	}
	shown, err := to.Show(ctx, stored...)
	if err != nil {
		return nil, err
	}
	return shown[0], nil
}

// viewOf lets k show what stored keeps. Kubernetes converts between them by the internal type I.
func viewOf[I any](k, stored *Kind) *Kind {
	k.View = &View{Of: stored, Show: converted[I](k), Store: converted[I](stored)}
	return k
}

// converted makes objects of a kind, by the internal type I.
func converted[I any](to *Kind) func(context.Context, []Object) ([]Object, error) {
	return func(_ context.Context, objs []Object) ([]Object, error) {
		out := make([]Object, len(objs))
		for i, obj := range objs {
			out[i] = to.New()
			if err := converter().Convert(internal[I](obj), out[i], nil); err != nil {
				return nil, err
			}
			out[i].GetObjectKind().SetGroupVersionKind(to.GroupVersionKind)
		}
		return out, nil
	}
}

// Versions are the kinds in which the objects of k are served: the stored one if it is served, then its views.
func (r *Registry) Versions(k *Kind) []*Kind {
	var all []*Kind
	if stored := k.Stored(); !stored.Unserved {
		all = append(all, stored)
	}
	for _, v := range r.All() {
		if v.View != nil && v.View.Of == k.Stored() {
			all = append(all, v)
		}
	}
	return all
}

// Stored are the kinds that are stored, in the order of All: each object is of one of them. Not all of them are served.
func (r *Registry) Stored() []*Kind { return r.current.Load().stored }

// Converter converts objects between the versions in which they are served, and is otherwise the scheme's.
func (r *Registry) Converter() runtime.ObjectConvertor { return versions{r.scheme, r} }

type versions struct {
	runtime.ObjectConvertor
	kinds *Registry
}

// ConvertToVersion returns an object that may share memory with in.
func (v versions) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	obj, ok := in.(Object)
	if !ok {
		return v.ObjectConvertor.ConvertToVersion(in, target)
	}
	from, ok := v.kinds.For(obj)
	if !ok {
		return v.ObjectConvertor.ConvertToVersion(in, target)
	}
	for _, to := range v.kinds.Versions(from) {
		if gvk, ok := target.KindForGroupVersionKinds([]schema.GroupVersionKind{to.GroupVersionKind}); ok && gvk == to.GroupVersionKind && to != from {
			return Convert(context.Background(), obj, from, to)
		}
	}
	return v.ObjectConvertor.ConvertToVersion(in, target)
}
