// Package state keeps the cluster's objects over a store, and the one in-memory copy
// that everybody reads: apiserver, scheduler, controllers, downlink.
//
// Objects handed out are shared and immutable: copy before changing (DeepCopyObject).
// Reads see every write that was answered before them. Errors are Kubernetes' status
// errors (k8s.io/apimachinery/pkg/api/errors): NotFound, AlreadyExists, Conflict,
// Invalid, Expired.
package state

import (
	"context"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/store"
)

// Object is a Kubernetes object in its external, versioned type.
type Object = resource.Object

// Admission sees every write after defaulting and before validation, whoever writes.
// It may change a.Object, or refuse with a status error (Forbidden).
type Admission interface {
	Admit(ctx context.Context, a *Attributes) error
}

// Attributes describe a write.
type Attributes struct {
	Kind        *resource.Kind
	Subresource string
	Operation   string // CREATE, UPDATE, DELETE
	Namespace   string
	Name        string
	Object, Old Object // Object is nil for DELETE, Old for CREATE
	DryRun      bool
	User        string // "" for the control plane itself
	// Reader is the state that is written to.
	Reader *State
}

// Options configure Open.
type Options struct {
	Kinds *resource.Registry
	// Admission may be nil.
	Admission Admission
	// CacheBytes bounds the encoded forms kept beside the stored bytes; 0 means 8 MiB.
	CacheBytes int
}

// Entry is one stored object at one revision. All methods may be called concurrently.
type Entry struct{}

// Object decodes the entry; the result is shared and cached weakly.
func (e *Entry) Object() Object { panic("contract") }

// JSON is the object as the API shows it (one line, apiVersion and kind set); shared.
func (e *Entry) JSON() []byte { panic("contract") }

// Proto is the object as a Kubernetes protobuf message with its magic prefix; shared.
func (e *Entry) Proto() []byte { panic("contract") }

// Revision is the commit that wrote the entry.
func (e *Entry) Revision() store.Revision { panic("contract") }

// Namespace, Name, UID and Labels are known without decoding.
func (e *Entry) Namespace() string  { panic("contract") }
func (e *Entry) Name() string       { panic("contract") }
func (e *Entry) UID() types.UID     { panic("contract") }
func (e *Entry) Labels() labels.Set { panic("contract") }

// EventType as Kubernetes' watch words it.
type EventType string

const (
	Added    EventType = "ADDED"
	Modified EventType = "MODIFIED"
	Deleted  EventType = "DELETED"
	Bookmark EventType = "BOOKMARK"
)

// Event is one change. For Deleted, Entry is the last state and Revision is the
// deletion's, which is also the resourceVersion to show. Prev is nil for a key that did not exist before.
// For Bookmark, Entry is nil.
type Event struct {
	Type        EventType
	Entry, Prev *Entry
	Revision    store.Revision
}

// Selector narrows a List or Watch; the zero value selects all of the kind. Owner and
// Node are answered from indexes.
type Selector struct {
	Namespace string
	Name      string
	Labels    labels.Selector
	Fields    fields.Selector
	Owner     types.UID // objects with an owner reference to it
	Node      string    // pods with this spec.nodeName
}

// ListOptions page a List.
type ListOptions struct {
	Selector
	Limit    int64
	Continue string
	// ResourceVersion and Match have the meaning of metav1.ListOptions.
	ResourceVersion string
	Match           metav1.ResourceVersionMatch
}

// Page is an answer to List.
type Page struct {
	Entries   []*Entry
	Revision  store.Revision
	Continue  string // "" at the end
	Remaining *int64
}

// WatchOptions say where a watch begins.
type WatchOptions struct {
	Selector
	// After is the revision to go on from. With Initial, everything that is selected
	// comes first as Added, then one Bookmark, then the changes.
	After   store.Revision
	Initial bool
}

// CreateOptions, UpdateOptions and DeleteOptions qualify a write.
type CreateOptions struct {
	DryRun bool
	User   string
}
type UpdateOptions struct {
	DryRun bool
	User   string
	// Subresource is "" or a name of Kind.Subresources.
	Subresource string
	// Preconditions may be nil.
	Preconditions *metav1.Preconditions
}
type DeleteOptions struct {
	DryRun        bool
	User          string
	Grace         *int64 // seconds
	Preconditions *metav1.Preconditions
	Propagation   *metav1.DeletionPropagation
}

// State is the cluster's objects. See Open.
type State struct{}

// Open reads everything from the store. Run must be called for State to follow it.
func Open(ctx context.Context, st store.Store, o Options) (*State, error) { panic("contract") }

// Run follows the store until ctx ends.
func (s *State) Run(ctx context.Context) error { panic("contract") }

// Kinds are the kinds that the state was opened with.
func (s *State) Kinds() *resource.Registry { panic("contract") }

// Revision is the newest revision that reads see.
func (s *State) Revision() store.Revision { panic("contract") }

// Get returns one object. namespace is "" for cluster-scoped kinds. Errors: NotFound.
func (s *State) Get(ctx context.Context, k *resource.Kind, namespace, name string) (*Entry, error) {
	panic("contract")
}

// List returns what is selected, ordered by namespace and name. Errors: Expired (410).
func (s *State) List(ctx context.Context, k *resource.Kind, o ListOptions) (*Page, error) {
	panic("contract")
}

// Watch begins a watch. Errors: Expired.
func (s *State) Watch(ctx context.Context, k *resource.Kind, o WatchOptions) (*Watch, error) {
	panic("contract")
}

// Watch hands out the changes of one kind. It is pulled and buffers nothing beyond
// the store's history.
type Watch struct{}

// Next waits for changes in revision order. Entry into and exit out of the selection
// are Added and Deleted. The revision says how far the watch has come, for bookmarks.
// Errors: Expired when the reader fell behind the history, the context's.
func (w *Watch) Next(ctx context.Context) ([]Event, store.Revision, error) { panic("contract") }

// Close ends the watch.
func (w *Watch) Close() { panic("contract") }

// Create stores a new object: name generated, defaults, uid, admission, allocation, validation.
// obj is not modified; the stored object is returned. Errors: AlreadyExists, Invalid, admission's.
func (s *State) Create(ctx context.Context, k *resource.Kind, obj Object, o CreateOptions) (Object, error) {
	panic("contract")
}

// Update reads the object, lets change make the new one from a deep copy, and writes it if
// the live one is still the same; otherwise it starts again. If the new object carries
// a resourceVersion other than the live one's: Conflict. An update without effect
// writes nothing and returns the live object. When change is given a nil live object (the kind has CreateOnUpdate or
// the options say so) it creates. The bool says that it was created.
// An object whose last finalizer is removed while it is being deleted is deleted.
// Errors: NotFound, Conflict, Invalid, change's, admission's.
func (s *State) Update(ctx context.Context, k *resource.Kind, namespace, name string, change func(live Object) (Object, error), o UpdateOptions) (Object, bool, error) {
	panic("contract")
}

// Delete deletes, or marks as being deleted when finalizers, propagation or grace hold
// it back. It returns the last state and whether it is gone. Errors: NotFound, Conflict.
func (s *State) Delete(ctx context.Context, k *resource.Kind, namespace, name string, o DeleteOptions) (Object, bool, error) {
	panic("contract")
}

// What follows is for controllers: typed, from memory, without errors that cannot happen.

// Get returns the object from the in-memory copy, or the zero T and false.
func Get[T Object](s *State, namespace, name string) (T, bool) { panic("contract") }

// List returns what is selected from the in-memory copy. Name, labels, owner, node, namespace, and fields select.
func List[T Object](s *State, sel Selector) []T { panic("contract") }

// Create stores a new object as the control plane itself.
func Create[T Object](ctx context.Context, s *State, obj T) (T, error) { panic("contract") }

// Update changes an object through its main door, "status" through UpdateStatus. change edits
// a private copy in place; returning an error gives up. Conflicts are retried.
func Update[T Object](ctx context.Context, s *State, namespace, name string, change func(T) error) (T, error) {
	panic("contract")
}

// UpdateStatus is Update through the status subresource.
func UpdateStatus[T Object](ctx context.Context, s *State, namespace, name string, change func(T) error) (T, error) {
	panic("contract")
}

// Delete deletes an object of type T.
func Delete[T Object](ctx context.Context, s *State, namespace, name string, o DeleteOptions) error {
	panic("contract")
}

// Bind sets pods' nodes, many in one commit: spec.nodeName and the condition PodScheduled. The
// result has one error or nil for each binding: NotFound, Conflict if it is bound or being deleted.
func (s *State) Bind(ctx context.Context, bindings []Binding) []error { panic("contract") }

// Binding puts a pod on a node. UID may be empty.
type Binding struct {
	Namespace, Name string
	UID             types.UID
	Node            string
}
