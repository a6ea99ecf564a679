package apiserver

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"wherry/orchestrator/resource"
)

// managers keep who owns which field, one per kind and subresource.
type managers struct {
	byDoor map[door]*managedfields.FieldManager
}

type door struct {
	schema.GroupVersionKind
	subresource string
}

func newManagers(kinds *resource.Registry, converter managedfields.TypeConverter) (*managers, error) {
	m := &managers{byDoor: map[door]*managedfields.FieldManager{}}
	scheme := kinds.Scheme()
	add := func(kind *resource.Kind, subresource string) error {
		manager, err := managedfields.NewDefaultFieldManager(converter, kinds.Converter(), scheme, scheme,
			kind.GroupVersionKind, kind.GroupVersion(), subresource, filters(kinds.Versions(kind), subresource))
		if err != nil {
			return fmt.Errorf("apiserver: field manager of %s: %w", kind.GroupVersionKind, err)
		}
		m.byDoor[door{kind.GroupVersionKind, subresource}] = manager
		return nil
	}
	for _, kind := range kinds.All() {
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
		resets := kind.Resets
		if sub, ok := kind.Subresources[subresource]; ok {
			resets = sub.Resets
		}
		if resets != nil {
			all[fieldpath.APIVersion(kind.GroupVersion().String())] = fieldpath.NewExcludeSetFilter(resets)
		}
	}
	return all
}

// update records in obj what manager changed against live, and returns it. live is an empty object for a creation.
func (m *managers) update(kind *resource.Kind, subresource string, live, obj resource.Object, manager string) resource.Object {
	return m.byDoor[door{kind.GroupVersionKind, subresource}].UpdateNoErrors(live, obj, manager).(resource.Object)
}

// apply merges what manager wants into live and returns the result. Errors: a 409 Status
// with the fields that others own, 400.
func (m *managers) apply(kind *resource.Kind, subresource string, live resource.Object, patch *unstructured.Unstructured, manager string, force bool) (resource.Object, error) {
	obj, err := m.byDoor[door{kind.GroupVersionKind, subresource}].Apply(live, patch, manager, force)
	if err != nil {
		return nil, err
	}
	return obj.(resource.Object), nil
}
