package apiserver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"wherry/orchestrator/apiserver/openapi"
	"wherry/orchestrator/resource"
)

// customManagers are those of custom kinds, by subresource, from when their objects are first written.
type customManagers struct {
	mu     sync.Mutex
	byKind map[*resource.Kind]map[string]*managedfields.FieldManager
	types  map[*resource.Kind]managedfields.TypeConverter // of all versions of a kind
}

// Types finds what an object, shown as one of kind, is merged by.
func (m *Managers) Types(kind *resource.Kind, obj runtime.Object) (managedfields.TypeConverter, error) {
	if _, custom := obj.(runtime.Unstructured); !custom {
		return m.types, nil
	}
	m.custom.mu.Lock()
	defer m.custom.mu.Unlock()
	return m.customTypes(kind)
}

// customTypes is asked with custom.mu held.
func (m *Managers) customTypes(kind *resource.Kind) (managedfields.TypeConverter, error) {
	if types := m.custom.types[kind]; types != nil {
		return types, nil
	}
	types, err := openapi.CustomTypes(m.kinds.Versions(kind))
	if err != nil {
		return nil, err
	}
	m.forget()
	if m.custom.types == nil {
		m.custom.types = map[*resource.Kind]managedfields.TypeConverter{}
	}
	m.custom.types[kind] = types
	return types, nil
}

// of finds who keeps the fields that are written through a door.
func (m *Managers) of(kind *resource.Kind, subresource string) (*managedfields.FieldManager, error) {
	if kind.Custom == nil {
		return m.byDoor[door{kind.GroupVersionKind, subresource}], nil
	}
	m.custom.mu.Lock()
	defer m.custom.mu.Unlock()
	if keeper := m.custom.byKind[kind][subresource]; keeper != nil {
		return keeper, nil
	}
	keeper, err := m.makeCustom(kind, subresource)
	if err != nil {
		return nil, fmt.Errorf("apiserver: field manager of %s: %w", kind.GroupVersionKind, err)
	}
	m.forget()
	if m.custom.byKind == nil {
		m.custom.byKind = map[*resource.Kind]map[string]*managedfields.FieldManager{}
	}
	if m.custom.byKind[kind] == nil {
		m.custom.byKind[kind] = map[string]*managedfields.FieldManager{}
	}
	m.custom.byKind[kind][subresource] = keeper
	return keeper, nil
}

// forget drops what belongs to kinds that are defined no more, or otherwise.
func (m *Managers) forget() {
	served := map[*resource.Kind]bool{}
	for _, kind := range m.kinds.All() {
		served[kind] = true
	}
	maps.DeleteFunc(m.custom.byKind, func(kind *resource.Kind, _ map[string]*managedfields.FieldManager) bool { return !served[kind] })
	maps.DeleteFunc(m.custom.types, func(kind *resource.Kind, _ managedfields.TypeConverter) bool { return !served[kind] })
}

func (m *Managers) makeCustom(kind *resource.Kind, subresource string) (*managedfields.FieldManager, error) {
	versions := m.kinds.Versions(kind)
	types, err := m.customTypes(kind)
	if err != nil {
		return nil, err
	}
	objects := customObjects{m.kinds}
	return managedfields.NewDefaultCRDFieldManager(types, objects, objects, objects,
		kind.GroupVersionKind, kind.GroupVersion(), subresource, filters(versions, subresource))
}

// customObjects does for managed fields with custom objects what the scheme does with typed ones.
type customObjects struct{ kinds *resource.Registry }

// ConvertToVersion implements runtime.ObjectConvertor.
func (c customObjects) ConvertToVersion(in runtime.Object, gv runtime.GroupVersioner) (runtime.Object, error) {
	gvk := in.GetObjectKind().GroupVersionKind()
	to, ok := gv.(schema.GroupVersion)
	if ok && gvk.GroupVersion() == to {
		return in, nil
	}
	obj, isObject := in.(resource.Object)
	here, isServed := c.kinds.Kind(gvk)
	there, isServedThere := c.kinds.Kind(to.WithKind(gvk.Kind))
	if !ok || !isObject || !isServed || !isServedThere {
		return nil, runtime.NewNotRegisteredErrForTarget("custom kinds", reflect.TypeOf(in), gv)
	}
	return resource.Convert(context.Background(), obj, here, there)
}

// Convert and ConvertFieldLabel are not asked for.
func (c customObjects) Convert(in, out, context any) error {
	return errors.New("custom objects are not converted in place")
}
func (c customObjects) ConvertFieldLabel(gvk schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

// Default implements runtime.ObjectDefaulter.
func (c customObjects) Default(in runtime.Object) {
	obj, ok := in.(resource.Object)
	if !ok {
		return
	}
	if kind, ok := c.kinds.Kind(in.GetObjectKind().GroupVersionKind()); ok && kind.Default != nil {
		kind.Default(obj)
	}
}

// New implements runtime.ObjectCreater.
func (c customObjects) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	return resource.NewUnstructured(gvk)(), nil
}
