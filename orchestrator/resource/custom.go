package resource

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Custom is what is different with kinds that objects define.
type Custom struct {
	// Schema describes the objects as OpenAPI 2 does if v2, else as OpenAPI 3. nil: they are anything. The result is
	// shared.
	Schema func(v2 bool) *spec.Schema
	// Coerce makes of anything that was decoded what decoding does of typed objects: metadata is read strictly, and
	// what the schema does not know is taken away and returned, as in spec.unknown. Errors: metadata that is
	// none. nil: everything is kept.
	Coerce func(obj *unstructured.Unstructured) (unknown []string, err error)
	// Preserve says that fields that the schema does not know are kept.
	Preserve bool
	// Mixed says that objects are stored in several versions: each keeps the apiVersion that it has.
	Mixed bool
}

// NewUnstructured makes field New of custom kinds, NewUnstructuredList NewList.
func NewUnstructured(gvk schema.GroupVersionKind) func() Object {
	return func() Object {
		u := &unstructured.Unstructured{Object: map[string]any{}}
		u.SetGroupVersionKind(gvk)
		return u
	}
}

// NewUnstructuredList is described at NewUnstructured.
func NewUnstructuredList(gvk schema.GroupVersionKind) func() runtime.Object {
	return func() runtime.Object {
		u := &unstructured.UnstructuredList{Object: map[string]any{}}
		u.SetGroupVersionKind(gvk)
		return u
	}
}
