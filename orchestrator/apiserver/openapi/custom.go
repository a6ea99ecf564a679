package openapi

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"wherry/orchestrator/resource"
)

// CustomTypes returns what managed fields and server-side apply of a custom kind, in all its versions, are
// computed with. Versions without a schema are computed with what their objects look like.
func CustomTypes(versions []*resource.Kind) (managedfields.TypeConverter, error) {
	types := customTypes{}
	for _, k := range versions {
		if k.Custom.Schema == nil {
			types[k.GroupVersion().String()] = typed.DeducedParseableType
			continue
		}
		t, err := customType(k)
		if err != nil {
			return nil, fmt.Errorf("openapi: types of %s: %w", k.GroupVersionKind, err)
		}
		types[k.GroupVersion().String()] = t
	}
	return types, nil
}

func customType(k *resource.Kind) (typed.ParseableType, error) {
	const name = "custom"
	s, err := schemaconv.ToSchemaFromOpenAPI(map[string]*spec.Schema{name: k.Custom.Schema(false)}, k.Custom.Preserve)
	if err != nil {
		return typed.ParseableType{}, err
	}
	meta, err := readTypes()
	if err != nil {
		return typed.ParseableType{}, err
	}
	parser := &typed.Parser{Schema: schema.Schema{Types: append(s.Types, metaTypes(meta.Schema.Types)...)}}
	return parser.Type(name), nil
}

// metaTypes are those that metadata is made of.
func metaTypes(all []schema.TypeDef) []schema.TypeDef {
	wanted := map[string]bool{}
	for _, name := range []string{"ObjectMeta", "ManagedFieldsEntry", "OwnerReference", "FieldsV1", "Time"} {
		wanted["io.k8s.apimachinery.pkg.apis.meta.v1."+name] = true
	}
	wanted["__untyped_atomic_"], wanted["__untyped_deduced_"] = true, true
	var out []schema.TypeDef
	for _, t := range all {
		if wanted[t.Name] {
			out = append(out, t)
		}
	}
	return out
}

// customTypes are the types of one kind by apiVersion.
type customTypes map[string]typed.ParseableType

// ObjectToTyped implements managedfields.TypeConverter.
func (c customTypes) ObjectToTyped(obj runtime.Object, o ...typed.ValidationOptions) (*typed.TypedValue, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("%T is no custom object", obj)
	}
	t, ok := c[u.GetAPIVersion()]
	if !ok {
		return nil, fmt.Errorf("no type for %s in version %s", u.GetKind(), u.GetAPIVersion())
	}
	return t.FromUnstructured(u.UnstructuredContent(), o...)
}

// TypedToObject implements managedfields.TypeConverter.
func (c customTypes) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	fields, ok := v.AsValue().Unstructured().(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%T is no object", v.AsValue().Unstructured())
	}
	return &unstructured.Unstructured{Object: fields}, nil
}
