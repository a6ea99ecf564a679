package downlink

import (
	"cmp"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/proto/nodelink"
)

// kindsOf finds the kinds that nodes are told of.
func kindsOf(r *resource.Registry) map[nodelink.Kind]*resource.Kind {
	kinds := map[nodelink.Kind]*resource.Kind{}
	for kind, obj := range map[nodelink.Kind]resource.Object{
		nodelink.Kind_KIND_NODE:            &corev1.Node{},
		nodelink.Kind_KIND_POD:             &corev1.Pod{},
		nodelink.Kind_KIND_CONFIG_MAP:      &corev1.ConfigMap{},
		nodelink.Kind_KIND_SECRET:          &corev1.Secret{},
		nodelink.Kind_KIND_SERVICE_ACCOUNT: &corev1.ServiceAccount{},
		nodelink.Kind_KIND_SERVICE:         &corev1.Service{},
		nodelink.Kind_KIND_ENDPOINT_SLICE:  &discoveryv1.EndpointSlice{},
		nodelink.Kind_KIND_NAMESPACE:       &corev1.Namespace{},
	} {
		k, ok := r.For(obj)
		if !ok {
			panic(fmt.Sprintf("downlink: type %T is not registered", obj))
		}
		kinds[kind] = k
	}
	return kinds
}

// key names an object in a node's picture.
type key struct {
	kind            nodelink.Kind
	namespace, name string
}

// compare orders keys as they are sent: what a pod needs before the pod.
func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(rank(k.kind), rank(o.kind)), cmp.Compare(k.kind, o.kind), cmp.Compare(k.namespace, o.namespace), cmp.Compare(k.name, o.name))
}

func rank(k nodelink.Kind) int {
	switch k {
	case nodelink.Kind_KIND_NAMESPACE:
		return 0
	case nodelink.Kind_KIND_POD:
		return 2
	}
	return 1
}

// follow marks, in every session that it concerns, each key of the kind that changes.
func (d *Downlink) follow(ctx context.Context, kind nodelink.Kind) error {
	for ctx.Err() == nil {
		w, err := d.State.Watch(ctx, d.kinds[kind], state.WatchOptions{})
		if err == nil {
			// What happened before this watch is in no batch of it.
			for _, s := range d.live() {
				s.feed.markAll(s)
			}
			err = d.followWatch(ctx, kind, w)
			w.Close()
		}
		if err != nil && ctx.Err() == nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
			return fmt.Errorf("downlink: following %s: %w", d.kinds[kind].Plural, err)
		}
	}
	return nil
}

func (d *Downlink) followWatch(ctx context.Context, kind nodelink.Kind, w *state.Watch) error {
	for {
		events, _, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for _, s := range d.live() {
			s.feed.markEvents(kind, events)
		}
	}
}
