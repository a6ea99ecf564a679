package apiserver

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	smd "sigs.k8s.io/structured-merge-diff/v6/typed"
)

// versions and deferred spare field managers the copies that they make only to find that an object is of the
// right version already, which takes most of the time of an update.
type versions struct{ runtime.ObjectConvertor }

// ConvertToVersion returns in itself where nothing is to be converted: field managers do not change it.
func (v versions) ConvertToVersion(in runtime.Object, to runtime.GroupVersioner) (runtime.Object, error) {
	if d, ok := in.(*deferred); ok {
		object, err := d.convert()
		if err != nil {
			return nil, err
		}
		return v.ObjectConvertor.ConvertToVersion(object, to)
	}
	kind := in.GetObjectKind().GroupVersionKind()
	if _, isUnstructured := in.(runtime.Unstructured); !isUnstructured && !kind.Empty() {
		if target, ok := to.KindForGroupVersionKinds([]schema.GroupVersionKind{kind}); ok && target == kind {
			return in, nil
		}
	}
	return v.ObjectConvertor.ConvertToVersion(in, to)
}

// converter is a TypeConverter that defers.
type converter struct{ managedfields.TypeConverter }

func (c converter) TypedToObject(v *smd.TypedValue) (runtime.Object, error) {
	return &deferred{value: v, with: c.TypeConverter}, nil
}

// deferred is an object that is made of its value when it is asked for more than its kind.
type deferred struct {
	value *smd.TypedValue
	with  managedfields.TypeConverter
}

func (d *deferred) convert() (runtime.Object, error) { return d.with.TypedToObject(d.value) }

// GetObjectKind is of a copy.
func (d *deferred) GetObjectKind() schema.ObjectKind {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	content := d.value.AsValue()
	if !content.IsMap() {
		return u
	}
	for _, name := range []string{"apiVersion", "kind"} {
		if field, ok := content.AsMap().Get(name); ok && field.IsString() {
			u.Object[name] = field.AsString()
		}
	}
	return u
}

// DeepCopyObject completes runtime.Object; the value is never changed.
func (d *deferred) DeepCopyObject() runtime.Object { return d }
