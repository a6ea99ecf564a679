// Package resource holds the kinds: one file per kind, with its defaults, validation,
// strategy and table columns, and the scheme that encodes them.
//
// To add a kind, add a file that declares one Kind, and name it in the list of New.
package resource

import (
	"encoding/json"
	"fmt"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Object is a Kubernetes object in its external, versioned type.
type Object interface {
	metav1.Object
	runtime.Object
}

// Kind is everything that the rest of the control plane needs to know of one kind.
// Functions may be nil where the comment says what then happens. No function keeps its
// arguments; those that take an object may change it only where they say so.
type Kind struct {
	schema.GroupVersionKind
	Plural, Singular       string
	ShortNames, Categories []string
	Namespaced             bool
	// Verbs that the API offers; nil means all of create delete deletecollection get list patch update watch.
	Verbs []string

	New     func() Object
	NewList func() runtime.Object

	// View says that the kind is another version of a stored one. nil: it is stored itself.
	View *View
	// Unserved marks a stored kind that clients only see through its views.
	Unserved bool

	// Lazy marks kinds whose writes may be lost in a crash (Event).
	Lazy bool
	// CreateOnUpdate lets PUT create; UnconditionalUpdate lets it omit resourceVersion.
	CreateOnUpdate, UnconditionalUpdate bool

	// Default fills in what the object does not say, in place. nil: the scheme does.
	Default func(obj Object)
	// Derive fills in, after Default, what Kubernetes derives from other fields on the way to its internal type
	// and back: stringData becomes data. It stands before managers and admission. nil: nothing.
	Derive func(obj Object)
	// Decoded is told of every object that was read from the store, and completes it in place. nil:
	// nothing to do.
	Decoded func(obj Object)
	// Defines returns the kinds that an object of this kind defines (CustomResourceDefinition).
	// They are served as long as the object exists. nil: none.
	Defines func(obj Object) []*Kind
	// Custom is set for kinds that an object defines: their objects are *unstructured.Unstructured,
	// which are stored as JSON.
	Custom *Custom

	// PrepareForCreate clears what a client may not set (status) and completes what the
	// server decides (generation). PrepareForUpdate does so against the old object:
	// status restored, generation raised when the spec changed.
	PrepareForCreate func(obj Object)
	PrepareForUpdate func(obj, old Object)
	// CreatedBy notes in a new object, after PrepareForCreate, who creates it. nil: nothing to note.
	CreatedBy func(obj Object, user authenticationv1.UserInfo)
	// Validate and ValidateUpdate return Kubernetes' own errors with field paths.
	Validate       func(obj Object) field.ErrorList
	ValidateUpdate func(obj, old Object) field.ErrorList
	// Deprecated is what everybody is told who uses the kind; "": nothing.
	Deprecated string
	// Warnings are shown to the client (HTTP Warning header). nil: none.
	Warnings func(obj, old Object) []string
	// Inert says what does not happen to objects of the kind because nobody here acts on them yet, as in "nothing
	// scales what it names". Who creates one is warned of it. "": they do what they do in Kubernetes.
	Inert string
	// Resets are fields that no manager owns by writing the main resource (status).
	Resets *fieldpath.Set

	// Claims are keys that the object holds exclusively while it exists, such as a
	// cluster IP or a node port: state reserves them in the same commit. nil: none.
	Claims func(obj Object) []string
	// Allocate completes what must be unique (a free cluster IP), given a function that
	// says whether a claim is taken. It is called before Validate on create and update, and
	// again, with the object as it was before the first call, when a claim was lost to a
	// concurrent writer. Claims that old holds may be taken or not: they are not asked for.
	// Errors: Invalid, InternalError when nothing is free. nil: nothing to allocate.
	Allocate func(obj, old Object, taken func(claim string) bool) error

	// Grace is how long a deletion of obj waits in seconds, given what the client asked
	// for (nil: nothing). 0 deletes at once. nil: at once.
	Grace func(obj Object, asked *int64) int64
	// DefaultPropagation says what happens to dependents when the client does not say. ""
	// means background.
	DefaultPropagation metav1.DeletionPropagation
	// Orphaning is what who deletes without saying a propagation is warned of. "": nothing.
	Orphaning string
	// Leaf marks kinds that nothing depends on: whatever propagation is asked for, nobody waits.
	Leaf bool

	// Deleting is told that obj is marked as being deleted, and may change it (the phase of a
	// Namespace). Holds says that obj, marked or asked to go, stays for a reason of its
	// own beside metadata.finalizers (spec.finalizers of a Namespace). nil: nothing to change, never.
	Deleting func(obj Object)
	Holds    func(obj Object) bool

	// Fields are what field selectors may select by, beside metadata.name and
	// metadata.namespace. nil: none. FieldNames lists them. obj is of the stored kind, also in a View.
	Fields     func(obj Object) fields.Set
	FieldNames []string

	// Columns and Row make `kubectl get`; nil: Name and Created At.
	Columns []metav1.TableColumnDefinition
	Row     func(obj Object) []any
	// Finished is the condition Completed of a row whose object has nothing more to do; else, and if nil: none.
	Finished func(obj Object) *metav1.TableRowCondition

	// Subresources by name: "status", "scale", and others that write the object. Those
	// that do something else (log, exec, binding, eviction) are the apiserver's.
	Subresources map[string]*Subresource
}

// Subresource is a second door to an object.
type Subresource struct {
	// PrepareForUpdate keeps everything of old but what this door may change. nil: the kind's own.
	PrepareForUpdate func(obj, old Object)
	// ValidateUpdate nil: the kind's own.
	ValidateUpdate func(obj, old Object) field.ErrorList
	// Warnings are shown to who writes through the door; nil: none.
	Warnings func(obj, old Object) []string
	Resets   *fieldpath.Set
	// Owned, in place of Resets, passes what a manager may own by writing through the door.
	Owned fieldpath.Filter
	// Verbs that the door offers; nil means get, patch, update.
	Verbs []string
	// Scale is set for "scale": how to read and write replicas.
	Scale *Scale
}

// Scale maps an object to autoscaling/v1 Scale.
type Scale struct {
	Replicas func(obj Object) (spec, status int32, selector string)
	Set      func(obj Object, replicas int32)
	// SpecPath is the field that managers own through the scale, as in "spec.replicas".
	SpecPath fieldpath.Path
}

// EncodeRow is what a table says of obj as the JSON fields cells and, if there are any, conditions; nil if the kind has no rows.
func (k *Kind) EncodeRow(obj Object) ([]byte, error) {
	if k.Row == nil {
		return nil, nil
	}
	cells, err := json.Marshal(k.Row(obj))
	if err != nil {
		return nil, fmt.Errorf("encoding table cells: %w", err)
	}
	out := slices.Concat([]byte(`"cells":`), cells)
	if k.Finished == nil {
		return out, nil
	}
	condition := k.Finished(obj)
	if condition == nil {
		return out, nil
	}
	b, err := json.Marshal([]*metav1.TableRowCondition{condition})
	if err != nil {
		return nil, fmt.Errorf("encoding conditions of a row: %w", err)
	}
	return slices.Concat(out, []byte(`,"conditions":`), b), nil
}

// GroupResource is the kind's group and plural.
func (k *Kind) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.Group, Resource: k.Plural}
}

// GroupVersionResource is the kind's group, version and plural.
func (k *Kind) GroupVersionResource() schema.GroupVersionResource {
	return k.GroupVersion().WithResource(k.Plural)
}
