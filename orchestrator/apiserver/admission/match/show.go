package match

import (
	"context"
	"fmt"
	"reflect"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// SentKind is the kind of what the client sent, when the object is shown as one of k.
func SentKind(a *state.Attributes, k *resource.Kind) schema.GroupVersionKind {
	sent := a.Sent()
	if sent == nil || isOf(k, a, sent) {
		if door := Scale(a); door != nil {
			return scaleKind
		}
		return k.GroupVersionKind
	}
	if gvk := sent.GetObjectKind().GroupVersionKind(); gvk.Kind != "" {
		return gvk
	}
	if kinds, _, err := a.Reader.Kinds().Scheme().ObjectKinds(sent); err == nil {
		return kinds[0]
	}
	return k.GroupVersionKind
}

// isOf says whether what was sent is an object of the request's own kind, which other versions can show.
func isOf(k *resource.Kind, a *state.Attributes, sent runtime.Object) bool {
	return a.Connect == nil && fmt.Sprintf("%T", sent) == fmt.Sprintf("%T", a.Kind.New())
}

var scaleKind = autoscalingv1.SchemeGroupVersion.WithKind("Scale")

// Scale is the door to the object's replicas if the request goes through it, else nil: what is sent and shown is
// an autoscaling/v1 Scale.
func Scale(a *state.Attributes) *resource.Scale {
	if door := a.Kind.Subresources[a.Subresource]; door != nil {
		return door.Scale
	}
	return nil
}

func scaleOf(obj state.Object, door *resource.Scale) *autoscalingv1.Scale {
	spec, status, selector := door.Replicas(obj)
	s := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: obj.GetName(), Namespace: obj.GetNamespace(), UID: obj.GetUID(),
			ResourceVersion: obj.GetResourceVersion(), CreationTimestamp: obj.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: spec},
		Status: autoscalingv1.ScaleStatus{Replicas: status, Selector: selector},
	}
	s.SetGroupVersionKind(scaleKind)
	return s
}

// Show returns the request's objects as k shows them, nil where there are none, with apiVersion and kind set. They are
// copies.
func Show(ctx context.Context, a *state.Attributes, k *resource.Kind) (obj, old runtime.Object, err error) {
	if sent := a.Sent(); sent != nil {
		if obj, err = show(ctx, a, k, sent); err != nil {
			return nil, nil, err
		}
	}
	if a.Old != nil {
		old, err = show(ctx, a, k, a.Old)
	}
	return obj, old, err
}

func show(ctx context.Context, a *state.Attributes, k *resource.Kind, of runtime.Object) (runtime.Object, error) {
	own, ok := of.(state.Object)
	if !ok || !isOf(k, a, of) {
		out := of.DeepCopyObject()
		out.GetObjectKind().SetGroupVersionKind(SentKind(a, k))
		return out, nil
	}
	if door := Scale(a); door != nil {
		return scaleOf(own, door), nil
	}
	shown, err := resource.Convert(ctx, own, a.Kind, k)
	if err != nil {
		return nil, err
	}
	out := shown.DeepCopyObject()
	out.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
	return out, nil
}

// Decode reads an object of the same type as what was shown. Strict: unknown and double fields are errors.
func Decode(shown runtime.Object, data []byte, strict bool) (state.Object, error) {
	fresh, ok := reflect.New(reflect.TypeOf(shown).Elem()).Interface().(state.Object)
	if !ok {
		return nil, fmt.Errorf("a %T is no object", shown)
	}
	if u, ok := fresh.(*unstructured.Unstructured); ok {
		return fresh, u.UnmarshalJSON(data)
	}
	if !strict {
		return fresh, kjson.UnmarshalCaseSensitivePreserveInts(data, fresh)
	}
	wrong, err := kjson.UnmarshalStrict(data, fresh)
	if err == nil && len(wrong) > 0 {
		err = runtime.NewStrictDecodingError(wrong)
	}
	return fresh, err
}

// Take makes a.Object what fresh, shown as one of k, says, with its defaults.
func Take(ctx context.Context, a *state.Attributes, k *resource.Kind, fresh state.Object) error {
	if scale, ok := fresh.(*autoscalingv1.Scale); ok {
		if door := Scale(a); door != nil {
			door.Set(a.Object, scale.Spec.Replicas)
			a.Replaced = true
			return nil
		}
	}
	if reflect.TypeOf(fresh) == reflect.TypeOf(k.New()) {
		a.Reader.Kinds().Default(k, fresh)
		own, err := resource.Convert(ctx, fresh, k, a.Kind)
		if err != nil {
			return err
		}
		fresh = own
	}
	if reflect.TypeOf(fresh) != reflect.TypeOf(a.Object) {
		return fmt.Errorf("a %T cannot replace a %T", fresh, a.Object)
	}
	fresh.GetObjectKind().SetGroupVersionKind(a.Object.GetObjectKind().GroupVersionKind())
	reflect.ValueOf(a.Object).Elem().Set(reflect.ValueOf(fresh).Elem())
	a.Replaced = true
	return nil
}
