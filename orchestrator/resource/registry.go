package resource

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Registry is all kinds that the control plane serves. It does not change after New.
type Registry struct{}

// New returns the built-in kinds.
func New() *Registry { panic("contract") }

// All returns every kind, ordered by group, version and plural.
func (r *Registry) All() []*Kind { panic("contract") }

// Resource finds a kind by group, version and plural.
func (r *Registry) Resource(gvr schema.GroupVersionResource) (*Kind, bool) { panic("contract") }

// Kind finds a kind by group, version and kind.
func (r *Registry) Kind(gvk schema.GroupVersionKind) (*Kind, bool) { panic("contract") }

// For finds the kind of a typed object by its Go type.
func (r *Registry) For(obj Object) (*Kind, bool) { panic("contract") }

// Scheme knows the types of all kinds, of the options and of meta/v1, with defaults.
func (r *Registry) Scheme() *runtime.Scheme { panic("contract") }
