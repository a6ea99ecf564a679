package state

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/store"
)

// Binding puts a pod on a node.
type Binding struct {
	Namespace, Name string
	UID             types.UID // may be empty
	Node            string
	// Labels and Annotations are written over the pod's.
	Labels, Annotations map[string]string

	DryRun  bool
	User    *authenticationv1.UserInfo
	Options *metav1.CreateOptions
	Remarks *Remarks
}

// Bind sets pods' nodes, many in one commit: spec.nodeName and the condition PodScheduled.
// Admission is asked about each as a pods/binding. The result has one error or nil for each
// binding: NotFound, Conflict if it is bound or being deleted or held by a scheduling gate,
// admission's.
func (s *State) Bind(ctx context.Context, bindings []Binding) []error {
	k := s.kindOf((*corev1.Pod)(nil))
	results := make([]error, len(bindings))
	if err := s.fresh(ctx); err != nil {
		fill(results, err)
		return results
	}
	bindings = slices.Clone(bindings)
	for i := range bindings {
		results[i] = s.admitBinding(ctx, k, &bindings[i])
	}
	for first := 0; first < len(bindings); first += store.MaxOps {
		end := min(first+store.MaxOps, len(bindings))
		s.bind(ctx, k, bindings[first:end], results[first:end])
	}
	return results
}

// admitBinding asks admission, which may add to the binding's labels and annotations.
func (s *State) admitBinding(ctx context.Context, k *resource.Kind, b *Binding) error {
	if s.admission == nil {
		return nil
	}
	obj := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.Namespace, Name: b.Name, UID: b.UID,
			Labels: maps.Clone(b.Labels), Annotations: maps.Clone(b.Annotations)},
		Target: corev1.ObjectReference{Kind: "Node", Name: b.Node},
	}
	err := s.Ask(ctx, Attributes{
		Kind: k, Subresource: "binding", Operation: OpCreate, Namespace: b.Namespace, Name: b.Name,
		Object: obj, DryRun: b.DryRun, User: b.User, Options: options(b.Options), Remarks: b.Remarks,
	})
	b.Node, b.Labels, b.Annotations = obj.Target.Name, obj.Labels, obj.Annotations
	return err
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
		if results[i] != nil {
			continue
		}
		e, ok := s.lookup(k, b.Namespace, b.Name)
		if !ok {
			results[i] = apierrors.NewNotFound(k.GroupResource(), b.Name)
			continue
		}
		pod := e.Object().(*corev1.Pod).DeepCopy()
		if results[i] = checkBinding(pod, b); results[i] != nil {
			continue
		}
		if b.DryRun {
			continue
		}
		assign(pod, b)
		data, err := t.as.Load().codec.encode(pod)
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
func assign(pod *corev1.Pod, b Binding) {
	pod.Spec.NodeName = b.Node
	pod.Labels = merged(pod.Labels, b.Labels)
	pod.Annotations = merged(pod.Annotations, b.Annotations)
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

// merged is into with the entries of over.
func merged(into, over map[string]string) map[string]string {
	if into == nil && len(over) > 0 {
		into = make(map[string]string, len(over))
	}
	maps.Copy(into, over)
	return into
}

func fill(results []error, err error) {
	for i := range results {
		if results[i] == nil {
			results[i] = err
		}
	}
}
