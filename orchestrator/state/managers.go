package state

import (
	"context"

	"wherry/orchestrator/resource"
)

// Managers note in objects who owns which field (metadata.managedFields).
type Managers interface {
	// Update notes in obj what manager changed against live, through a subresource or "",
	// and returns it. live is nil for a creation, and is not modified.
	Update(k *resource.Kind, subresource string, live, obj Object, manager string) Object
}

// Managers of the control plane's own parts, under the names of Kubernetes' components.
const (
	ManagerAPIServer  = "kube-apiserver"
	ManagerController = "kube-controller-manager"
	ManagerScheduler  = "kube-scheduler"
	ManagerKubelet    = "kubelet"
)

type managerKey struct{}

// As says who owns what is written with the context, where the options name nobody.
func As(ctx context.Context, manager string) context.Context {
	return context.WithValue(ctx, managerKey{}, manager)
}

// owned is obj with its owners noted.
func (s *State) owned(ctx context.Context, k *resource.Kind, subresource string, live, obj Object, manager string) Object {
	if manager == "" {
		manager, _ = ctx.Value(managerKey{}).(string)
	}
	if manager == "" || s.managers == nil {
		return obj
	}
	return s.managers.Update(k, subresource, live, obj, manager)
}
