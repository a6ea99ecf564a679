package resource

import (
	"k8s.io/apimachinery/pkg/api/validate/content"
	genericvalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// typed, typedUpdate and the like make functions on one type fit the fields of Kind.
func typed[E Object](f func(E)) func(Object) {
	return func(obj Object) { f(obj.(E)) }
}

func typedUpdate[E Object](f func(obj, old E)) func(obj, old Object) {
	return func(obj, old Object) { f(obj.(E), old.(E)) }
}

// typedWarnings hands nil as old when there is none.
func typedWarnings[E Object](f func(obj, old E) []string) func(obj, old Object) []string {
	return func(obj, old Object) []string {
		before, _ := old.(E)
		return f(obj.(E), before)
	}
}

// newObject and newList make fields New and NewList.
func newObject[E any, P interface {
	*E
	Object
}]() Object {
	return P(new(E))
}

func newList[E any, P interface {
	*E
	runtime.Object
}]() runtime.Object {
	return P(new(E))
}

// resets names top-level or deeper fields by their path.
func resets(paths ...[]any) *fieldpath.Set {
	set := fieldpath.NewSet()
	for _, p := range paths {
		set.Insert(fieldpath.MakePathOrDie(p...))
	}
	return set
}

var (
	specField   = []any{"spec"}
	statusField = []any{"status"}

	metadataField = []any{"metadata"}
)

// keepAllMetadata restores everything of metadata but who wrote which field.
func keepAllMetadata(meta, old *metav1.ObjectMeta) {
	managed := meta.ManagedFields
	old.DeepCopyInto(meta)
	meta.ManagedFields = managed
}

// complete puts around a kind's own functions what is done for every kind: fields of
// metadata that no client changes, and the validation of metadata.
func complete(k *Kind) {
	k.PrepareForCreate = orNothing(k.PrepareForCreate)
	k.PrepareForUpdate = keepMetadata(k.PrepareForUpdate)
	k.Validate = withMetadata(k.Validate, k.Namespaced)
	k.ValidateUpdate = withMetadataUpdate(k.ValidateUpdate, k.Namespaced)
	k.Warnings = withInert(k.Warnings, k.Inert)
	for _, s := range k.Subresources {
		if s.PrepareForUpdate == nil {
			s.PrepareForUpdate = k.PrepareForUpdate
		} else {
			s.PrepareForUpdate = keepMetadata(s.PrepareForUpdate)
		}
		if s.ValidateUpdate == nil {
			s.ValidateUpdate = k.ValidateUpdate
		} else {
			s.ValidateUpdate = withMetadataUpdate(s.ValidateUpdate, k.Namespaced)
		}
	}
	if k.Columns == nil {
		k.Columns = []metav1.TableColumnDefinition{nameColumn, createdColumn}
		k.Row = func(obj Object) []any { return []any{obj.GetName(), created(obj)} }
	}
}

func orNothing(f func(Object)) func(Object) {
	if f == nil {
		return func(Object) {}
	}
	return f
}

// keepMetadata restores what an update cannot change: the uid if none is given, creation, the mark of
// deletion, and the generation, which only prepare raises.
func keepMetadata(prepare func(obj, old Object)) func(obj, old Object) {
	return func(obj, old Object) {
		obj.SetGeneration(old.GetGeneration())
		if prepare != nil {
			prepare(obj, old)
		}
		if obj.GetUID() == "" {
			obj.SetUID(old.GetUID())
		}
		if t := old.GetCreationTimestamp(); !t.IsZero() {
			obj.SetCreationTimestamp(t)
		}
		if t := old.GetDeletionTimestamp(); !t.IsZero() {
			obj.SetDeletionTimestamp(t)
		}
		if g := old.GetDeletionGracePeriodSeconds(); g != nil && obj.GetDeletionGracePeriodSeconds() == nil {
			obj.SetDeletionGracePeriodSeconds(g)
		}
	}
}

// withMetadata validates metadata when the kind has nothing to say, so that its own
// words about a name are the ones shown.
func withMetadata(f func(Object) field.ErrorList, namespaced bool) func(Object) field.ErrorList {
	return func(obj Object) field.ErrorList {
		if f != nil {
			if errs := f(obj); len(errs) > 0 {
				return errs
			}
		}
		return genericvalidation.ValidateObjectMetaAccessor(obj, namespaced, pathSegment, field.NewPath("metadata"))
	}
}

func withMetadataUpdate(f func(obj, old Object) field.ErrorList, namespaced bool) func(obj, old Object) field.ErrorList {
	return func(obj, old Object) field.ErrorList {
		path := field.NewPath("metadata")
		errs := genericvalidation.ValidateObjectMetaAccessor(obj, namespaced, pathSegment, path)
		errs = append(errs, genericvalidation.ValidateObjectMetaAccessorUpdate(obj, old, path)...)
		if f == nil {
			return errs
		}
		return append(errs, f(obj, old)...)
	}
}

// notActedOn begins the warning about an object that is kept and does nothing.
const notActedOn = "this cluster keeps the object but does not act on it: "

// withInert warns who creates an object of a kind on which nobody acts.
func withInert(f func(obj, old Object) []string, inert string) func(obj, old Object) []string {
	if inert == "" {
		return f
	}
	return func(obj, old Object) []string {
		var warnings []string
		if old == nil {
			warnings = append(warnings, notActedOn+inert)
		}
		if f != nil {
			warnings = append(warnings, f(obj, old)...)
		}
		return warnings
	}
}

// pathSegment says why a name cannot be a part of a URL.
func pathSegment(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}
