package apiserver

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"wherry/orchestrator/apiserver/openapi"
	"wherry/orchestrator/resource"
)

// Managers keep who owns which field, one per kind and subresource.
type Managers struct {
	kinds  *resource.Registry
	types  managedfields.TypeConverter // of kinds that are built in
	byDoor map[door]*managedfields.FieldManager
	custom customManagers
	new    shapes
}

type door struct {
	schema.GroupVersionKind
	subresource string
}

// NewManagers prepares the managers of all kinds.
func NewManagers(kinds *resource.Registry) (*Managers, error) {
	scheme := kinds.Scheme()
	m := &Managers{kinds: kinds, types: openapi.TypeConverter(scheme), byDoor: map[door]*managedfields.FieldManager{}}
	types := converter{m.types}
	add := func(kind *resource.Kind, subresource string) error {
		manager, err := managedfields.NewDefaultFieldManager(types, versions{kinds.Converter()}, scheme, scheme,
			kind.GroupVersionKind, kind.GroupVersion(), subresource, filters(kinds.Versions(kind), subresource))
		if err != nil {
			return fmt.Errorf("apiserver: field manager of %s: %w", kind.GroupVersionKind, err)
		}
		m.byDoor[door{kind.GroupVersionKind, subresource}] = manager
		return nil
	}
	for _, kind := range kinds.All() {
		if kind.Custom != nil {
			continue
		}
		if err := add(kind, ""); err != nil {
			return nil, err
		}
		for name := range kind.Subresources {
			if err := add(kind, name); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

// filters leave out, in each version, what a write through the door does not set.
func filters(versions []*resource.Kind, subresource string) map[fieldpath.APIVersion]fieldpath.Filter {
	all := map[fieldpath.APIVersion]fieldpath.Filter{}
	for _, kind := range versions {
		version, resets := fieldpath.APIVersion(kind.GroupVersion().String()), kind.Resets
		if sub, ok := kind.Subresources[subresource]; ok {
			resets = sub.Resets
			if sub.Owned != nil {
				all[version] = sub.Owned
				continue
			}
		}
		if resets != nil {
			all[version] = fieldpath.NewExcludeSetFilter(resets)
		}
	}
	return all
}

// Update implements state.Managers.
func (m *Managers) Update(kind *resource.Kind, subresource string, live, obj resource.Object, manager string) resource.Object {
	if live == nil {
		return m.created(kind, obj, manager)
	}
	return m.update(kind, subresource, live, obj, manager)
}

func (m *Managers) update(kind *resource.Kind, subresource string, live, obj resource.Object, manager string) resource.Object {
	if kind.Custom != nil && kind.Custom.Mixed {
		return obj // it is in the version in which it is stored, which has no manager
	}
	obj.GetObjectKind().SetGroupVersionKind(kind.GroupVersionKind)
	keeper, err := m.of(kind, subresource)
	if err != nil {
		return obj // as UpdateNoErrors does: the write counts more than its record
	}
	return keeper.UpdateNoErrors(live, obj, manager).(resource.Object)
}

// created is update of a new object. Which fields it owns was computed before if an object was created that
// differs in nothing but its identity, as the pods of a ReplicaSet do.
func (m *Managers) created(kind *resource.Kind, obj resource.Object, manager string) resource.Object {
	shape, ok := shapeOf(kind, obj, manager)
	if !ok {
		return m.update(kind, "", kind.New(), obj, manager)
	}
	if fields := m.new.get(shape); fields != nil {
		t := metav1.NewTime(time.Now().UTC())
		obj.SetManagedFields([]metav1.ManagedFieldsEntry{{
			Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: kind.GroupVersion().String(),
			Time: &t, FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: fields},
		}})
		return obj
	}
	obj = m.update(kind, "", kind.New(), obj, manager)
	if entries := obj.GetManagedFields(); len(entries) == 1 {
		m.new.put(shape, entries[0].FieldsV1.Raw)
	}
	return obj
}

// apply merges what manager wants into live and returns the result. Errors: a 409 Status
// with the fields that others own, 400.
func (m *Managers) apply(kind *resource.Kind, subresource string, live resource.Object, patch *unstructured.Unstructured, manager string, force bool) (resource.Object, error) {
	keeper, err := m.of(kind, subresource)
	if err != nil {
		return nil, err
	}
	obj, err := keeper.Apply(live, patch, manager, force)
	if err != nil {
		return nil, err
	}
	return obj.(resource.Object), nil
}
