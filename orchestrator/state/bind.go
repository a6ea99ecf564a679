package state

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/store"
)

// Binding puts a pod on a node. UID may be empty.
type Binding struct {
	Namespace, Name string
	UID             types.UID
	Node            string
}

// Bind sets pods' nodes, many in one commit: spec.nodeName and the condition PodScheduled.
// The result has one error or nil for each binding: NotFound, Conflict if it is bound or
// being deleted or held by a scheduling gate.
func (s *State) Bind(ctx context.Context, bindings []Binding) []error {
	k := s.kindOf((*corev1.Pod)(nil))
	results := make([]error, len(bindings))
	if err := s.fresh(ctx); err != nil {
		fill(results, err)
		return results
	}
	for first := 0; first < len(bindings); first += store.MaxOps {
		end := min(first+store.MaxOps, len(bindings))
		s.bind(ctx, k, bindings[first:end], results[first:end])
	}
	return results
}

// bind commits what can be bound, again while somebody else is faster.
func (s *State) bind(ctx context.Context, k *resource.Kind, bindings []Binding, results []error) {
	for {
		ops := s.bindOps(k, bindings, results)
		if len(ops) == 0 {
			return
		}
		revision, err := s.store.Commit(ctx, ops...)
		if err == nil {
			err = s.wait(ctx, revision)
		}
		var lost *store.ConflictError
		if errors.As(err, &lost) {
			err = s.waitFor(ctx, lost)
			if err == nil {
				continue
			}
		}
		if err != nil {
			fill(results, commitError(err))
		}
		return
	}
}

// bindOps says for each binding why it cannot be, or adds the operation that does it.
func (s *State) bindOps(k *resource.Kind, bindings []Binding, results []error) []store.Op {
	t := s.table(k)
	ops := make([]store.Op, 0, len(bindings))
	for i, b := range bindings {
		e, ok := s.lookup(k, b.Namespace, b.Name)
		if !ok {
			results[i] = apierrors.NewNotFound(k.GroupResource(), b.Name)
			continue
		}
		pod := e.Object().(*corev1.Pod).DeepCopy()
		if results[i] = checkBinding(pod, b); results[i] != nil {
			continue
		}
		assign(pod, b.Node)
		data, err := t.codec.encode(pod)
		if err != nil {
			results[i] = apierrors.NewInternalError(fmt.Errorf("encoding pod %s: %w", b.Name, err))
			continue
		}
		ops = append(ops, store.Op{Key: t.prefix + e.key, Value: data, If: store.At(e.revision)})
	}
	return ops
}

func checkBinding(pod *corev1.Pod, b Binding) error {
	why := ""
	switch {
	case b.UID != "" && b.UID != pod.UID:
		why = fmt.Sprintf("Precondition failed: UID in precondition: %v, UID in object meta: %v", b.UID, pod.UID)
	case pod.DeletionTimestamp != nil:
		why = fmt.Sprintf("pod %s is being deleted, cannot be assigned to a host", pod.Name)
	case pod.Spec.NodeName != "":
		why = fmt.Sprintf("pod %v is already assigned to node %q", pod.Name, pod.Spec.NodeName)
	case len(pod.Spec.SchedulingGates) > 0:
		why = fmt.Sprintf("pod %v has non-empty .spec.schedulingGates", pod.Name)
	default:
		return nil
	}
	return apierrors.NewConflict(corev1.Resource("pods/binding"), pod.Name, errors.New(why))
}

// assign writes a binding into the pod.
func assign(pod *corev1.Pod, node string) {
	pod.Spec.NodeName = node
	pod.Status.NominatedNodeName = ""
	scheduled := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: now()}
	i := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled })
	if i < 0 {
		pod.Status.Conditions = append(pod.Status.Conditions, scheduled)
		return
	}
	if was := pod.Status.Conditions[i]; was.Status == scheduled.Status && was.LastTransitionTime != (metav1.Time{}) {
		scheduled.LastTransitionTime = was.LastTransitionTime
	}
	pod.Status.Conditions[i] = scheduled
}

func fill(results []error, err error) {
	for i := range results {
		if results[i] == nil {
			results[i] = err
		}
	}
}
